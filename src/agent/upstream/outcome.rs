//! What one answer means for one record. Pure and total: every answer has exactly one outcome.
//!
//! A 2xx with a JSON or empty body is `Delivered`. For everything else the order of precedence is
//! `x-should-retry`, then `Retry-After` (an invitation, whatever the status), then the status:
//!
//! | status | outcome |
//! |---|---|
//! | none heard, 408, 409 in progress, 425, 429, 5xx but 508 | `Retry` (429: the whole account) |
//! | 400, 409 mismatch, 413, 415, 422 | `Refused`: a dead letter |
//! | every other, any 3xx, 2xx with HTML or other text, 508 | `Blocked`: pause, keep, probe |
//!
//! `x-should-retry: true` makes any of these a `Retry`. `false` leaves `Refused` and `Blocked` as
//! they are and makes a `Retry` of the table `Blocked`: the upstream does not want this request
//! again, but an outage that says so must not turn a backlog into dead letters.

use std::time::Duration;

use super::reply::{Reply, SendError};
use super::words::{tidy, words};

/// What the upstream did with one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It confirmed the record.
    Delivered,
    /// The same bytes under the same key should be sent again, later.
    Retry(Retry),
    /// It refused the record for good.
    Refused(Refusal),
    /// It, or something on the way, would refuse any record: a key, a URL, a proxy, a bill.
    Blocked(Block),
}

/// A record to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Not before this wait has passed, if the upstream named one.
    pub after: Option<Duration>,
    /// Whom the wait concerns.
    pub scope: Scope,
    /// Why.
    pub cause: Cause,
    /// HTTP status, 0 if none was heard.
    pub status: u16,
    /// The server's words, or the transport's.
    pub words: String,
}

/// Whom a wait concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This record only.
    Record,
    /// All that is sent to the account.
    Account,
}

/// Why a record is to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No answer was heard; the upstream may have the record.
    Unheard,
    /// 5xx, or 408: the upstream failed.
    Failed,
    /// 409: an earlier attempt is still at work.
    InProgress,
    /// 425: too early.
    TooEarly,
    /// 429: too much, by all of the account's senders together.
    Throttled,
    /// A status that would end it, with a header that asks for another try.
    Asked,
}

/// A record refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status, 0 if the record could not even be sent.
    pub status: u16,
    /// 409: its key was used with other bytes, so it was probably delivered before.
    pub is_mismatch: bool,
    /// The server's words.
    pub words: String,
}

/// A refusal that is not about the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// HTTP status, 0 if nothing was sent.
    pub status: u16,
    /// What is wrong, as far as the answer tells.
    pub words: String,
}

/// What the status alone would mean.
enum ByStatus {
    Retry(Cause),
    Refused,
    Blocked,
}

impl Outcome {
    /// The meaning of `answer`, heard at `wall_now_ms` (a `Retry-After` may be a date).
    pub fn of(answer: Result<&Reply, &SendError>, wall_now_ms: u64) -> Self {
        let reply = match answer {
            Ok(reply) => reply,
            Err(SendError::Unheard(error)) => return unheard(error),
            Err(SendError::Unsendable(error)) => {
                return Self::Refused(Refusal { status: 0, is_mismatch: false, words: tidy(error) });
            }
            Err(SendError::Unroutable(error)) => {
                return Self::Blocked(Block { status: 0, words: tidy(error) });
            }
        };
        let status = reply.status;
        if matches!(status, 200..=299) {
            match accepted(reply) {
                Accepted::Yes => return Self::Delivered,
                Accepted::Unknown => return unheard("the answer broke off after its headers"),
                Accepted::No => {}
            }
        }
        let after = reply.retry_after(wall_now_ms);
        let should_retry = reply.header("x-should-retry").and_then(|text| {
            let is = |word| text.eq_ignore_ascii_case(word);
            if is("true") { Some(true) } else { is("false").then_some(false) }
        });
        let by_status = by_status(reply);
        let cause = match (should_retry, &by_status) {
            (Some(true), ByStatus::Retry(cause)) | (None, ByStatus::Retry(cause)) => Some(*cause),
            (Some(true), _) => Some(Cause::Asked),
            (None, _) if after.is_some() => Some(Cause::Asked),
            _ => None,
        };
        if let Some(cause) = cause {
            let scope = if cause == Cause::Throttled { Scope::Account } else { Scope::Record };
            return Self::Retry(Retry { after, scope, cause, status, words: words(&reply.body) });
        }
        match by_status {
            ByStatus::Refused => {
                Self::Refused(Refusal { status, is_mismatch: status == 409, words: words(&reply.body) })
            }
            ByStatus::Blocked => Self::Blocked(Block { status, words: blocked_words(reply) }),
            ByStatus::Retry(_) => Self::Blocked(Block {
                status,
                words: tidy(&format!("the upstream asks not to retry; {}", words(&reply.body))),
            }),
        }
    }

