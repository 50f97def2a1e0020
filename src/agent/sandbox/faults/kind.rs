//! Every kind of fault there is, by name.

/// What a fault does to a record's delivery, as far as a correct sender is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Trying again, with the same bytes and keys, delivers the record.
    Transient,
    /// A sender pauses until a person or time has put it right; the record stays deliverable.
    Blocking,
    /// The record is refused for good.
    Refusing,
}

/// A kind of fault.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// What scripts and counts call it. Numbers are HTTP statuses.
    pub name: &'static str,
    /// What it does to the record.
    pub class: Class,
    /// How often chance draws it unless told otherwise.
    pub weight: u32,
    pub(in crate::sandbox) act: Act,
}

impl Kind {
    pub(super) fn index(&self) -> usize {
        KINDS.iter().position(|kind| kind.name == self.name).unwrap_or(0)
    }
}

/// What happens to the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Act {
    /// Nothing is stored; this answer is given.
    Answer(u16, Extra),
    /// The record is stored; a success is answered with this status instead.
    StoreThenAnswer(u16),
    /// The connection is reset before the body is read.
    ResetUnread,
    /// The record is stored; the connection is reset before the answer.
    StoreThenReset,
    /// The record is stored; the connection is reset within the answer's head.
    CutHead,
    /// The record is stored; the connection is reset within the answer's body.
    CutBody,
    /// The record is stored after a while, whether or not the sender still waits.
    StoreLate,
    /// The record is stored at once; the answer takes a while.
    AnswerLate,
    /// Nothing is stored and nothing answered; after a while the connection is reset.
    Silence,
    /// The record is stored, and then silence.
    StoreThenSilence,
    /// The record is stored; the answer comes byte by byte.
    Trickle,
    /// The record is stored; the answer's body is broken JSON.
    BrokenJson,
}

/// What an injected answer carries beyond its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Extra {
    None,
    RetryAfter,
    /// Retry-After and X-RateLimit-Limited-Reason.
    Limited(&'static str),
    /// x-should-retry.
    ShouldRetry(bool),
    /// A Location on another host.
    Elsewhere,
    /// A page in place of JSON, as a captive portal gives it.
    Html,
    /// An error body with this code.
    Code(&'static str),
    /// The same, with Retry-After.
    CodeRetryAfter(&'static str),
}

const fn kind(name: &'static str, class: Class, weight: u32, act: Act) -> Kind {
    Kind { name, class, weight, act }
}

const fn answer(name: &'static str, class: Class, weight: u32, status: u16, extra: Extra) -> Kind {
    kind(name, class, weight, Act::Answer(status, extra))
}

use Class::{Blocking, Refusing, Transient};

/// All kinds. Those that stop a sender for a second or more have the small weights.
pub static KINDS: [Kind; 49] = [
    answer("408", Transient, 4, 408, Extra::None),
    answer("409-in-progress", Transient, 2, 409, Extra::CodeRetryAfter("idempotency_key_in_progress")),
    answer("425", Transient, 4, 425, Extra::None),
    answer("429", Transient, 1, 429, Extra::Limited("bucket-rate")),
    answer("429-error-pattern", Transient, 1, 429, Extra::Limited("error-pattern")),
    answer("500", Transient, 8, 500, Extra::None),
    answer("502", Transient, 8, 502, Extra::Html),
    answer("503", Transient, 8, 503, Extra::None),
    answer("503-retry-after", Transient, 2, 503, Extra::RetryAfter),
    answer("504", Transient, 8, 504, Extra::None),
    answer("599", Transient, 2, 599, Extra::None),
    answer("400-should-retry", Transient, 2, 400, Extra::ShouldRetry(true)),
    answer("422-retry-after", Transient, 1, 422, Extra::RetryAfter),
    kind("202", Transient, 8, Act::StoreThenAnswer(202)),
    kind("200", Transient, 4, Act::StoreThenAnswer(200)),
    kind("500-stored", Transient, 8, Act::StoreThenAnswer(500)),
    kind("502-stored", Transient, 8, Act::StoreThenAnswer(502)),
    kind("504-stored", Transient, 8, Act::StoreThenAnswer(504)),
    kind("reset-unread", Transient, 16, Act::ResetUnread),
    kind("reset-stored", Transient, 24, Act::StoreThenReset),
    kind("cut-head", Transient, 16, Act::CutHead),
    kind("cut-body", Transient, 16, Act::CutBody),
    kind("store-late", Transient, 16, Act::StoreLate),
    kind("answer-late", Transient, 16, Act::AnswerLate),
    kind("silence", Transient, 1, Act::Silence),
    kind("silence-stored", Transient, 1, Act::StoreThenSilence),
    kind("trickle", Transient, 2, Act::Trickle),
    kind("broken-json", Transient, 4, Act::BrokenJson),
    answer("401", Blocking, 1, 401, Extra::None),
    answer("402", Blocking, 1, 402, Extra::None),
    answer("403", Blocking, 1, 403, Extra::None),
    answer("404", Blocking, 1, 404, Extra::None),
    answer("405", Blocking, 1, 405, Extra::None),
    answer("407", Blocking, 1, 407, Extra::None),
    answer("410", Blocking, 1, 410, Extra::None),
    answer("418", Blocking, 1, 418, Extra::None),
    answer("301", Blocking, 1, 301, Extra::Elsewhere),
    answer("302", Blocking, 1, 302, Extra::Elsewhere),
    answer("303", Blocking, 1, 303, Extra::Elsewhere),
    answer("307", Blocking, 1, 307, Extra::Elsewhere),
    answer("308", Blocking, 1, 308, Extra::Elsewhere),
    answer("200-html", Blocking, 1, 200, Extra::Html),
    answer("400", Refusing, 1, 400, Extra::Code("INVALID_VALUE")),
    answer("400-bad-key", Refusing, 1, 400, Extra::Code("invalid_idempotency_key")),
    answer("409-mismatch", Refusing, 1, 409, Extra::Code("idempotency_key_mismatch")),
    answer("413", Refusing, 1, 413, Extra::None),
    answer("415", Refusing, 1, 415, Extra::None),
    answer("422", Refusing, 1, 422, Extra::None),
    answer("503-no-retry", Refusing, 1, 503, Extra::ShouldRetry(false)),
];
