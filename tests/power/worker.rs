//! The process whose power goes: a store at work, which tells what it does.
//!
//! It is this test program once more, with what is to be done in its environment.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use revenium_store::{Appended, DeadNote, End, NewRecord, Seq, Settlement, Store};

use crate::dice::Dice;
use crate::record::{self, LANES};
use crate::said::{Said, State};
use crate::store::{append, lane, small};

const LONG: Duration = Duration::from_secs(60);
/// Records of one append.
const TOGETHER_MAX: u64 = 8;
/// With more that wait, more is delivered than comes.
const MANY_WAIT: u64 = 250;
/// When claims are made; what is postponed is due before.
const NOW_MS: u64 = 10_000;

/// What a worker is to do.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    /// The number of the next new record.
    pub(crate) next: u64,
    /// Records of which nobody knows whether they were stored.
    pub(crate) again: Vec<u64>,
    /// Numbered records that were stored some time ago.
    pub(crate) known: Vec<u64>,
    /// It tells what it holds, and that is all.
    pub(crate) only_looks: bool,
}

impl Work {
    /// Starts a process that does it, its standard error piped.
    pub(crate) fn start(&self) -> Child {
        let list = |all: &[u64]| all.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        Command::new(env::current_exe().expect("is running"))
            .args(["--ignored", "--exact", "worker::a_store_whose_power_is_cut", "--nocapture"])
            .env("POWER_DIR", &self.dir)
            .env("POWER_SEED", self.seed.to_string())
            .env("POWER_NEXT", self.next.to_string())
            .env("POWER_AGAIN", list(&self.again))
            .env("POWER_KNOWN", list(&self.known))
            .env("POWER_LOOK", if self.only_looks { "1" } else { "" })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts")
    }

    fn from_environment() -> Self {
        let text = |name| env::var(name).expect("is started by another test, never by itself");
        let list = |name| text(name).split(',').filter_map(|n| n.parse().ok()).collect();
        Self {
            dir: text("POWER_DIR").into(),
            seed: text("POWER_SEED").parse().expect("a number"),
            next: text("POWER_NEXT").parse().expect("a number"),
            again: list("POWER_AGAIN"),
            known: list("POWER_KNOWN"),
            only_looks: !text("POWER_LOOK").is_empty(),
        }
    }
}

#[test]
#[ignore = "the other tests start it, as a process of its own"]
fn a_store_whose_power_is_cut() {
    let work = Work::from_environment();
    tracing_subscriber::fmt().with_ansi(false).with_writer(io::stderr).init();
    let mut worker = Worker::open(&work.dir, &work);
    worker.tell_all();
    if work.only_looks {
        return worker.store.close();
    }
    worker.hand_again(&work.again);
    worker.hand_known(&work.known);
    loop {
        worker.step();
    }
}

struct Worker {
    store: Store,
    dice: Dice,
    next: u64,
}

impl Worker {
    fn open(dir: &Path, work: &Work) -> Self {
        let store = Store::open(small(dir, None)).expect("opens");
        assert!(store.wait_ready(LONG), "the index is not ready");
        Self { store, dice: Dice::new(work.seed), next: work.next }
    }

    /// Tells everything that the store holds, and whether its counts say the same.
    fn tell_all(&self) {
        let mut claimed = Vec::new();
        let mut waiting = 0;
        for of in 0..LANES {
            loop {
                let some = self.store.claim(&lane(of), End::Oldest, 100, u64::MAX).expect("claims");
                if some.is_empty() {
                    break;
                }
                waiting += some.len() as u64;
                for found in some {
                    tell(&found, State::Waiting);
                    claimed.push(found.seq);
                }
            }
        }
        let dead = self.store.dead_letters(Seq(0), 100_000).expect("reads");
        dead.iter().for_each(|letter| tell(&letter.record, State::Dead));
        claimed.into_iter().for_each(|seq| self.store.settle(seq, Settlement::Released));
        let stats = self.store.stats();
        let count = |of: fn(&revenium_store::LaneStats) -> u64| stats.lanes.iter().map(of).sum::<u64>();
        let (counted, lost) = (count(|l| l.waiting), count(|l| l.ledger.lost));
        let counts = (stats.imbalance, lost, counted, count(|l| l.ledger.dead));
        if counts != (0, 0, waiting, dead.len() as u64) {
            Said::Wrong(format!("imbalance, lost, waiting and dead are {counts:?}, with {stats:?}")).say();
        }
        Said::HoldsNoMore.say();
    }

