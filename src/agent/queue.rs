//! What the agent needs from a durable queue, and nothing more.
//!
//! The embedded log (`revenium-store`) is the default. Everything above this trait could stand
//! on another durable queue; nothing above it knows about files, segments or sled.

mod pulse;
mod store;

use std::future::Future;

pub use pulse::{CommitMark, CommitPulse, Pulsed};
pub use revenium_store::{AppendError, LaneStats, QueueStats, ReadError};
pub use revenium_store::{
    Appended, DeadLetter, DeadNote, End, Lane, NewRecord, ProducerId, Record, Seq, Settlement,
};

/// A durable queue of records in lanes.
pub trait Queue: Send + Sync + 'static {
    /// Appends all of `records` or none, and returns once they are durable.
    ///
    /// Cancel-safe: dropping the future may still store the records, so the sender resends
    /// with the same identity.
    fn append(
        &self,
        records: Vec<NewRecord>,
    ) -> impl Future<Output = Result<Vec<Appended>, AppendError>> + Send;

    /// Claims up to `records_max` waiting records of `lane` that are due at `now_ms`.
    ///
    /// A claimed record is not given out again until it is settled (`Released` and `Postponed`
    /// give it back) or the process restarts. An empty answer means that nothing is claimable now.
    fn claim(
        &self,
        lane: &Lane,
        end: End,
        records_max: usize,
        now_ms: u64,
    ) -> impl Future<Output = Result<Vec<Record>, ReadError>> + Send;

    /// Notes how a claim ended. Takes effect at once in this process, is durable within a second.
    /// Never waits for the disk.
    fn settle(&self, seq: Seq, settlement: Settlement);

    /// Every lane that holds waiting records (claimed ones included), with its counts.
    fn lanes(&self) -> Vec<LaneStats>;

    /// Returns when records became claimable since the last call (or may have): a hint to look again.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Counts for metrics and `status`.
    fn stats(&self) -> QueueStats;

    /// Keeps a small value (at most 4 KiB) across restarts, such as a pause. Durable within a second, or, while the log
    /// is full, later: it is to be found out again without it.
    fn put_state(&self, name: &str, value: &[u8]);

    /// The value last put under `name`, if any and not empty.
    fn state(&self, name: &str) -> Option<Vec<u8>>;
}