    /// The name of the outcome as a metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry(_) => "retry",
            Self::Refused(_) => "refused",
            Self::Blocked(_) => "blocked",
        }
    }
}

fn unheard(error: &str) -> Outcome {
    Outcome::Retry(Retry {
        after: None,
        scope: Scope::Record,
        cause: Cause::Unheard,
        status: 0,
        words: tidy(error),
    })
}

fn by_status(reply: &Reply) -> ByStatus {
    match reply.status {
        408 => ByStatus::Retry(Cause::Failed),
        409 if is_mismatch(&reply.body) => ByStatus::Refused,
        409 if contains(&reply.body, b"idempotency_key_in_progress") => ByStatus::Retry(Cause::InProgress),
        425 => ByStatus::Retry(Cause::TooEarly),
        429 => ByStatus::Retry(Cause::Throttled),
        // 508 is a loop: what answers is a relay that sees its own record.
        508 => ByStatus::Blocked,
        500..=599 => ByStatus::Retry(Cause::Failed),
        // A page is what a proxy or a firewall says, about every record alike.
        400 | 413 | 415 | 422 if is_page(&reply.body) => ByStatus::Blocked,
        400 | 413 | 415 | 422 => ByStatus::Refused,
        _ => ByStatus::Blocked,
    }
}

pub(super) fn is_mismatch(body: &[u8]) -> bool {
    contains(body, b"idempotency_key_mismatch")
}

pub(super) fn is_page(body: &[u8]) -> bool {
    first_byte(body) == Some(b'<')
}

/// The first byte of the body's text, after a mark of its encoding and white space.
fn first_byte(body: &[u8]) -> Option<u8> {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start().first().copied()
}

fn contains(body: &[u8], code: &[u8]) -> bool {
    body.windows(code.len()).any(|window| window.eq_ignore_ascii_case(code))
}

enum Accepted {
    Yes,
    No,
    /// The body that would tell was not heard.
    Unknown,
}

/// A captive portal and a wrong URL answer 200 with a page, so a 2xx counts only with a body that
/// an API would send: JSON, or none.
fn accepted(reply: &Reply) -> Accepted {
    let content_type = reply.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let is_json = content_type.split(';').next().is_some_and(|kind| kind.trim().ends_with("json"));
    match first_byte(&reply.body) {
        Some(b'{' | b'[') => Accepted::Yes,
        Some(b'<') => Accepted::No,
        Some(_) if is_json => Accepted::Yes,
        Some(_) => Accepted::No,
        None if is_json => Accepted::Yes,
        None if !reply.body_is_whole => Accepted::Unknown,
        None => Accepted::Yes,
    }
}

fn blocked_words(reply: &Reply) -> String {
    let said = words(&reply.body);
    let hint = match reply.status {
        200..=299 => "answered 2xx with something that is not JSON: is this Revenium?".to_owned(),
        300..=399 => match reply.location() {
            Some(to) => format!("redirects are not followed; it points to {to}"),
            None => "redirects are not followed".to_owned(),
        },
        401 => "the API key is not accepted".to_owned(),
        402 => "the account has to be paid".to_owned(),
        403 => "the API key may not do this".to_owned(),
        404 | 405 => "no such route: is the URL right?".to_owned(),
        407 => "the proxy wants credentials".to_owned(),
        410 => "this route is gone".to_owned(),
        508 => "a loop: the upstream is one of this agent's own listeners".to_owned(),
        _ => String::new(),
    };
    let parts = [hint, said];
    tidy(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
