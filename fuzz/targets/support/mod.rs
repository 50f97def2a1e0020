//! A queue that takes everything and keeps nothing, and one who is told of everything and counts nothing.

use std::future::pending;

use revenium_agent::intake::Observer;
use revenium_agent::queue::{
    AppendError, Appended, End, Lane, LaneStats, NewRecord, Queue, QueueStats, ReadError, Record, Seq,
    Settlement,
};

#[derive(Default)]
pub struct Taker;

impl Queue for Taker {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        for record in &records {
            let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(&record.body).is_ok();
            assert!(is_json || record.dead.is_some(), "a body that is none would be sent");
        }
        Ok((1..).zip(&records).map(|(seq, _)| Appended::Stored(Seq(seq))).collect())
    }

    async fn claim(&self, _: &Lane, _: End, _: usize, _: u64) -> Result<Vec<Record>, ReadError> {
        Ok(Vec::new())
    }

    fn settle(&self, _: Seq, _: Settlement) {}

    fn lanes(&self) -> Vec<LaneStats> {
        Vec::new()
    }

    async fn changed(&self) {
        pending().await
    }

    fn stats(&self) -> QueueStats {
        QueueStats::default()
    }

    fn put_state(&self, _: &str, _: &[u8]) {}

    fn state(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
}

pub struct Quiet;

impl Observer for Quiet {}
