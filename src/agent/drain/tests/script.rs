//! A stand-in upstream: what it does with a record and what it says are two things.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::super::status::{Observer, Settled};
use crate::queue::Record;
use crate::upstream::{ApiKey, Reply, SendError, Transport};

/// One attempt as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Since the script was made.
    pub(super) at: Duration,
    pub(super) n: u64,
    pub(super) profile: String,
    pub(super) key: String,
    pub(super) body: Bytes,
}

/// What to do with one attempt.
#[derive(Debug, Clone)]
pub(super) struct Said {
    takes: bool,
    after: Duration,
    answer: Result<Reply, SendError>,
}

impl Said {
    /// Takes the record and says so.
    pub(super) fn created() -> Self {
        Self { takes: true, ..Self::status(201) }
    }

    /// Leaves it and says `status`.
    pub(super) fn status(status: u16) -> Self {
        let answer = Ok(Reply { status, body_is_whole: true, ..Reply::default() });
        Self { takes: false, after: Duration::from_millis(50), answer }
    }

    /// Says nothing that is heard.
    pub(super) fn silence() -> Self {
        Self { answer: Err(SendError::Unheard("connection reset".to_owned())), ..Self::status(0) }
    }

    /// Whatever it says, it took the record.
    pub(super) fn but_takes_it(self) -> Self {
        Self { takes: true, ..self }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        let reply = self.answer.as_mut().expect("an answer");
        reply.headers.insert(name, value.parse().expect("a header value"));
        self
    }

    pub(super) fn body(mut self, body: &str) -> Self {
        self.answer.as_mut().expect("an answer").body = Bytes::from(body.to_owned());
        self
    }

    pub(super) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

/// What the script is asked: the record, the key it came with, how often it came before, and when.
pub(super) struct Asked<'a> {
    pub(super) n: u64,
    pub(super) record: &'a Record,
    pub(super) key: &'a ApiKey,
    pub(super) before: usize,
    pub(super) at: Duration,
}

type Says = dyn Fn(&Asked<'_>) -> Said + Send + Sync;

pub(super) struct Script {
    says: Box<Says>,
    start: Instant,
    attempts: Mutex<Vec<Attempt>>,
    /// Each record as it first came, and how often it came.
    firsts: Mutex<BTreeMap<u64, (Record, usize)>>,
    /// Idempotency-Key and bytes of what it took: what is billed.
    taken: Mutex<BTreeMap<String, Bytes>>,
    in_flight: AtomicUsize,
    in_flight_most: AtomicUsize,
    after_key_expiry: AtomicUsize,
}

impl Script {
    pub(super) fn new(says: impl Fn(&Asked<'_>) -> Said + Send + Sync + 'static) -> Self {
        Self {
            says: Box::new(says),
            start: Instant::now(),
            attempts: Mutex::default(),
            firsts: Mutex::default(),
            taken: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            in_flight_most: AtomicUsize::new(0),
            after_key_expiry: AtomicUsize::new(0),
        }
    }

    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().expect("unpoisoned").clone()
    }

    pub(super) fn attempts_of(&self, n: u64) -> Vec<Attempt> {
        self.attempts().into_iter().filter(|attempt| attempt.n == n).collect()
    }

    /// Records that are billed.
    pub(super) fn billed(&self) -> usize {
        self.taken.lock().expect("unpoisoned").len()
    }

    pub(super) fn in_flight_most(&self) -> usize {
        self.in_flight_most.load(Ordering::Relaxed)
    }

    pub(super) fn after_key_expiry(&self) -> usize {
        self.after_key_expiry.load(Ordering::Relaxed)
    }
}

impl Transport for Script {
    async fn send(&self, record: &Record, key: &ApiKey) -> Result<Reply, SendError> {
        let at = self.start.elapsed();
        let before = {
            let mut firsts = self.firsts.lock().expect("unpoisoned");
            let first = firsts.entry(record.seq.0).or_insert_with(|| (record.clone(), 0));
            assert_eq!(
                (&record.key, &record.body),
                (&first.0.key, &first.0.body),
                "the same in every attempt"
            );
            first.1 += 1;
            first.1 - 1
        };
        let said = (self.says)(&Asked { n: record.seq.0, record, key, before, at });
        self.attempts.lock().expect("unpoisoned").push(Attempt {
            at,
            n: record.seq.0,
            profile: record.lane.profile.to_string(),
            key: record.key.to_string(),
            body: record.body.clone(),
        });
        if said.takes {
            self.taken.lock().expect("unpoisoned").insert(record.key.to_string(), record.body.clone());
        }
        let in_flight = InFlight::new(self);
        sleep(said.after).await;
        drop(in_flight);
        said.answer
    }
}

/// Counts down when the attempt ends or is given up.
struct InFlight<'a>(&'a Script);

impl<'a> InFlight<'a> {
    fn new(script: &'a Script) -> Self {
        let now = script.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        script.in_flight_most.fetch_max(now, Ordering::Relaxed);
        Self(script)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Observer for Script {
    fn settled(&self, settled: &Settled<'_>) {
        self.after_key_expiry.fetch_add(usize::from(settled.after_key_expiry), Ordering::Relaxed);
    }
}
