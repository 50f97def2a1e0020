//! The words the store shares with its callers: what goes in, what comes out, how it ends.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A record's place in the order of acceptance. Never reused, never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The queue a record waits in: one profile and one route. The store treats both as opaque.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Name of the profile, 1–[`PROFILE_BYTES_MAX`] bytes, no NUL.
    pub profile: Arc<str>,
    /// The caller's code for the route.
    pub route: u8,
}

/// Longest profile name that the store takes, in bytes.
pub const PROFILE_BYTES_MAX: usize = 64;

/// Who numbered a record: a random id of one sending process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub [u8; 16]);

/// A record to append. Everything in it is kept and given back as it was.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Where it waits.
    pub lane: Lane,
    /// The Idempotency-Key under which it will be sent, 1–255 bytes.
    pub key: Arc<str>,
    /// The producer's number for it, when it has one; resends are recognised by it exactly.
    pub number: Option<(ProducerId, u64)>,
    /// Whether a record with the same `key` is a resend. False for records whose key is random.
    pub key_is_identity: bool,
    /// Hash of what the sender sent; tells a resend (same) from a conflict (other bytes).
    pub fingerprint: u64,
    /// Wall clock at intake, milliseconds since 1970.
    pub received_at_ms: u64,
    /// The frozen body.
    pub body: Bytes,
    /// Set to store the record as a dead letter from the start (`refused at intake`).
    pub dead: Option<DeadNote>,
    /// The dead letter that this record takes the place of (`dlq retry`); it ends with this record's
    /// commit. If it is of another lane it counts as discarded there, and this one as received.
    pub replaces: Option<Seq>,
    /// Whether it came with the record before it, as one thing of the sender's: a resend or a conflict of
    /// that one is one of this, and no crash leaves one without the other.
    pub is_part: bool,
}

/// What became of one appended record. In every case the sender may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Stored and durable under this number.
    Stored(Seq),
    /// A resend: the same identity and the same bytes are stored already. Counted, not stored again.
    Duplicate,
    /// The same identity with other bytes. Kept as a dead letter under this number, if it could be.
    Conflict(Seq),
}

/// A waiting record, claimed for sending.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// Where it waits.
    pub lane: Lane,
    /// The Idempotency-Key of every attempt.
    pub key: Arc<str>,
    /// The bytes of every attempt.
    pub body: Bytes,
    /// Wall clock at intake, milliseconds since 1970.
    pub received_at_ms: u64,
    /// Attempts that were noted by [`Settlement::Postponed`].
    pub attempts: u32,
    /// When the first of those attempts was made, milliseconds since 1970; 0 if there was none.
    pub first_attempt_at_ms: u64,
}

/// From which end of a lane to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The longest waiting first.
    Oldest,
    /// The most recently accepted first.
    Newest,
}

/// How a claim ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The upstream confirmed it.
    Delivered,
    /// Refused for good; kept for a person.
    Dead(DeadNote),
    /// Tried, to be tried again: not claimable before `not_before_ms`. Survives a restart.
    Postponed {
        /// Wall clock, milliseconds since 1970, at most [`POSTPONED_MS_MAX`] from now. One further ahead than
        /// that is not believed: the clock was set back, and the record is claimable.
        not_before_ms: u64,
        /// Attempts so far.
        attempts: u32,
        /// When the first attempt was made, milliseconds since 1970.
        first_attempt_at_ms: u64,
    },
    /// Not tried: claimable again at once. Nothing is written.
    Released,
    /// A person gave it up. Ends a dead letter or a waiting record.
    Discarded,
}

/// Longest time that a record is postponed by, in milliseconds: three hours. Upstreams are believed when
/// they ask for two.
pub const POSTPONED_MS_MAX: u64 = 3 * 3600 * 1000;

/// Why a record is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadNote {
    /// The caller's code for the reason.
    pub reason: u8,
    /// HTTP status of the refusal, 0 if there was none.
    pub status: u16,
    /// The refuser's words, at most [`DEAD_WORDS_BYTES_MAX`] bytes; the rest is cut.
    pub words: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// Bytes of the refuser's words that a dead letter keeps.
pub const DEAD_WORDS_BYTES_MAX: usize = 2048;

/// Reason code that the store itself gives to a record in conflict with an earlier one.
pub const DEAD_REASON_CONFLICT: u8 = 1;

/// A dead letter with its record.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The record as it was sent.
    pub record: Record,
    /// Why it is dead.
    pub note: DeadNote,
}
