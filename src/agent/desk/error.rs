//! Why the desk did not do what it was asked, and the form in which that is told.

use std::fmt;

use revenium_event::Refusal;
use serde::{Deserialize, Serialize};

use crate::queue::{AppendError, ReadError};

/// Why something was not done. Nothing was changed by it, unless the variant says else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// The request makes no sense; mend it.
    #[error("{message}")]
    Invalid {
        /// The part of the request, or the member of the event, at fault.
        field: Option<String>,
        /// What is wrong and what to do.
        message: String,
    },
    /// There is no dead letter with this number (any more).
    #[error("there is no dead letter {0}: it was retried or discarded, or never was one")]
    NoLetter(u64),
    /// An edited event that says what it said before.
    #[error("the event is unchanged; `dlq retry` sends it as it is")]
    Unchanged,
    /// The key is claimed for another profile.
    #[error("{profile} is claimed as {claimed_as}; --force claims it anew")]
    ClaimedOtherwise {
        /// The unknown key's profile.
        profile: String,
        /// Whose it is.
        claimed_as: String,
    },
    /// As many keys are claimed as can be.
    #[error("{0} keys are claimed, which is the most; configure these as profiles of their own")]
    TooManyClaims(usize),
    /// The index is yet to follow the log. Ask again in a moment.
    #[error("the agent is not ready: its index has yet to follow the log; try again in a moment")]
    NotReady,
    /// The log is full or the disk fails.
    #[error("{0}")]
    Log(String),
    /// It was written and is not durable yet: look again before you rely on it.
    #[error("it is not durable yet; look again in a moment, and at the disk")]
    NotDurable,
    /// The agent stops. Ask the next one.
    #[error("the agent is stopping; try again once it runs")]
    Stopping,
}

impl DeskError {
    /// A part of a request that makes no sense.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid { field: Some(field.to_owned()), message: message.into() }
    }

    /// The word for it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::NoLetter(_) => "no_letter",
            Self::Unchanged => "unchanged",
            Self::ClaimedOtherwise { .. } => "claimed",
            Self::TooManyClaims(_) => "too_many_claims",
            Self::NotReady => "not_ready",
            Self::Log(_) => "log",
            Self::NotDurable => "not_durable",
            Self::Stopping => "stopping",
        }
    }
}

impl From<Refusal> for DeskError {
    fn from(refusal: Refusal) -> Self {
        Self::Invalid { field: refusal.field.map(std::borrow::Cow::into_owned), message: refusal.message }
    }
}

impl From<ReadError> for DeskError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::IndexNotReady => Self::NotReady,
            ReadError::Disk(_) => Self::Log(error.to_string()),
            ReadError::Closing => Self::Stopping,
        }
    }
}

impl From<AppendError> for DeskError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Closing => Self::Stopping,
            AppendError::Full { .. } | AppendError::Disk(_) => Self::Log(error.to_string()),
            AppendError::OutOfBounds(_) | AppendError::TooManyGaps { .. } => {
                Self::Invalid { field: None, message: error.to_string() }
            }
        }
    }
}

/// An error between processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Trouble {
    /// The word for it, as [`DeskError::code`] has them.
    pub code: String,
    /// The part of the request, or the member of the event, at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong and what to do, for a person.
    pub message: String,
}

impl From<DeskError> for Trouble {
    fn from(error: DeskError) -> Self {
        let (code, message) = (error.code().to_owned(), error.to_string());
        let field = if let DeskError::Invalid { field, .. } = error { field } else { None };
        Self { code, field, message }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
