//! Whether the log takes what it is given: a pulse to watch, and a queue that beats it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{
    AppendError, Appended, End, Lane, LaneStats, NewRecord, Queue, QueueStats, ReadError, Record, Seq,
    Settlement,
};

/// Whether commits come through: how long the log has been still while somebody waits on it.
#[derive(Default)]
pub struct CommitPulse {
    state: Mutex<Pulse>,
}

#[derive(Default)]
struct Pulse {
    pending: u64,
    moved_at: Option<Instant>,
    /// When the log last refused what it was given, and why; nothing once it took something again.
    refused: Option<(Instant, String)>,
}

/// A refusal that nothing followed for so long says nothing of now.
const REFUSAL_HOLDS: Duration = Duration::from_secs(60);

impl CommitPulse {
    /// A commit was handed over; dropping the mark says that it ended, well or not.
    pub fn begin(&self) -> CommitMark<'_> {
        self.begin_at(Instant::now())
    }

    pub(crate) fn begin_at(&self, now: Instant) -> CommitMark<'_> {
        let mut pulse = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if pulse.pending == 0 {
            pulse.moved_at = Some(now);
        }
        pulse.pending += 1;
        CommitMark(self)
    }

    fn end_at(&self, now: Instant) {
        let mut pulse = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.pending = pulse.pending.saturating_sub(1);
        pulse.moved_at = Some(now);
    }

    fn ended_with<T>(&self, ended: &Result<T, AppendError>, now: Instant) {
        let refused = match ended {
            Ok(_) => None,
            Err(error @ (AppendError::Full { .. } | AppendError::Disk(_))) => Some((now, error.to_string())),
            // About the records, or about the end of the process.
            Err(AppendError::OutOfBounds(_) | AppendError::TooManyGaps { .. } | AppendError::Closing) => {
                return;
            }
        };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused = refused;
    }

    /// Why the log refuses what it is given, if it did so last and lately.
    pub(crate) fn refusing(&self, now: Instant) -> Option<String> {
        let pulse = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, why) = pulse.refused.as_ref()?;
        (now.saturating_duration_since(*at) < REFUSAL_HOLDS).then(|| why.clone())
    }

    /// How long no commit has ended, if any is pending.
    pub(crate) fn still_for(&self, now: Instant) -> Option<Duration> {
        let pulse = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.moved_at.filter(|_| pulse.pending > 0).map(|moved_at| now.saturating_duration_since(moved_at))
    }
}

/// A commit that is on its way.
pub struct CommitMark<'a>(&'a CommitPulse);

impl Drop for CommitMark<'_> {
    fn drop(&mut self) {
        self.0.end_at(Instant::now());
    }
}

/// A queue whose appends beat a [`CommitPulse`]; all else is the queue's own.
pub struct Pulsed<Q> {
    queue: Arc<Q>,
    pulse: Arc<CommitPulse>,
}

impl<Q> Pulsed<Q> {
    /// `queue`, watched by `pulse`.
    pub fn new(queue: Arc<Q>, pulse: Arc<CommitPulse>) -> Self {
        Self { queue, pulse }
    }
}

impl<Q: Queue> Queue for Pulsed<Q> {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        let _mark = self.pulse.begin();
        let ended = self.queue.append(records).await;
        self.pulse.ended_with(&ended, Instant::now());
        ended
    }
    async fn claim(&self, lane: &Lane, end: End, max: usize, now_ms: u64) -> Result<Vec<Record>, ReadError> {
        self.queue.claim(lane, end, max, now_ms).await
    }
    fn settle(&self, seq: Seq, settlement: Settlement) {
        self.queue.settle(seq, settlement);
    }
    fn lanes(&self) -> Vec<LaneStats> {
        self.queue.lanes()
    }
    async fn changed(&self) {
        self.queue.changed().await;
    }
    fn stats(&self) -> QueueStats {
        self.queue.stats()
    }
    fn put_state(&self, name: &str, value: &[u8]) {
        self.queue.put_state(name, value);
    }
    fn state(&self, name: &str) -> Option<Vec<u8>> {
        self.queue.state(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_still_only_while_something_is_pending_and_nothing_ends() {
        let pulse = CommitPulse::default();
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(pulse.still_for(at(100)), None, "nobody waits");
        let first = pulse.begin_at(at(100));
        let second = pulse.begin_at(at(120));
        assert_eq!(pulse.still_for(at(140)), Some(Duration::from_secs(40)));
        std::mem::forget(first);
        pulse.end_at(at(145));
        assert_eq!(pulse.still_for(at(150)), Some(Duration::from_secs(5)), "one came through");
        drop(second);
        assert_eq!(pulse.still_for(at(1000)), None);
    }

    #[test]
    fn the_log_refuses_until_it_takes_something_or_nobody_asks_any_more() {
        let pulse = CommitPulse::default();
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let full = || Err::<(), _>(AppendError::Full { budget: "disk".into(), bytes: 1, bytes_max: 2 });
        assert_eq!(pulse.refusing(at(0)), None);
        pulse.ended_with(&full(), at(10));
        let why = Some("the log is full: 1 of 2 bytes used (disk)".to_owned());
        assert_eq!(pulse.refusing(at(69)), why);
        assert_eq!(pulse.refusing(at(70)), None, "nobody has asked for a minute");
        pulse.ended_with(&full(), at(80));
        pulse.ended_with::<()>(&Err(AppendError::Closing), at(81));
        assert_eq!(pulse.refusing(at(82)), why);
        pulse.ended_with(&Ok(()), at(83));
        assert_eq!(pulse.refusing(at(83)), None);
    }
}
