//! Receipts: of each delivery one line, so that it can be told for a while what became of an event.
//!
//! A line of JSON holds ids, kind, profile, times and attempts, and nothing else of the event. No money depends on
//! it: the log decides what is sent, and a receipt is written after that, beside the drain's loop. One that finds no
//! room or no disk is counted and given up; nothing waits for it, and nothing flushes it. Kept are those of the last
//! [`folder::DAYS_MAX`] days, in [`folder::ALL_BYTES_MAX`] at most.

pub(crate) mod folder;
mod keep;
mod search;

use revenium_event::{Kind, transaction_id};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(crate) use keep::{Receipts, keep};
pub(crate) use search::{Found, search};

use crate::drain::Settled;

/// The receipts' folder in the data directory.
pub(crate) const DIR: &str = "receipts";

/// Bytes of an id that are kept, and by which it is found: as many as an Idempotency-Key may have.
const ID_BYTES_MAX: usize = 255;

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// The record's number in the log.
    pub(crate) seq: u64,
    /// The event's `transactionId`.
    pub(crate) transaction: String,
    /// The Idempotency-Key that it was sent under.
    pub(crate) key: String,
    /// The id that the upstream gave to it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The profile that it was sent for.
    pub(crate) profile: String,
    /// Its kind's name.
    pub(crate) kind: String,
    /// When the agent received it, milliseconds since 1970.
    pub(crate) received_ms: u64,
    /// When the upstream had confirmed it, milliseconds since 1970.
    pub(crate) delivered_ms: u64,
    /// How often it was sent, as far as the log knows.
    pub(crate) attempts: u32,
}

impl Receipt {
    /// The receipt of a record that was delivered.
    pub(crate) fn of(settled: &Settled<'_>) -> Self {
        let record = settled.record;
        let kind = Kind::from_code(record.lane.route);
        let transaction = kind.and_then(|kind| transaction_id(&record.body, kind)).unwrap_or_default();
        Self {
            seq: record.seq.0,
            transaction: cut(&transaction).to_owned(),
            key: cut(&record.key).to_owned(),
            id: settled.reply.and_then(|reply| given_id(&reply.body)),
            profile: record.lane.profile.to_string(),
            kind: kind.map_or("other", Kind::name).to_owned(),
            received_ms: record.received_at_ms,
            delivered_ms: settled.at_ms,
            attempts: settled.attempts,
        }
    }

    /// Appends its line.
    fn write(&self, lines: &mut Vec<u8>) {
        // Writing strings and numbers to memory does not fail; half a line would be read as none.
        let _ = serde_json::to_writer(&mut *lines, self);
        lines.push(b'\n');
    }

    /// Whether `id` is one of its ids.
    fn has(&self, id: &Id<'_>) -> bool {
        self.id.as_deref() == Some(id.text) || id.is_of(&self.transaction, &self.key)
    }
}

/// What is looked for: a `transactionId`, an Idempotency-Key, or an id of the upstream's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id<'a> {
    text: &'a str,
}

impl<'a> Id<'a> {
    /// An id as somebody knows it.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text: cut(text) }
    }

    /// Its text, as far as it counts.
    pub(crate) fn text(self) -> &'a str {
        self.text
    }

    /// Whether an event with this `transactionId` and key is meant: by either of them, or as a pass of the call
    /// that is.
    pub(crate) fn is_of(self, transaction: &str, key: &str) -> bool {
        let transaction = cut(transaction);
        cut(key) == self.text
            || transaction == self.text
            || revenium_anthropic::is_pass_of(transaction, self.text)
    }
}

/// The id in the answer to a delivery.
fn given_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let said: Said<'_> = serde_json::from_slice(body).ok()?;
    let raw = said.id.get();
    let id = serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned());
    // What is no text and no number names nothing.
    let is_id = !raw.starts_with(['{', '[', 'n', 't', 'f']) && !id.is_empty();
    is_id.then(|| cut(&id).to_owned())
}

/// As much of an id as is kept.
fn cut(id: &str) -> &str {
    let mut end = id.len().min(ID_BYTES_MAX);
    while !id.is_char_boundary(end) {
        end -= 1;
    }
    &id[..end]
}

#[cfg(test)]
mod tests;
