//! Revenium's HTTP: one record is one POST, and what came back is classified here.
//!
//! With `event`, this is the only module that knows Revenium's words. It sends what it is given:
//! the record's bytes and key, unchanged, on every attempt. It never retries, waits, or follows a
//! redirect; when and whether to send again is the drain's.
//!
//! - [`Base`] is an upstream's URL, normalised from every form that Revenium's SDKs take.
//! - [`Client`] sends over pooled connections; [`Transport`] is the seam that tests stage.
//! - [`Outcome::of`] is pure and total: every possible answer has one meaning.

mod client;
mod key;
mod outcome;
mod reply;
mod retry_after;
mod url;
pub mod way;
mod words;

use std::future::Future;

use revenium_store::Record;

pub use client::{Client, ClientError, Fault, Options, RouteOf, Target, Unanswered};
pub use key::{ApiKey, ApiKeyError};
pub use outcome::{Block, Cause, Outcome, Refusal, Retry, Scope};
pub use reply::{RateWindow, Reply, SendError};
pub use retry_after::AFTER_MAX;
pub use url::{Base, BaseError};
pub use way::{Through, Way};

/// The far side: takes one record at a time and tells what it answered.
pub trait Transport: Send + Sync + 'static {
    /// Sends `record` once with `key`, and returns what came back.
    ///
    /// The wait is bounded by the implementation. Dropping the future abandons the attempt: whether
    /// the upstream took the record is then unknown, as after any [`SendError::Unheard`].
    fn send(&self, record: &Record, key: &ApiKey) -> impl Future<Output = Result<Reply, SendError>> + Send;
}
