//! The shapes the ledger is told in, in this process and as JSON outside of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How much the ledger knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Only counts.
    Counts,
    /// Counts, keys and transactions.
    Full,
}

/// Defines the counts once: as atomics, and as the numbers a snapshot shows.
macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often each thing happened.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(in crate::sandbox) struct Tally { $(pub(in crate::sandbox) $name: AtomicU64,)* }

        impl Tally {
            pub(in crate::sandbox) fn counts(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts! {
    /// Connections accepted.
    connections,
    /// Connections closed at once because there were too many.
    connections_refused,
    /// Requests to metering routes that were read to their end, whatever came of them.
    attempts,
    /// The bytes of their bodies.
    body_bytes,
    /// Records stored: what an invoice would count.
    billed,
    /// Acknowledged and dropped, as their `transactionId` was seen before.
    repeated,
    /// Answered from the Idempotency-Key's cache.
    replayed,
    /// Refused with 409, as the key's first request was still running.
    in_progress,
    /// Refused with 409, as the key was used for other bytes.
    mismatched,
    /// Answered 201 and never stored.
    vanished,
    /// Answered 400.
    refused,
    /// Answered 401 or 403.
    unauthorized,
    /// Answered 429 for the requests of one second.
    rate_limited,
    /// Answered 429 for too many errors.
    pattern_limited,
    /// Records without an Idempotency-Key.
    without_key,
    /// Records without a `transactionId`.
    without_transaction_id,
    /// Records with a member given twice.
    with_duplicates,
    /// Redirects to another host that a sender followed. A sender with a key must not.
    followed_redirects,
    /// Keys and transactions the ledger had no room for.
    detail_dropped,
    /// Lines the journal could not write. Such a record was answered 500 and not billed.
    journal_errors,
    /// Requests whose handling panicked: a fault of the stand-in itself.
    panics,
}

impl Tally {
    pub(in crate::sandbox) fn add(count: &AtomicU64, by: u64) {
        count.fetch_add(by, Ordering::Relaxed);
    }
}

/// A `transactionId` and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSeen {
    /// Whose.
    pub account: String,
    /// The route it came to.
    pub path: String,
    /// The id.
    pub transaction: String,
    /// How often it was stored.
    pub billed: u32,
    /// How often it was acknowledged and dropped.
    pub repeated: u32,
    /// How often it was answered 201 and never stored.
    pub vanished: u32,
    /// How often it was answered 400.
    pub refused: u32,
    /// Under how many Idempotency-Keys it came (no key counts as one); [`DISTINCT_MAX`] is the most told.
    pub keys: usize,
    /// In how many distinct bodies it came; [`DISTINCT_MAX`] is the most told.
    pub bodies: usize,
}

/// An Idempotency-Key and what came with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySeen {
    /// Whose.
    pub account: String,
    /// The key.
    pub key: String,
    /// How many requests it came with.
    pub attempts: u32,
    /// How many distinct requests (path and body) those were; [`DISTINCT_MAX`] is the most told.
    pub bodies: usize,
}

/// What the ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Counts of everything.
    pub counts: Counts,
    /// Answers by status. An answer counts when it is decided, heard or not.
    pub statuses: BTreeMap<u16, u64>,
    /// Billed records by what they meter.
    pub billed_by_kind: BTreeMap<String, u64>,
    /// Faults injected, by kind.
    pub injected: BTreeMap<String, u64>,
    /// The most requests an account made in one second.
    pub per_second_peaks: BTreeMap<String, u32>,
    /// Keys and transaction ids whose windows were cut short for want of room.
    pub windows_cut: u64,
    /// Keys that came with more than one body, at most [`LISTED_MAX`].
    pub keys_reused: Vec<KeySeen>,
    /// Transactions that were billed more than once, at most [`LISTED_MAX`].
    pub billed_twice: Vec<TransactionSeen>,
    /// Every transaction, when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<TransactionSeen>,
    /// Every key, when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeySeen>,
}

/// How many offenders a snapshot lists.
pub const LISTED_MAX: usize = 100;

/// How many distinct bodies or keys are told apart.
pub const DISTINCT_MAX: usize = 4;
