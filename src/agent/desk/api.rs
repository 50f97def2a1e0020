//! What is asked and answered, as JSON between the agent and its commands.

use revenium_event::Kind;
use revenium_store::{LaneBooks, Place};
use serde::{Deserialize, Serialize};

use super::{Filter, Trouble};
use crate::drain::Reason;
use crate::queue::DeadLetter;

/// What to do with dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LettersRequest {
    /// Tells of a page of them, without their bodies.
    List {
        /// Which.
        filter: Filter,
        /// Those with greater numbers.
        after: u64,
        /// So many at most; a page has 256 at most in any case.
        max: usize,
    },
    /// Tells all of one.
    Show {
        /// Which.
        seq: u64,
        /// With its body as it is; else what is secret or was said is hidden.
        reveal: bool,
    },
    /// Tells all of a page of them, bodies as they are.
    Export {
        /// Which.
        filter: Filter,
        /// Those with greater numbers.
        after: u64,
    },
    /// Sends a page of them again. Without numbers in the filter, those that were probably
    /// delivered are left out.
    Retry {
        /// Which.
        filter: Filter,
        /// Those with greater numbers.
        after: u64,
        /// And lower ones than this, which the first page's answer gives: what dies meanwhile is not
        /// sent again and again.
        upto: Option<u64>,
        /// With a new `transactionId`, so that Revenium takes it for another event.
        new_transaction_id: bool,
    },
    /// Sends one again with another body.
    Edit {
        /// Which.
        seq: u64,
        /// The event, in any dialect.
        body: String,
        /// With a new `transactionId`.
        new_transaction_id: bool,
    },
    /// Gives up a page of them, for good.
    Discard {
        /// Which.
        filter: Filter,
        /// Those with greater numbers.
        after: u64,
        /// As in `Retry`.
        upto: Option<u64>,
    },
}

/// The answer to a [`LettersRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `List`, `Show`, `Export`.
    Page(Page),
    /// To `Retry`, `Edit`, `Discard`.
    Done(Done),
}

/// Some letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The letters, ascending.
    pub letters: Vec<Letter>,
    /// Ask again for those after it; `None`: that was all.
    pub next: Option<u64>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its number.
    pub seq: u64,
    /// Which profile it is for.
    pub profile: String,
    /// What it meters.
    pub kind: String,
    /// Why it is dead, by the name in metrics.
    pub reason: String,
    /// HTTP status of the refusal, 0 if there was none.
    pub status: u16,
    /// The refuser's words.
    pub words: String,
    /// The Idempotency-Key it was sent under.
    pub key: String,
    /// When it was received, milliseconds since 1970.
    pub received_at_ms: u64,
    /// When it died, milliseconds since 1970.
    pub died_at_ms: u64,
    /// Whether Revenium knew its key or identity with other bytes.
    pub probably_delivered: bool,
    /// Bytes of its body.
    pub bytes: usize,
    /// Its body, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl Letter {
    /// The letter without its body.
    pub(super) fn of(letter: &DeadLetter) -> Self {
        let (record, note) = (&letter.record, &letter.note);
        Self {
            seq: record.seq.0,
            profile: record.lane.profile.to_string(),
            kind: Kind::from_code(record.lane.route).map_or("other", Kind::name).to_owned(),
            reason: Reason::from_code(note.reason).map_or("other", Reason::name).to_owned(),
            status: note.status,
            words: note.words.clone(),
            key: record.key.to_string(),
            received_at_ms: record.received_at_ms,
            died_at_ms: note.at_ms,
            probably_delivered: is_probably_delivered(note.reason),
            bytes: record.body.len(),
            body: None,
        }
    }
}

/// Whether the key or identity was known with other bytes: then some bytes under it were taken.
pub(super) fn is_probably_delivered(reason: u8) -> bool {
    matches!(Reason::from_code(reason), Some(Reason::Mismatch | Reason::Conflict))
}

/// What became of a page of letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Letters that it was done to.
    pub done: u64,
    /// Letters that were probably delivered and were left as they are.
    pub left_out: u64,
    /// Letters that it could not be done to; they are as they were.
    pub failed: Vec<Failed>,
    /// What a person should know of some that it was done to.
    pub warnings: Vec<Warned>,
    /// Ask again for those after it; `None`: that was all, or no more can be done.
    pub next: Option<u64>,
    /// What to ask the next page with.
    pub upto: u64,
}

/// A letter that is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub seq: u64,
    /// Why.
    pub error: Trouble,
}

/// Something to know of a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warned {
    /// Which.
    pub seq: u64,
    /// What, for a person.
    pub warning: String,
}

/// Whether all is out that was durable at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlushRequest {
    /// What the first answer gave; `None`: that moment is now.
    pub upto: Option<u64>,
}

/// What still waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushAnswer {
    /// To ask again with.
    pub upto: u64,
    /// By profile and kind; empty once all is out. A long backlog is not counted through: then what
    /// came since is in it.
    pub waiting: Vec<Waits>,
}

/// Events of one profile and kind that wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// Which profile.
    pub profile: String,
    /// Which kind.
    pub kind: String,
    /// How many.
    pub events: u64,
}

/// The counts that the agent keeps, up to a place of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BooksAnswer {
    /// All before it is counted, nothing behind it.
    pub place: Place,
    /// By profile and kind.
    pub lanes: Vec<LaneCounts>,
}

/// What became of the events of one profile and kind: received is the sum of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LaneCounts {
    /// Which profile; none of what damage took without a trace of it.
    pub profile: String,
    /// Which kind.
    pub kind: String,
    /// Stored.
    pub received: u64,
    /// Confirmed by Revenium.
    pub delivered: u64,
    /// Still to be delivered.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Given up by a person.
    pub discarded: u64,
    /// Destroyed by damage.
    pub lost: u64,
}

impl LaneCounts {
    /// As they are told.
    pub fn of(books: &LaneBooks) -> Self {
        let LaneBooks { lane, waiting, ledger } = books;
        Self {
            profile: lane.profile.to_string(),
            kind: Kind::from_code(lane.route).map_or("other", Kind::name).to_owned(),
            received: ledger.received,
            delivered: ledger.delivered,
            waiting: *waiting,
            dead: ledger.dead,
            discarded: ledger.discarded,
            lost: ledger.lost,
        }
    }

    /// What the numbers are called.
    pub const NAMES: [&str; 6] = ["received", "delivered", "waiting", "dead", "discarded", "lost"];

    /// In the order of their names.
    pub const fn numbers(&self) -> [u64; 6] {
        [self.received, self.delivered, self.waiting, self.dead, self.discarded, self.lost]
    }
}

/// A claim that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The unknown key's profile.
    pub profile: String,
    /// Whose URL and key its events are sent with.
    pub claimed_as: String,
    /// Whether it was claimed so before.
    pub was_already: bool,
}
