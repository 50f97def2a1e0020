//! What freezing returns: the bytes to send, their keys, and what had to be changed.

use std::fmt;

use crate::Kind;

/// An event as it will be sent, in every attempt.
///
/// `Debug` shows neither body nor keys: bodies hold prompts and subscribers' credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Where it goes.
    pub kind: Kind,
    /// The profile that the event names, if it names one.
    pub profile: Option<String>,
    /// One JSON object, the bytes of every attempt. At most [`crate::limits::BODY_BYTES_MAX`].
    pub body: Vec<u8>,
    /// The Idempotency-Key of every attempt.
    pub idempotency_key: String,
    /// Whether a resend of the event has the same key. False when the key is random.
    pub key_is_identity: bool,
    /// The `transactionId` in the body.
    pub transaction_id: String,
    /// xxh3-64 of the received event, seeded with the kind: tells a resend from a conflict.
    /// `profile` is a member of the received bytes and so is part of it.
    pub fingerprint: u64,
    /// What the guards changed, for counting. Empty for an event that came in order.
    pub warnings: Vec<Warning>,
    /// Token counts, for metrics only.
    pub tokens: Tokens,
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen")
            .field("kind", &self.kind)
            .field("profile", &self.profile)
            .field("body_bytes", &self.body.len())
            .field("key_is_identity", &self.key_is_identity)
            .field("fingerprint", &self.fingerprint)
            .field("warnings", &self.warnings)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

/// Token counts of an event, for metrics. What is absent counts as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Who served the call.
    pub provider: Provider,
    /// `inputTokenCount`.
    pub input: u64,
    /// `outputTokenCount`.
    pub output: u64,
    /// `cacheReadTokenCount`.
    pub cache_read: u64,
    /// `cacheCreationTokenCount`.
    pub cache_creation: u64,
}

/// A provider as a metric label: a closed list, since the field itself is free text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Provider {
    /// Anthropic's own API.
    Anthropic,
    /// OpenAI.
    OpenAi,
    /// Azure.
    Azure,
    /// Google, Gemini and Vertex.
    Google,
    /// Amazon, Bedrock.
    Aws,
    /// Any other, or none.
    #[default]
    Other,
}

impl Provider {
    /// Every provider that has a label.
    pub const ALL: [Provider; 6] = [
        Provider::Anthropic,
        Provider::OpenAi,
        Provider::Azure,
        Provider::Google,
        Provider::Aws,
        Provider::Other,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Provider::Anthropic => "anthropic",
            Provider::OpenAi => "openai",
            Provider::Azure => "azure",
            Provider::Google => "google",
            Provider::Aws => "aws",
            Provider::Other => "other",
        }
    }

    /// The label for what an event calls its provider. SDKs differ in case and in words.
    pub(crate) fn of(name: &str) -> Provider {
        const PREFIXES: [(&str, Provider); 8] = [
            ("anthropic", Provider::Anthropic),
            ("openai", Provider::OpenAi),
            ("azure", Provider::Azure),
            ("google", Provider::Google),
            ("gemini", Provider::Google),
            ("vertex", Provider::Google),
            ("aws", Provider::Aws),
            ("amazon", Provider::Aws),
        ];
        let starts = |prefix: &str| {
            name.as_bytes()
                .get(..prefix.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        PREFIXES
            .into_iter()
            .find(|(prefix, _)| starts(prefix))
            .map_or(Provider::Other, |(_, provider)| provider)
    }
}

/// One thing that a guard changed so that the record is not lost. Never holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The wire name of the field. One of a closed list.
    pub field: &'static str,
    /// What was done to it.
    pub what: What,
}

/// What a guard did to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// The text was longer than its column.
    Cut {
        /// Characters that came.
        from: usize,
        /// Characters that are left.
        to: usize,
    },
    /// The field was left out.
    Dropped(Reason),
    /// The value came under this deprecated name.
    Renamed {
        /// The name it had.
        from: &'static str,
    },
    /// The value was written in another form, with the same meaning.
    Rewritten(Reason),
    /// The value was replaced by the nearest one that Revenium knows.
    Replaced(Reason),
}

/// Why a guard acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The value is of another JSON type than the field.
    Type,
    /// Characters that the field does not take.
    Characters,
    /// Outside of the field's range.
    Range,
    /// Not in the field's closed list.
    Unlisted,
    /// A text that holds a number, a truth value or a time.
    Text,
    /// A list or object where text is expected.
    Structure,
    /// A time without its zone; taken as UTC.
    NoZone,
    /// A time in another notation.
    Notation,
    /// The same field came under another name, which counts.
    Overridden,
    /// There is no place for it in this event.
    NoPlace,
}

impl What {
    /// A label for counting: the act, without its numbers.
    pub const fn label(self) -> &'static str {
        match self {
            What::Cut { .. } => "cut",
            What::Dropped(_) => "dropped",
            What::Renamed { .. } => "renamed",
            What::Rewritten(_) => "rewritten",
            What::Replaced(_) => "replaced",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field;
        match self.what {
            What::Cut { from, to } => write!(f, "{field}: cut from {from} to {to} characters"),
            What::Dropped(reason) => write!(f, "{field}: left out, {reason}"),
            What::Renamed { from } => write!(f, "{field}: came as {from}, which is deprecated"),
            What::Rewritten(reason) => write!(f, "{field}: rewritten, {reason}"),
            What::Replaced(reason) => write!(f, "{field}: replaced, {reason}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Type => "it is of the wrong type",
            Reason::Characters => "it has characters that are not allowed",
            Reason::Range => "it is out of range",
            Reason::Unlisted => "it is not one of the listed values",
            Reason::Text => "it came as text",
            Reason::Structure => "it came as a list or object",
            Reason::NoZone => "it has no zone and is taken as UTC",
            Reason::Notation => "it came in another notation",
            Reason::Overridden => "another spelling of the field counts",
            Reason::NoPlace => "it has no place in this event",
        })
    }
}
