//! The values that labels may have: closed sets, so that no input can grow the number of series.

/// An enum whose variants are a label's values.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label's value.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

label! {
    /// By which way an event came in.
    Via {
        /// A line on the Unix socket.
        Socket = "socket",
        /// HTTP, from one of Revenium's own SDKs.
        Relay = "relay",
        /// A file that a client left while the agent was away.
        Spool = "spool",
    }
}

label! {
    /// Why an event was not taken.
    Rejected {
        /// It isn't an event.
        Invalid = "invalid",
        /// It is larger than allowed.
        TooLarge = "too_large",
        /// Its identity was used for other bytes.
        Conflict = "conflict",
        /// The log is full.
        Full = "full",
        /// The agent is stopping.
        Stopping = "stopping",
    }
}

label! {
    /// Why a record became a dead letter.
    DeadReason {
        /// The upstream refused it.
        Refused = "refused",
        /// The upstream knows its key with other bytes.
        Mismatch = "mismatch",
        /// It drew server errors for a day while others passed, or was blocked alone.
        Suspect = "suspect",
        /// Intake refused it, and kept it.
        Intake = "intake",
        /// The store knows its identity with other bytes.
        Conflict = "conflict",
    }
}

label! {
    /// What one request to the upstream came to.
    Outcome {
        /// Confirmed.
        Delivered = "delivered",
        /// To be tried again.
        Retry = "retry",
        /// Refused for good.
        Refused = "refused",
        /// Something other than the record is wrong.
        Blocked = "blocked",
    }
}

label! {
    /// Why a lane is paused.
    PauseReason {
        /// The profile has no key.
        NoKey = "no_key",
        /// The key is refused (401, 403).
        Key = "key",
        /// Payment is asked for (402).
        Payment = "payment",
        /// The route doesn't exist there (404, 405, 410).
        Route = "route",
        /// The upstream points elsewhere (3xx); never followed.
        Redirect = "redirect",
        /// The answer isn't Revenium's: HTML, or a proxy's (407).
        Proxy = "proxy",
        /// Any other answer that isn't about the record.
        Other = "other",
    }
}

label! {
    /// A limit of intake that was reached.
    Limit {
        /// `socket.connections_max`.
        Connections = "connections",
        /// `socket.connections_per_uid_max`.
        ConnectionsPerUid = "connections_per_uid",
        /// `socket.lines_per_second_per_uid_max`.
        LinesPerSecond = "lines_per_second",
        /// A peer that the allow lists leave out.
        NotAllowed = "not_allowed",
        /// `socket.idle_max`.
        Idle = "idle",
    }
}

label! {
    /// What freezing did to a field that broke one of Revenium's rules.
    WarningWhat {
        /// It was cut to what is stored.
        Cut = "cut",
        /// It was left out.
        Dropped = "dropped",
        /// It was given the name that Revenium knows.
        Renamed = "renamed",
        /// Anything else.
        Other = "other",
    }
}

label! {
    /// Which tokens.
    TokenType {
        /// Of the prompt.
        Input = "input",
        /// Of the answer.
        Output = "output",
        /// Read from the provider's cache.
        CacheRead = "cache_read",
        /// Written into the provider's cache.
        CacheCreation = "cache_creation",
    }
}

label! {
    /// Whose model it was. Free text in events, a closed set here.
    Provider {
        /// Anthropic.
        Anthropic = "anthropic",
        /// Amazon Bedrock.
        Aws = "aws",
        /// Azure, in any of its names.
        Azure = "azure",
        /// Cohere.
        Cohere = "cohere",
        /// Google, Vertex included.
        Google = "google",
        /// Mistral.
        Mistral = "mistral",
        /// OpenAI.
        OpenAi = "openai",
        /// Everybody else.
        Other = "other",
    }
}

impl Provider {
    /// The provider that an event's `provider` means, however it is written. Pure.
    pub fn of(text: &str) -> Self {
        // Longer than any name we know: don't lower-case what a sender could make large.
        if text.len() > 64 {
            return Self::Other;
        }
        let text = text.to_ascii_lowercase();
        // Azure before OpenAI: "Azure OpenAI" is billed by Azure.
        let marks = [
            ("anthropic", Self::Anthropic),
            ("bedrock", Self::Aws),
            ("aws", Self::Aws),
            ("amazon", Self::Aws),
            ("azure", Self::Azure),
            ("openai", Self::OpenAi),
            ("vertex", Self::Google),
            ("google", Self::Google),
            ("gemini", Self::Google),
            ("mistral", Self::Mistral),
            ("cohere", Self::Cohere),
        ];
        marks.iter().find(|(mark, _)| text.contains(mark)).map_or(Self::Other, |(_, provider)| *provider)
    }
}

/// Names of the event kinds by their frozen codes, as `revenium-event` defines them; any other
/// code counts as `other`.
pub(super) const KINDS: [&str; 9] =
    ["completion", "image", "audio", "video", "tool", "generic", "api-request", "api-response", "other"];

/// The place of a kind's code in [`KINDS`].
pub(super) fn kind_index(code: u8) -> usize {
    usize::from(code).min(KINDS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_spelling_of_a_provider_falls_into_the_closed_set() {
        for (text, provider) in [
            ("ANTHROPIC", Provider::Anthropic),
            ("Anthropic", Provider::Anthropic),
            ("AWS", Provider::Aws),
            ("Amazon Bedrock", Provider::Aws),
            ("Azure OpenAI", Provider::Azure),
            ("OpenAI", Provider::OpenAi),
            ("vertex_ai", Provider::Google),
            ("", Provider::Other),
            ("user-1234@example.com", Provider::Other),
        ] {
            assert_eq!(Provider::of(text), provider, "{text}");
        }
        assert_eq!(Provider::of(&"anthropic".repeat(1000)), Provider::Other);
    }

    #[test]
    fn an_unknown_kind_is_other() {
        assert_eq!(
            (KINDS[kind_index(7)], KINDS[kind_index(8)], KINDS[kind_index(255)]),
            ("api-response", "other", "other")
        );
    }
}
