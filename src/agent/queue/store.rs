//! The embedded log as the agent's queue.
//!
//! Claims read the disk and wait for the index, so they go to a blocking thread, a batch at a time.
//! Everything else is a short lock or waits without blocking.

use revenium_store::Store;

use super::{
    AppendError, Appended, End, Lane, LaneStats, NewRecord, Queue, QueueStats, ReadError, Record, Seq,
    Settlement,
};
use crate::tasks;

impl Queue for Store {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        Self::append(self, records).await
    }

    async fn claim(
        &self,
        lane: &Lane,
        end: End,
        records_max: usize,
        now_ms: u64,
    ) -> Result<Vec<Record>, ReadError> {
        let (store, lane) = (self.clone(), lane.clone());
        let claimed = tasks::blocking(move || Self::claim(&store, &lane, end, records_max, now_ms)).await;
        // No thread is to be had any more: the process ends.
        claimed.unwrap_or(Err(ReadError::Closing))
    }

    fn settle(&self, seq: Seq, settlement: Settlement) {
        Self::settle(self, seq, settlement);
    }

    fn lanes(&self) -> Vec<LaneStats> {
        Self::lanes(self)
    }

    /// For one waiter at a time: the drain's, which tells all of its loops.
    async fn changed(&self) {
        Self::changed(self).await;
    }

    fn stats(&self) -> QueueStats {
        Self::stats(self)
    }

    fn put_state(&self, name: &str, value: &[u8]) {
        self.put_state_if_there_is_room(name, value);
    }

    fn state(&self, name: &str) -> Option<Vec<u8>> {
        Self::state(self, name)
    }
}
