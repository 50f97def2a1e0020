//! The facts of one answer, before anyone decides what they mean.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;

use super::outcome;
use super::retry_after::{date_ms, retry_after};
use super::words::words;

/// An answer that was heard: a status line with headers, and as much of the body as was wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The beginning of the body, without the key that was sent.
    pub body: Bytes,
    /// Whether `body` is all of it.
    pub body_is_whole: bool,
}

/// Why no answer was heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The exchange failed or took too long. Whether the upstream took the record is unknown.
    #[error("{0}")]
    Unheard(String),
    /// This record can never be a request: nothing was sent, and nothing will be.
    #[error("cannot be sent: {0}")]
    Unsendable(String),
    /// This agent knows no way for the record's profile or route (a rollback may have met records
    /// of a newer version). Nothing was sent.
    #[error("no way to send it: {0}")]
    Unroutable(String),
}

/// What an answer says about the account's window. Revenium counts all senders of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateWindow {
    /// Requests allowed per window of one second.
    pub limit: u32,
    /// Requests left in the current window, over all agents of the account.
    pub remaining: u32,
    /// When the window ends, seconds since 1970 on the upstream's clock; names the window.
    pub reset: u64,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// The account's window, if the answer tells of one.
    pub fn rate_window(&self) -> Option<RateWindow> {
        let number = |name| self.header(name).and_then(|text| text.parse::<u64>().ok());
        let limit = u32::try_from(number("x-ratelimit-limit")?).ok().filter(|limit| *limit > 0)?;
        let remaining = u32::try_from(number("x-ratelimit-remaining")?).unwrap_or(u32::MAX).min(limit);
        Some(RateWindow { limit, remaining, reset: number("x-ratelimit-reset").unwrap_or(0) })
    }

    /// The wait that the answer asks for, at most [`super::AFTER_MAX`].
    pub fn retry_after(&self, wall_now_ms: u64) -> Option<Duration> {
        retry_after(&self.headers, wall_now_ms)
    }

    /// When it was answered by the upstream's clock, milliseconds since 1970.
    pub fn date_ms(&self) -> Option<u64> {
        self.header("date").and_then(date_ms)
    }

    /// Where a redirect points to, without what a query may hold.
    pub fn location(&self) -> Option<&str> {
        self.header("location").map(|to| to.split(['?', '#']).next().unwrap_or(to))
    }

    /// Whether the body is a page for people, which no API sends.
    pub fn is_page(&self) -> bool {
        outcome::is_page(&self.body)
    }

    /// What the body says, in one line, without keys.
    pub fn words(&self) -> String {
        words(&self.body)
    }

    /// Why a 429 was answered, in the upstream's word (`bucket-rate`, `error-pattern`).
    pub fn limited_reason(&self) -> Option<&str> {
        self.header("x-ratelimit-limited-reason")
    }

    /// A refusal that repeating does not cure. A run of these makes Revenium block the account,
    /// whatever the answer says about retrying.
    pub fn is_permanent_4xx(&self) -> bool {
        matches!(self.status, 400..=499) && !matches!(self.status, 408 | 409 | 425 | 429)
            || self.status == 409 && super::outcome::is_mismatch(&self.body)
    }
}
