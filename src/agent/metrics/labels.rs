//! The values that labels may have: closed sets, so that no input can grow the number of series.

use revenium_event::Kind;

use crate::drain::Reason;

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
        /// The disk refused the write.
        Disk = "disk",
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
        /// Records wait for a profile that isn't configured.
        NotConfigured = "not_configured",
        /// Any other answer that isn't about the record.
        Other = "other",
    }
}

label! {
    /// A bound of intake that held somebody back.
    Limit {
        /// A peer that the allow lists leave out.
        NotAllowed = "not_allowed",
        /// Connections, in all or of one user.
        Connections = "connections",
        /// Accepting failed, as for want of file descriptors.
        Accept = "accept",
        /// Lines a second of one user.
        LinesPerSecond = "lines_per_second",
        /// What one connection, or all, may have between reading and acknowledging.
        InFlight = "in_flight",
        /// Answers that nobody read.
        UnreadAnswers = "unread_answers",
        /// A line that stayed unfinished.
        LineTime = "line_time",
        /// Refused events that are kept as dead letters.
        KeptRefusals = "kept_refusals",
    }
}

label! {
    /// What a request to the gateway came to.
    Passed {
        /// A call, whose event was handed over.
        Metered = "metered",
        /// A call that another layer meters.
        Left = "left",
        /// A call that should have been metered, and was not.
        Lost = "lost",
        /// No call.
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

impl PauseReason {
    /// The reason that the status of the last refusal stands for; 0 is none. Pure.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Key,
            402 => Self::Payment,
            404 | 405 | 410 => Self::Route,
            300..=399 => Self::Redirect,
            // A 2xx that isn't a confirmation: somebody else's page.
            200..=299 | 407 | 511 => Self::Proxy,
            _ => Self::Other,
        }
    }
}

/// Reasons of dead letters by their frozen codes, from 1 on; a newer version's code counts as `other`.
pub(super) const DEAD_REASONS: [&str; Reason::ALL.len() + 1] = {
    let mut names = [OTHER; Reason::ALL.len() + 1];
    let mut reason = 0;
    while reason < Reason::ALL.len() {
        names[reason] = Reason::ALL[reason].name();
        reason += 1;
    }
    names
};

/// The place of a dead letter's code in [`DEAD_REASONS`].
pub(super) fn dead_reason_index(code: u8) -> usize {
    let last = DEAD_REASONS.len() - 1;
    usize::from(code).checked_sub(1).map_or(last, |index| index.min(last))
}

/// What is in no closed set.
pub(super) const OTHER: &str = "other";

/// Names of the event kinds by their codes, then `other` for a newer version's.
pub(super) fn kind_names() -> Vec<&'static str> {
    Kind::ALL.iter().map(|kind| kind.name()).chain([OTHER]).collect()
}

/// The place of a kind's code in [`kind_names`].
pub(super) fn kind_index(code: u8) -> usize {
    usize::from(code).min(Kind::ALL.len())
}

/// What guards do to a field, by the label of `revenium_event::What`.
pub(super) const WARNINGS: [&str; 6] = ["cut", "dropped", "renamed", "rewritten", "replaced", OTHER];

/// The place of `label` in `labels`, whose last one stands for any that isn't there.
pub(super) fn label_index(labels: &[&str], label: &str) -> usize {
    labels.iter().position(|known| *known == label).unwrap_or(labels.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_unknown_is_other() {
        let kinds = kind_names();
        assert_eq!((kinds[kind_index(0)], kinds[kind_index(7)]), ("completion", "api-response"));
        assert_eq!((kinds[kind_index(8)], kinds[kind_index(255)]), (OTHER, OTHER));
        assert_eq!(DEAD_REASONS[dead_reason_index(1)], "conflict");
        assert_eq!(DEAD_REASONS[dead_reason_index(8)], "unsendable");
        for reason in Reason::ALL {
            assert_eq!(DEAD_REASONS[dead_reason_index(reason.code())], reason.name());
        }
        assert_eq!([0, 9, 255].map(|code| DEAD_REASONS[dead_reason_index(code)]), [OTHER; 3]);
        assert_eq!(WARNINGS[label_index(&WARNINGS, "renamed")], "renamed");
        assert_eq!(WARNINGS[label_index(&WARNINGS, "mangled")], OTHER);
    }

    #[test]
    fn a_status_says_why_a_lane_is_paused() {
        for (status, reason) in [
            (0, PauseReason::Other),
            (200, PauseReason::Proxy),
            (302, PauseReason::Redirect),
            (401, PauseReason::Key),
            (402, PauseReason::Payment),
            (403, PauseReason::Key),
            (404, PauseReason::Route),
            (407, PauseReason::Proxy),
            (410, PauseReason::Route),
            (418, PauseReason::Other),
        ] {
            assert_eq!(PauseReason::of_status(status), reason, "{status}");
        }
    }
}
