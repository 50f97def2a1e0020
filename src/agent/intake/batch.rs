//! What is appended together, and the answers that its senders get for it.
//!
//! A batch has the lines of one connection in their order: events to append, and refusals that
//! wait for their turn. Its records go to one profile, because a queue takes all of them or none
//! and profiles have budgets of their own; refused events that are kept as dead letters make
//! batches of their own, for the same reason. Pure: appending is the connection's part.

use std::borrow::Cow;
use std::sync::Arc;

use revenium_event::Refusal;
use revenium_event::line::{Answer, Code};

use super::observer::{Observer, Seen};
use crate::queue::{AppendError, Appended, NewRecord};

/// Longest text of a refusal that is sent back, in bytes. Ours are one sentence each; a member's
/// name in one is the sender's and may be long.
const REFUSAL_TEXT_BYTES_MAX: usize = 512;

/// Lines of one connection, in order, whose records are appended together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: Vec<NewRecord>,
    bytes: usize,
    receipt: Receipt,
}

/// What is left of a batch once its records are handed over: who is to be told what.
#[derive(Debug, Default)]
pub(super) struct Receipt {
    slots: Vec<Slot>,
    /// Answers that are known already, refusals above all, one after the other.
    said: Vec<u8>,
    /// How many of the records are refused events, to be kept as dead letters: all or none.
    letters: usize,
}

#[derive(Debug)]
enum Slot {
    /// The next record of the batch.
    Event { said: Said, seen: Seen },
    /// An answer of this many bytes that is known already.
    Said { bytes: usize },
}

/// How an event's sender will recognise its answer.
#[derive(Debug)]
pub(super) enum Said {
    /// By its number.
    Number(u64),
    /// By its turn; the answer names the key.
    Nothing(Arc<str>),
    /// Not at all: it came in the line of the event before it, whose answer is for both.
    Part,
}

impl Batch {
    /// Lines in it.
    pub(super) fn lines(&self) -> usize {
        self.receipt.slots.len()
    }

    /// Bytes of the bodies and answers in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.receipt.said.len()
    }

    /// Whether `record` can be appended with what is in it already.
    pub(super) fn takes(&self, record: &NewRecord) -> bool {
        self.records.last().is_none_or(|last| {
            last.lane.profile == record.lane.profile && last.dead.is_some() == record.dead.is_some()
        })
    }

    /// Adds an event.
    pub(super) fn event(&mut self, record: NewRecord, said: Said, seen: Seen) {
        debug_assert!(self.takes(&record) && record.dead.is_none());
        self.bytes += record.body.len();
        self.records.push(record);
        self.receipt.slots.push(Slot::Event { said, seen });
    }

    /// Adds a dead letter; its refusal follows.
    pub(super) fn letter(&mut self, record: NewRecord) {
        debug_assert!(self.takes(&record) && record.dead.is_some());
        self.bytes += record.body.len();
        self.records.push(record);
        self.receipt.letters += 1;
    }

    /// Adds a refusal.
    pub(super) fn refusal(&mut self, n: Option<u64>, refusal: &Refusal, observer: &dyn Observer) {
        let code = refusal.code.into();
        let field = refusal.field.as_deref().map(clipped);
        self.say(&Answer::Refused { n, code, field, message: clipped(&refusal.message) });
        observer.refused(code);
    }

    /// Adds an answer that is known already.
    pub(super) fn say(&mut self, answer: &Answer<'_>) {
        let said = &mut self.receipt.said;
        let before = said.len();
        answer.write(said);
        let bytes = said.len() - before;
        self.receipt.slots.push(Slot::Said { bytes });
    }

    /// The records, and what to say when they are appended.
    pub(super) fn close(self) -> (Vec<NewRecord>, Receipt) {
        (self.records, self.receipt)
    }
}

impl Receipt {
    /// Appends the answers to `out`, now that the append ended with `result`.
    ///
    /// Numbered events that are durable get one answer, with the highest number of the batch;
    /// refusals stand before it, so a sender who reads in order never takes a refused event for
    /// a durable one.
    pub(super) fn answer(
        self,
        result: Result<Vec<Appended>, AppendError>,
        out: &mut Vec<u8>,
        observer: &dyn Observer,
    ) {
        if self.letters > 0 {
            count_letters(self.letters, &result, observer);
            out.extend_from_slice(&self.said);
            return;
        }
        let (appended, error) = match result {
            Ok(appended) => (appended, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut appended = appended.into_iter();
        let mut all_said = self.said.as_slice();
        let mut settled = None;
        for slot in self.slots {
            let (said, seen) = match slot {
                Slot::Event { said, seen } => (said, seen),
                Slot::Said { bytes } => {
                    let (answer, rest) = all_said.split_at(bytes);
                    out.extend_from_slice(answer);
                    all_said = rest;
                    continue;
                }
            };
            // A queue that answers for fewer records than it got has not said they are durable.
            let outcome = appended.next().ok_or(error.as_ref());
            match outcome {
                Ok(Appended::Stored(_)) => observer.stored(&seen),
                Ok(Appended::Duplicate) => observer.duplicate(&seen),
                Ok(Appended::Conflict(_)) => {
                    refuse(&said, Code::Conflict, CONFLICT, out, observer);
                    continue;
                }
                Err(error) => {
                    let (code, message) = failure(error);
                    refuse(&said, code, &message, out, observer);
                    continue;
                }
            }
            match said {
                Said::Number(n) => settled = settled.max(Some(n)),
                Said::Nothing(key) => Answer::Ok { id: Cow::Borrowed(&key) }.write(out),
                Said::Part => {}
            }
        }
        if let Some(upto) = settled {
            Answer::Durable { upto }.write(out);
        }
    }
}

const CONFLICT: &str =
    "this identity was used before for other bytes; those count, these are kept as a dead letter";

fn refuse(said: &Said, code: Code, message: &str, out: &mut Vec<u8>, observer: &dyn Observer) {
    let n = match said {
        Said::Number(n) => Some(*n),
        Said::Nothing(_) => None,
        Said::Part => return,
    };
    Answer::Refused { n, code, field: None, message: clipped(message) }.write(out);
    observer.refused(code);
}

/// What a sender is told when nothing of its batch was stored.
fn failure(error: Option<&AppendError>) -> (Code, Cow<'static, str>) {
    match error {
        // Good events, whose sender has to keep them for now.
        Some(error @ (AppendError::Full { .. } | AppendError::TooManyGaps { .. })) => {
            (Code::Full, error.to_string().into())
        }
        Some(error @ AppendError::Disk(_)) => (Code::Disk, error.to_string().into()),
        Some(error @ AppendError::OutOfBounds(_)) => (Code::Invalid, error.to_string().into()),
        Some(AppendError::Closing) => (Code::Stopping, "the agent is stopping".into()),
        None => (Code::Disk, "the log did not confirm this event".into()),
    }
}

fn count_letters(letters: usize, result: &Result<Vec<Appended>, AppendError>, observer: &dyn Observer) {
    let kept = result.as_ref().map_or(0, Vec::len);
    for _ in 0..kept {
        observer.refusal_kept();
    }
    for _ in kept..letters {
        observer.refusal_not_kept();
    }
}

fn clipped(text: &str) -> Cow<'_, str> {
    if text.len() <= REFUSAL_TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let mut end = REFUSAL_TEXT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", &text[..end]))
}