    /// What was cut off is handed over again, as a sender does.
    fn hand_again(&self, again: &[u64]) {
        for n in again {
            Said::Hands(*n).say();
            match self.append(vec![record::make(*n)])[0] {
                Appended::Stored(seq) => Said::Stored(*n, Some(seq.0)).say(),
                Appended::Duplicate => Said::Stored(*n, None).say(),
                Appended::Conflict(_) => Said::Wrong(format!("{n} is taken for a conflict")).say(),
            }
        }
    }

    /// What was stored is recognised by its number for ever.
    fn hand_known(&self, known: &[u64]) {
        for n in known {
            let answer = self.append(vec![record::make(*n)])[0];
            if answer != Appended::Duplicate {
                Said::Wrong(format!("{n} was stored and is stored again: {answer:?}")).say();
            }
        }
    }

    fn step(&mut self) {
        let waiting: u64 = self.store.lanes().iter().map(|l| l.waiting).sum();
        if waiting > MANY_WAIT {
            return self.settle(50);
        }
        match self.dice.between(0..=13) {
            0..=5 => self.hand(),
            6..=9 => {
                let records = self.dice.between(1..=40);
                self.settle(records);
            }
            10 => self.retry_dead(),
            11 => self.discard_dead(),
            _ => self.sync(),
        }
    }

    fn hand(&mut self) {
        let first = self.next;
        self.next += self.dice.between(1..=TOGETHER_MAX);
        let numbers = first..self.next;
        numbers.clone().for_each(|n| Said::Hands(n).say());
        let answers = self.append(numbers.clone().map(record::make).collect());
        for (n, answer) in numbers.zip(answers) {
            match answer {
                Appended::Stored(seq) => Said::Stored(n, Some(seq.0)).say(),
                other => Said::Wrong(format!("{n} is new and is taken for {other:?}")).say(),
            }
        }
    }

    fn settle(&mut self, records: u64) {
        let of = u8::try_from(self.dice.between(0..=u64::from(LANES) - 1)).expect("is small");
        let end = if self.dice.one_in(3) { End::Newest } else { End::Oldest };
        let how = self.dice.between(0..=9);
        let records = usize::try_from(records).expect("is small");
        for found in self.store.claim(&lane(of), end, records, NOW_MS).expect("claims") {
            let n = record::number_of(&found).expect("is what it was");
            let note = DeadNote { reason: 3, status: 400, words: "no".into(), at_ms: 1 };
            let settlement = match how {
                0 => Settlement::Dead(note),
                1 => Settlement::Released,
                2 => {
                    let attempts = found.attempts + 1;
                    Settlement::Postponed { not_before_ms: 9_000, attempts, first_attempt_at_ms: 1 }
                }
                3 => Settlement::Discarded,
                _ => Settlement::Delivered,
            };
            match how {
                0 => Said::Ends(n, State::Dead).say(),
                1 | 2 => {}
                _ => Said::Ends(n, State::Gone).say(),
            }
            self.store.settle(found.seq, settlement);
        }
    }

    fn retry_dead(&mut self) {
        self.sync();
        let letters = self.store.dead_letters(Seq(0), 1).expect("reads");
        let Some(letter) = letters.first() else { return };
        let old = record::number_of(&letter.record).expect("is what it was");
        // One that is recognised by nothing: nobody hands over a retry twice.
        let n = self.next.next_multiple_of(3);
        self.next = n + 1;
        Said::HandsFor(n, old).say();
        let again = NewRecord { replaces: Some(letter.record.seq), ..record::make(n) };
        match self.append(vec![again])[0] {
            Appended::Stored(seq) => Said::Stored(n, Some(seq.0)).say(),
            other => Said::Wrong(format!("{n} is a retry and is taken for {other:?}")).say(),
        }
    }

    fn discard_dead(&self) {
        self.sync();
        let letters = self.store.dead_letters(Seq(0), 1).expect("reads");
        let Some(letter) = letters.first() else { return };
        Said::Ends(record::number_of(&letter.record).expect("is what it was"), State::Gone).say();
        self.store.discard_dead(letter.record.seq).expect("is there");
    }

    fn sync(&self) {
        assert!(self.store.wait_settled(LONG), "not settled in time");
        Said::Settled.say();
    }

    fn append(&self, records: Vec<NewRecord>) -> Vec<Appended> {
        append(&self.store, records).expect("appends")
    }
}

fn tell(found: &revenium_store::Record, state: State) {
    match record::number_of(found) {
        Ok(n) => Said::Holds(n, found.seq.0, state).say(),
        Err(what) => Said::Wrong(what).say(),
    }
}
