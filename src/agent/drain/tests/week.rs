//! A week without Revenium, in simulated time, and what it costs: nothing, wherever the server knows a record again.
//!
//! Revenium remembers an Idempotency-Key for 24 hours and drops a `transactionId` that it has seen, nobody outside
//! knows for how long. So records that it took while its answers were lost, and that come again days later, are billed
//! once as long as it remembers the id, and twice otherwise: that number is told, not hidden.
//!
//! `REVENIUM_WEEK_EVENTS` has how many events come in those days.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::queue::Record;
use crate::upstream::{Reply, SendError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const KEY_REMEMBERED: Duration = DAY;
const AWAY_FROM: Duration = DAY;
const BACK_AT: Duration = Duration::from_secs(8 * 24 * 60 * 60);
const TAKES: Duration = Duration::from_millis(50);
/// Of the attempts that come through while its answers do not.
const HEARD_ONE_IN: u64 = 3;
const EVENTS: u64 = 3_000;

/// Revenium, as far as it remembers.
struct Revenium {
    start: Instant,
    /// How long it knows a `transactionId`; `None` for ever.
    id_remembered: Option<Duration>,
    known: Mutex<HashMap<u64, Known>>,
    attempts_away: AtomicU64,
    /// Records that it took and whose answer was lost.
    unheard: AtomicU64,
    after_key_expiry: AtomicU64,
}

struct Known {
    key_from: Duration,
    id_from: Duration,
    billed: u64,
    /// It was taken once and the answer was lost.
    is_unheard: bool,
}

impl Revenium {
    fn new(id_remembered: Option<Duration>) -> Self {
        Self {
            start: Instant::now(),
            id_remembered,
            known: Mutex::default(),
            attempts_away: AtomicU64::new(0),
            unheard: AtomicU64::new(0),
            after_key_expiry: AtomicU64::new(0),
        }
    }

    fn is_away(&self) -> bool {
        (AWAY_FROM..BACK_AT).contains(&self.start.elapsed())
    }

    fn take(&self, n: u64) {
        let now = self.start.elapsed();
        let mut known = self.known.lock().expect("unpoisoned");
        let Some(known) = known.get_mut(&n) else {
            known.insert(n, Known { key_from: now, id_from: now, billed: 1, is_unheard: false });
            return;
        };
        if now - known.key_from < KEY_REMEMBERED {
            return;
        }
        known.key_from = now;
        if self.id_remembered.is_some_and(|remembered| now - known.id_from >= remembered) {
            known.id_from = now;
            known.billed += 1;
        }
    }

    fn lose_answer(&self, n: u64) {
        self.unheard.fetch_add(1, Ordering::Relaxed);
        self.known.lock().expect("unpoisoned").get_mut(&n).expect("it was taken").is_unheard = true;
    }
}

impl Transport for Revenium {
    async fn send(&self, record: &Record, _: &ApiKey) -> Result<Reply, SendError> {
        let n = record.seq.0;
        assert_eq!(*record.key, *format!("key-{n}"), "the same key in every attempt");
        let is_away = self.is_away();
        let is_heard = || self.attempts_away.fetch_add(1, Ordering::Relaxed).is_multiple_of(HEARD_ONE_IN);
        let is_taken = !is_away || is_heard();
        if is_taken {
            self.take(n);
        }
        sleep(TAKES).await;
        if is_away || self.is_away() {
            if is_taken {
                self.lose_answer(n);
            }
            return Err(SendError::Unheard("connection reset".into()));
        }
        Ok(Reply { status: 201, body_is_whole: true, ..Reply::default() })
    }
}

impl Observer for Revenium {
    fn settled(&self, settled: &Settled<'_>) {
        self.after_key_expiry.fetch_add(u64::from(settled.after_key_expiry), Ordering::Relaxed);
    }
}

/// Records that were billed more than once, of `events` that come throughout nine days.
async fn billed_again(id_remembered: Option<Duration>, events: u64) -> u64 {
    let mut stage = Stage::new(Script::new(|_| panic!("another upstream is asked")));
    stage.settings.pacing = Pacing::Adaptive;
    let revenium = Arc::new(Revenium::new(id_remembered));
    let queue = stage.queue.clone();
    let minutes = 9 * 24 * 60;
    let comes = tokio::spawn(async move {
        let mut came = 0;
        for minute in 1..=minutes {
            queue.add("p", 0, events * minute / minutes - came);
            came = events * minute / minutes;
            sleep(seconds(60)).await;
        }
    });
    // It is restarted every other day, and once more than that.
    for _ in 0..5 {
        stage.queue.reopen();
        let drain = Drain::with_clock(
            stage.settings.clone(),
            stage.profiles.clone(),
            stage.queue.clone(),
            revenium.clone(),
            revenium.clone(),
            stage.clock,
            &mut stage.random,
        );
        drain.run(sleep(2 * DAY)).await.expect("no panic");
    }
    comes.await.expect("no panic");
    let known = revenium.known.lock().expect("unpoisoned");
    assert_eq!(known.len() as u64, events, "every one is billed");
    assert_eq!((stage.queue.delivered() as u64, stage.queue.waiting().len()), (events, 0));
    assert_eq!(stage.queue.dead(), vec![]);
    let again: u64 = known.values().map(|known| known.billed - 1).sum();
    let [away, unheard, late] = [&revenium.attempts_away, &revenium.unheard, &revenium.after_key_expiry]
        .map(|count| count.load(Ordering::Relaxed));
    println!(
        "{events} events, a week's outage: {away} attempts in it, {unheard} taken without an answer, {late} sent after \
         their key was forgotten; ids remembered for {id_remembered:?}: {again} billed again"
    );
    assert!(unheard > 0, "the outage cost no answer: nothing is tried here");
    assert!(
        known.values().all(|known| known.billed == 1 || known.is_unheard),
        "an answer was heard, and yet"
    );
    assert!(again <= late, "an operator is told of {late} that may be billed again, and {again} are");
    again
}

fn events() -> u64 {
    std::env::var("REVENIUM_WEEK_EVENTS")
        .map_or(EVENTS, |n| n.parse().expect("REVENIUM_WEEK_EVENTS is a number"))
}

#[tokio::test(start_paused = true)]
async fn after_a_week_s_outage_every_event_is_billed_once_where_its_id_is_remembered() {
    assert_eq!(billed_again(None, events()).await, 0);
}

/// The price of delivering after the 24 hours rather than dropping then, where nothing else knows a record again.
#[tokio::test(start_paused = true)]
async fn after_a_week_s_outage_only_what_lost_its_answer_is_billed_again_where_its_id_is_forgotten() {
    for remembered in [Duration::ZERO, DAY] {
        assert!(billed_again(Some(remembered), events()).await > 0, "the model forgets nothing");
    }
}
