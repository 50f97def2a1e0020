//! A queue in memory that holds its user to the trait's contract.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use revenium_store::LaneStats;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::super::clock::Clock;
use crate::queue::{
    AppendError, Appended, DeadNote, End, Lane, NewRecord, Queue, QueueStats, ReadError, Record, Seq,
    Settlement,
};

pub(super) struct MemoryQueue {
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Seq, Waiting>,
    /// Of each lane, how many wait and how many of these are claimed.
    lanes: BTreeMap<Lane, (u64, u64)>,
    ended: BTreeMap<Seq, Settlement>,
    states: HashMap<String, Vec<u8>>,
    next: u64,
    claims_take: Duration,
    next_claim: Option<Box<dyn FnOnce() + Send>>,
}

struct Waiting {
    record: Record,
    is_claimed: bool,
    not_before_ms: u64,
}

impl MemoryQueue {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default(), changed: Notify::new() }
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().expect("unpoisoned"))
    }

    /// Adds `count` records to a lane; their numbers.
    pub(super) fn add(&self, profile: &str, route: u8, count: u64) -> Vec<u64> {
        let received_at_ms = self.clock.now().wall_ms;
        let seqs = self.state(|state| {
            let first = state.next;
            state.next += count;
            for n in first..first + count {
                let record = Record {
                    seq: Seq(n),
                    lane: Lane { profile: profile.into(), route },
                    key: format!("key-{n}").into(),
                    body: Bytes::from(format!("{{\"n\":{n}}}")),
                    received_at_ms,
                    attempts: 0,
                    first_attempt_at_ms: 0,
                };
                state.lanes.entry(record.lane.clone()).or_default().0 += 1;
                state.waiting.insert(Seq(n), Waiting { record, is_claimed: false, not_before_ms: 0 });
            }
            (first..first + count).collect()
        });
        self.changed.notify_one();
        seqs
    }

    /// A slow disk.
    pub(super) fn claims_take(&self, claims_take: Duration) {
        self.state(|state| state.claims_take = claims_take);
    }

    /// What the next claim does before it looks, on the thread of the loops.
    pub(super) fn next_claim(&self, does: impl FnOnce() + Send + 'static) {
        self.state(|state| state.next_claim = Some(Box::new(does)));
    }

    /// What a restart of the process does: claims end.
    pub(super) fn reopen(&self) {
        self.state(|state| {
            state.waiting.values_mut().for_each(|waiting| waiting.is_claimed = false);
            state.lanes.values_mut().for_each(|(_, claimed)| *claimed = 0);
        });
    }

    pub(super) fn change(&self, seq: u64, change: impl FnOnce(&mut Record)) {
        self.state(|state| change(&mut state.waiting.get_mut(&Seq(seq)).expect("waiting").record));
    }

    pub(super) fn waiting(&self) -> Vec<Record> {
        self.state(|state| state.waiting.values().map(|waiting| waiting.record.clone()).collect())
    }

    pub(super) fn claimed(&self) -> usize {
        self.state(|state| state.waiting.values().filter(|waiting| waiting.is_claimed).count())
    }

    pub(super) fn not_before_ms(&self, seq: u64) -> u64 {
        self.state(|state| state.waiting[&Seq(seq)].not_before_ms)
    }

    pub(super) fn delivered(&self) -> usize {
        self.state(|state| state.ended.values().filter(|ended| **ended == Settlement::Delivered).count())
    }

    pub(super) fn dead(&self) -> Vec<(u64, DeadNote)> {
        self.state(|state| {
            let dead = state.ended.iter().filter_map(|(seq, ended)| match ended {
                Settlement::Dead(note) => Some((seq.0, note.clone())),
                _ => None,
            });
            dead.collect()
        })
    }
}

impl Queue for MemoryQueue {
    async fn append(&self, _: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        panic!("the drain never appends")
    }

    async fn claim(
        &self,
        lane: &Lane,
        end: End,
        records_max: usize,
        now_ms: u64,
    ) -> Result<Vec<Record>, ReadError> {
        tokio::task::yield_now().await;
        if let Some(does) = self.state(|state| state.next_claim.take()) {
            does();
        }
        let claimed = self.state(|state| {
            let due = state.waiting.values_mut().filter(|waiting| {
                !waiting.is_claimed && waiting.record.lane == *lane && waiting.not_before_ms <= now_ms
            });
            let take = |waiting: &mut Waiting| {
                waiting.is_claimed = true;
                waiting.record.clone()
            };
            let claimed: Vec<Record> = match end {
                End::Oldest => due.take(records_max).map(take).collect(),
                End::Newest => due.rev().take(records_max).map(take).collect(),
            };
            state.lanes.entry(lane.clone()).or_default().1 += claimed.len() as u64;
            claimed
        });
        let takes = self.state(|state| state.claims_take);
        if !takes.is_zero() {
            sleep(takes).await;
        }
        Ok(claimed)
    }

    fn settle(&self, seq: Seq, settlement: Settlement) {
        self.state(|state| {
            let waiting = state.waiting.get_mut(&seq).expect("only what waits is settled");
            assert!(std::mem::take(&mut waiting.is_claimed), "{seq} was not claimed");
            let of_lane = state.lanes.get_mut(&waiting.record.lane).expect("it waits in one");
            of_lane.1 -= 1;
            match settlement {
                Settlement::Released => {}
                Settlement::Postponed { not_before_ms, attempts, first_attempt_at_ms } => {
                    waiting.not_before_ms = not_before_ms;
                    waiting.record.attempts = attempts;
                    waiting.record.first_attempt_at_ms = first_attempt_at_ms;
                }
                ended => {
                    of_lane.0 -= 1;
                    state.waiting.remove(&seq);
                    state.ended.insert(seq, ended);
                }
            }
        });
    }

    fn lanes(&self) -> Vec<LaneStats> {
        self.state(|state| {
            let stats = |(lane, &(waiting, claimed)): (&Lane, &(u64, u64))| LaneStats {
                lane: lane.clone(),
                waiting,
                claimed,
                oldest_received_at_ms: 0,
                ledger: Default::default(),
            };
            state.lanes.iter().filter(|(_, (waiting, _))| *waiting > 0).map(stats).collect()
        })
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn stats(&self) -> QueueStats {
        QueueStats::default()
    }

    fn put_state(&self, name: &str, value: &[u8]) {
        assert!(value.len() <= 4096, "{name}: {} bytes", value.len());
        self.state(|state| state.states.insert(name.to_owned(), value.to_vec()));
    }

    fn state(&self, name: &str) -> Option<Vec<u8>> {
        self.state(|state| state.states.get(name).filter(|value| !value.is_empty()).cloned())
    }
}
