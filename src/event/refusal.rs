//! Why an event is not taken, in words for the person who sent it.

use std::borrow::Cow;

use crate::limits::PROFILE_BYTES_MAX;

/// An event or line that is not taken. Nothing of it was kept.
///
/// The message names fields and limits, never a value: events hold prompts and credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What the sender should conclude.
    pub code: RefusalCode,
    /// The wire name of the member at fault, if there is one.
    pub field: Option<Cow<'static, str>>,
    /// One sentence, lower case: what is wrong and what to do.
    pub message: String,
}

/// What the sender of a refused event should conclude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// The event itself is wrong: sending it again is no use.
    Invalid,
    /// The event is larger than a limit.
    TooLarge,
    /// There is no room for it now: send it again later.
    Full,
}

impl RefusalCode {
    /// The word for it in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            RefusalCode::Invalid => "invalid",
            RefusalCode::TooLarge => "too_large",
            RefusalCode::Full => "full",
        }
    }
}

impl Refusal {
    /// The event as a whole is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal { code: RefusalCode::Invalid, field: None, message: message.into() }
    }

    /// One member is wrong.
    pub(crate) fn field(field: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code: RefusalCode::Invalid, field: Some(Cow::Borrowed(field)), message: message.into() }
    }

    /// The name of a profile is none.
    pub(crate) fn profile(field: &'static str) -> Refusal {
        let message =
            format!("{field} must be a profile's name: 1 to {PROFILE_BYTES_MAX} of A-Z a-z 0-9 _ -");
        Refusal::field(field, message)
    }

    /// A limit is passed.
    pub(crate) fn too_large(message: impl Into<String>) -> Refusal {
        Refusal { code: RefusalCode::TooLarge, field: None, message: message.into() }
    }
}
