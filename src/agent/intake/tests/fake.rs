//! A queue in memory whose commits the test lets through, and a tally of what was observed.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use revenium_event::line::Code;
use revenium_event::{Kind, Warning};
use tokio::sync::{Notify, oneshot};

use crate::intake::{Observer, Seen};
use crate::queue::*;

type Answer = oneshot::Sender<Result<Vec<Appended>, AppendError>>;

#[derive(Default)]
pub(crate) struct FakeQueue {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    is_held: bool,
    fails_with: Option<AppendError>,
    waiting: VecDeque<(Vec<NewRecord>, Answer)>,
    stored: Vec<NewRecord>,
    batches: Vec<usize>,
    identities: HashMap<(ProducerId, u64), u64>,
}

impl FakeQueue {
    /// From now on appends wait until they are let through.
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().is_held = true;
    }

    /// Lets the oldest waiting append through, or fails it.
    pub(crate) fn let_through(&self, error: Option<AppendError>) {
        let mut state = self.state.lock().unwrap();
        let (records, answer) = state.waiting.pop_front().expect("an append waits");
        let result = error.map_or_else(|| Ok(state.store(records)), Err);
        let _ = answer.send(result);
    }

    /// Lets everything through, now and later.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_held = false;
        while let Some((records, answer)) = state.waiting.pop_front() {
            let appended = state.store(records);
            let _ = answer.send(Ok(appended));
        }
    }

    /// Fails everything that waits.
    pub(crate) fn fail_waiting(&self, error: &AppendError) {
        for (_, answer) in self.state.lock().unwrap().waiting.drain(..) {
            let _ = answer.send(Err(error.clone()));
        }
    }

    pub(crate) fn fail_with(&self, error: Option<AppendError>) {
        self.state.lock().unwrap().fails_with = error;
    }

    /// Returns once `count` appends wait.
    pub(crate) async fn waiting(&self, count: usize) {
        loop {
            let arrived = self.arrived.notified();
            if self.state.lock().unwrap().waiting.len() >= count {
                return;
            }
            arrived.await;
        }
    }

    pub(crate) fn waiting_now(&self) -> usize {
        self.state.lock().unwrap().waiting.len()
    }

    /// The `transactionId`s of what is stored, in order.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.stored()
            .iter()
            .filter(|record| record.dead.is_none())
            .map(|record| id_of(&record.body))
            .collect()
    }

    pub(crate) fn stored(&self) -> Vec<NewRecord> {
        self.state.lock().unwrap().stored.clone()
    }

    /// Records of each append that was let through.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.state.lock().unwrap().batches.clone()
    }
}

pub(crate) fn id_of(body: &[u8]) -> u64 {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["transactionId"].as_str().unwrap()[1..].parse().unwrap()
}

impl State {
    fn store(&mut self, records: Vec<NewRecord>) -> Vec<Appended> {
        self.batches.push(records.len());
        let mut appended = Vec::new();
        for record in records {
            let seq = Seq(self.stored.len() as u64);
            let known = record.number.and_then(|number| self.identities.insert(number, record.fingerprint));
            appended.push(match known {
                Some(fingerprint) if fingerprint == record.fingerprint => Appended::Duplicate,
                Some(_) => Appended::Conflict(seq),
                None => {
                    self.stored.push(record);
                    Appended::Stored(seq)
                }
            });
        }
        appended
    }
}

impl Queue for FakeQueue {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state.lock().unwrap();
            if let Some(error) = &state.fails_with {
                return Err(error.clone());
            }
            if !state.is_held {
                return Ok(state.store(records));
            }
            state.waiting.push_back((records, answer));
        }
        self.arrived.notify_waiters();
        answered.await.unwrap_or(Err(AppendError::Closing))
    }

    async fn claim(&self, _: &Lane, _: End, _: usize, _: u64) -> Result<Vec<Record>, ReadError> {
        Ok(Vec::new())
    }

    fn settle(&self, _: Seq, _: Settlement) {}

    fn lanes(&self) -> Vec<LaneStats> {
        Vec::new()
    }

    async fn changed(&self) {
        std::future::pending().await
    }

    fn stats(&self) -> QueueStats {
        QueueStats::default()
    }

    fn put_state(&self, _: &str, _: &[u8]) {}

    fn state(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
}

/// What the intake told its observer, counted by name.
#[derive(Default)]
pub(crate) struct Tally {
    counts: Mutex<HashMap<String, u64>>,
    changed: Notify,
}

impl Tally {
    pub(crate) fn count(&self, fact: &str) -> u64 {
        self.counts.lock().unwrap().get(fact).copied().unwrap_or_default()
    }

    /// Returns once `fact` was counted `count` times.
    pub(crate) async fn reaches(&self, fact: &str, count: u64) {
        loop {
            let changed = self.changed.notified();
            if self.count(fact) >= count {
                return;
            }
            changed.await;
        }
    }

    fn add(&self, fact: &str, count: u64) {
        *self.counts.lock().unwrap().entry(fact.to_owned()).or_default() += count;
        self.changed.notify_waiters();
    }
}

impl Observer for Tally {
    fn connection_opened(&self) {
        self.add("opened", 1);
    }
    fn connection_closed(&self) {
        self.add("closed", 1);
    }
    fn connection_refused(&self, code: Code) {
        self.add(&format!("connection {code:?}"), 1);
    }
    fn rebound(&self) {
        self.add("rebound", 1);
    }
    fn stored(&self, event: &Seen) {
        self.add("stored", 1);
        self.add(event.kind.name(), 1);
    }
    fn duplicate(&self, _: &Seen) {
        self.add("duplicate", 1);
    }
    fn refused(&self, code: Code) {
        self.add(&format!("refused {code:?}"), 1);
    }
    fn refusal_kept(&self) {
        self.add("kept", 1);
    }
    fn refusal_not_kept(&self) {
        self.add("not kept", 1);
    }
    fn warned(&self, _: Kind, _: &Warning) {
        self.add("warned", 1);
    }
    fn appended(&self, records: usize, _: Duration) {
        self.add("appended", records as u64);
    }
    fn throttled(&self) {
        self.add("throttled", 1);
    }
    fn held_back(&self) {
        self.add("held back", 1);
    }
    fn stalled(&self) {
        self.add("stalled", 1);
    }
    fn line_timed_out(&self) {
        self.add("line timed out", 1);
    }
}
