//! Every order of operations against a plain model: append, claim, settle, retry, discard,
//! relocate and recycle (in the background), reopen, crash (any unflushed subset of sectors is
//! lost), failed flushes, an index that was lost, is old, or is damaged.
//!
//! The model knows, per record, what may be true: what was acknowledged must be there with its
//! bytes and key; what was settled and noted durably must not come back; between the two, either.
//! `REVENIUM_MODEL_CASES` sets how many cases are run; a failing seed is printed by proptest.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use revenium_store::{
    Appended, Books, DeadNote, End, Fate, LaneBooks, Ledger, NewRecord, ProducerId, Record, Seq, Settlement,
    Store, SurveyError, Tracing, export, trace,
};
use support::{CrashDisk, append, fast_dir, lane, newest_index, record, small, text};

const LONG: Duration = Duration::from_secs(30);
const LANES: u8 = 3;

#[derive(Debug, Clone)]
enum Op {
    /// Records of a lane: how many, how large, how they are identified.
    Append {
        lane: u8,
        n: u8,
        bytes: u16,
        identity: Identity,
    },
    /// The latest acknowledged identified record once more, with the same bytes or others.
    Resend {
        same: bool,
    },
    /// Claims and ends claims.
    Settle {
        lane: u8,
        newest: bool,
        n: u8,
        how: How,
    },
    /// The first dead letter once more, in its lane or another.
    RetryDead {
        lane: u8,
    },
    DiscardDead,
    /// Waits until every settlement is durable.
    Sync,
    Reopen(Loss),
    /// The power goes after some more writes and flushes; `lose` picks sectors.
    Crash {
        after: u8,
        lose: u64,
        then: Loss,
    },
    /// One flush fails.
    FailFlush,
    /// Keeps a copy of the index for later.
    KeepIndex,
}

#[derive(Debug, Clone, Copy)]
enum Identity {
    None,
    Key,
    Number,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Delivered,
    Dead,
    Postponed,
    Released,
    Discarded,
}

/// What happens to the index while the store is closed.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Nothing,
    Deleted,
    Old,
    Flipped(u32),
    Truncated(u16),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let identity = prop_oneof![Just(Identity::None), Just(Identity::Key), Just(Identity::Number)];
    let how = prop_oneof![
        6 => Just(How::Delivered),
        1 => Just(How::Dead),
        1 => Just(How::Postponed),
        1 => Just(How::Released),
        1 => Just(How::Discarded)
    ];
    let loss = || {
        prop_oneof![
            4 => Just(Loss::Nothing),
            2 => Just(Loss::Deleted),
            1 => Just(Loss::Old),
            1 => any::<u32>().prop_map(Loss::Flipped),
            1 => any::<u16>().prop_map(Loss::Truncated)
        ]
    };
    let op = prop_oneof![
        10 => (0..LANES, 1u8..9, 1u16..900, identity)
            .prop_map(|(lane, n, bytes, identity)| Op::Append { lane, n, bytes, identity }),
        2 => any::<bool>().prop_map(|same| Op::Resend { same }),
        10 => (0..LANES, any::<bool>(), 1u8..40, how)
            .prop_map(|(lane, newest, n, how)| Op::Settle { lane, newest, n, how }),
        1 => (0..LANES).prop_map(|lane| Op::RetryDead { lane }),
        1 => Just(Op::DiscardDead),
        2 => Just(Op::Sync),
        1 => loss().prop_map(Op::Reopen),
        2 => (0u8..12, any::<u64>(), loss()).prop_map(|(after, lose, then)| Op::Crash { after, lose, then }),
        1 => Just(Op::FailFlush),
        1 => Just(Op::KeepIndex)
    ];
    prop::collection::vec(op, 1..60)
}

/// What may be true of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    key: String,
    lane: u8,
    /// `None` while nobody saw it.
    seq: Option<Seq>,
    /// Its sender was told that it is durable.
    acknowledged: bool,
    now: State,
    /// What it was before the last change, if that change may not be durable yet.
    before: Option<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Dead,
    Ended,
    /// It may never have been stored.
    Absent,
}

#[derive(Default)]
struct Counts {
    crashes: AtomicU64,
    sectors_lost: AtomicU64,
    flushes_failed: AtomicU64,
    reopened: AtomicU64,
    index_faults: AtomicU64,
    records: AtomicU64,
}

struct World {
    dir: tempfile::TempDir,
    disk: Arc<CrashDisk>,
    store: Option<Store>,
    /// By body, which is unique.
    known: BTreeMap<String, Known>,
    next: u64,
    latest: Option<NewRecord>,
    counts: Arc<Counts>,
}

impl World {
    fn new(counts: Arc<Counts>) -> Self {
        let mut world = Self {
            dir: fast_dir(),
            disk: Arc::new(CrashDisk::default()),
            store: None,
            known: BTreeMap::new(),
            next: 0,
            latest: None,
            counts,
        };
        world.open();
        world
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn open(&mut self) {
        let store = Store::open(small(self.dir.path(), Some(self.disk.clone()))).unwrap();
        assert!(store.wait_ready(LONG), "the index is not ready");
        self.store = Some(store);
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Append { lane, n, bytes, identity } => self.append(lane, n, bytes, identity),
            Op::Resend { same } => self.resend(same),
            Op::Settle { lane, newest, n, how } => self.settle(lane, newest, n, how),
            Op::RetryDead { lane } => self.retry_dead(lane),
            Op::DiscardDead => self.discard_dead(),
            Op::Sync => self.sync(),
            Op::Reopen(loss) => {
                self.store = None;
                // A close makes every settlement durable.
                self.forget_before();
                self.counts.reopened.fetch_add(1, Ordering::Relaxed);
                self.lose_index(loss);
                self.open();
                self.check();
            }
            Op::Crash { after, lose, then } => self.crash(after, lose, then),
            Op::FailFlush => {
                self.disk.fail_flushes(1);
                self.append(0, 1, 10, Identity::None);
                self.counts.flushes_failed.fetch_add(self.disk.failed(), Ordering::Relaxed);
                self.disk.fail_flushes(0);
            }
            Op::KeepIndex => {
                let kept = self.dir.path().join("kept");
                let _ = std::fs::remove_dir_all(&kept);
                if let Some(index) = newest_index(self.dir.path()) {
                    copy_dir(&index, &kept);
                }
            }
        }
    }

    fn new_record(&mut self, of: u8, bytes: u16, identity: Identity) -> NewRecord {
        self.next += 1;
        let n = self.next;
        let body = format!("{n}:{}", noise(n, usize::from(bytes)));
        let mut r = record(of, &format!("key-{n}"), &body);
        r.fingerprint = n;
        match identity {
            Identity::None => {}
            Identity::Key => r.key_is_identity = true,
            Identity::Number => r.number = Some((ProducerId([9; 16]), n)),
        }
        r
    }

    fn append(&mut self, of: u8, n: u8, bytes: u16, identity: Identity) {
        let records: Vec<_> = (0..n).map(|_| self.new_record(of, bytes, identity)).collect();
        self.latest = records.last().filter(|r| r.key_is_identity || r.number.is_some()).cloned();
        self.append_records(of, &records, None);
    }

    fn append_records(&mut self, of: u8, records: &[NewRecord], replaced: Option<&str>) {
        self.counts.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        let answer = append(self.store(), records.to_vec());
        for (i, r) in records.iter().enumerate() {
            let body = String::from_utf8(r.body.to_vec()).unwrap();
            let seq = match &answer {
                Ok(appended) => match appended[i] {
                    Appended::Stored(seq) => Some(seq),
                    ref other => panic!("a new record was taken for {other:?}"),
                },
                Err(_) => None,
            };
            let acknowledged = seq.is_some();
            let before = (!acknowledged).then_some(State::Absent);
            let known =
                Known { key: r.key.to_string(), lane: of, seq, acknowledged, now: State::Waiting, before };
            self.known.insert(body, known);
        }
        if let (Some(old), Ok(_)) = (replaced, &answer) {
            self.change(old, State::Ended, true);
        }
    }

    fn resend(&mut self, same: bool) {
        let Some(mut r) = self.latest.clone() else { return };
        let body = String::from_utf8(r.body.to_vec()).unwrap();
        if !self.known[&body].acknowledged {
            return;
        }
        if !same {
            self.next += 1;
            r.fingerprint = self.next;
            r.body = format!("{}:conflict", self.next).into();
        }
        let Ok(answers) = append(self.store(), vec![r.clone()]) else { return };
        match answers[0] {
            Appended::Duplicate => assert!(same),
            Appended::Conflict(seq) => {
                assert!(!same);
                let body = String::from_utf8(r.body.to_vec()).unwrap();
                let key = r.key.to_string();
                let lane = self.known_lane(&r);
                let seq = Some(seq);
                let dead = Known { key, lane, seq, acknowledged: true, now: State::Dead, before: None };
                self.known.insert(body, dead);
            }
            Appended::Stored(_) => panic!("a resend was stored again"),
        }
    }

    fn known_lane(&self, r: &NewRecord) -> u8 {
        (0..LANES).find(|i| lane(*i) == r.lane).unwrap()
    }

    fn settle(&mut self, of: u8, newest: bool, n: u8, how: How) {
        let end = if newest { End::Newest } else { End::Oldest };
        let Ok(claimed) = self.store().claim(&lane(of), end, usize::from(n), 10_000) else { return };
        for r in &claimed {
            self.check_record(r);
            let body = text(r);
            assert!(
                self.known[&body].now == State::Waiting || self.known[&body].before == Some(State::Waiting),
                "{body} was claimed and is {:?}",
                self.known[&body]
            );
            let note = DeadNote { reason: 3, status: 400, words: "no".into(), at_ms: 1 };
            let (settlement, state) = match how {
                How::Delivered => (Settlement::Delivered, State::Ended),
                How::Discarded => (Settlement::Discarded, State::Ended),
                How::Dead => (Settlement::Dead(note), State::Dead),
                How::Released => (Settlement::Released, State::Waiting),
                How::Postponed => {
                    let at = r.attempts + 1;
                    let s =
                        Settlement::Postponed { not_before_ms: 9_000, attempts: at, first_attempt_at_ms: 1 };
                    (s, State::Waiting)
                }
            };
            self.store().settle(r.seq, settlement);
            if state != State::Waiting {
                self.change(&body, state, false);
            }
        }
    }

    fn change(&mut self, body: &str, state: State, durable: bool) {
        let known = self.known.get_mut(body).unwrap();
        let before = (!durable).then_some(known.before.unwrap_or(known.now));
        (known.now, known.before) = (state, before);
    }

    fn retry_dead(&mut self, of: u8) {
        self.sync();
        let Ok(letters) = self.store().dead_letters(Seq(0), 1) else { return };
        let Some(letter) = letters.first() else { return };
        let mut again = self.new_record(of, 20, Identity::None);
        again.replaces = Some(letter.record.seq);
        self.append_records(of, &[again], Some(&text(&letter.record)));
    }

    fn discard_dead(&mut self) {
        self.sync();
        let Ok(letters) = self.store().dead_letters(Seq(0), 1) else { return };
        let Some(letter) = letters.first() else { return };
        if self.store().discard_dead(letter.record.seq) == Ok(true) {
            self.change(&text(&letter.record), State::Ended, false);
        }
    }

    fn sync(&mut self) {
        if self.store().wait_settled(LONG) {
            self.forget_before();
        }
    }

    /// What changed is durable. A record that was never acknowledged may still be absent.
    fn forget_before(&mut self) {
        for known in self.known.values_mut() {
            if known.before != Some(State::Absent) {
                known.before = None;
            }
        }
    }

    fn crash(&mut self, after: u8, lose: u64, then: Loss) {
        self.disk.die_in(u64::from(after));
        self.append(0, 3, 300, Identity::Key);
        self.disk.die();
        self.store = None;
        let mut bits = lose | 1;
        let lost = self.disk.lose_unflushed(|| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bits >> 63 == 1
        });
        self.counts.crashes.fetch_add(1, Ordering::Relaxed);
        self.counts.sectors_lost.fetch_add(lost, Ordering::Relaxed);
        self.lose_index(then);
        self.open();
        self.check();
    }

    fn lose_index(&self, loss: Loss) {
        let Some(index) = newest_index(self.dir.path()) else { return };
        self.counts.index_faults.fetch_add(u64::from(!matches!(loss, Loss::Nothing)), Ordering::Relaxed);
        let db = index.join("db");
        match loss {
            Loss::Nothing => {}
            Loss::Deleted => std::fs::remove_dir_all(&index).unwrap(),
            Loss::Old => {
                let kept = self.dir.path().join("kept");
                if kept.exists() {
                    std::fs::remove_dir_all(&index).unwrap();
                    std::fs::rename(&kept, &index).unwrap();
                }
            }
            Loss::Flipped(at) => {
                let Ok(mut bytes) = std::fs::read(&db) else { return };
                // Where sled has written: most of the file is a hole.
                let used: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] != 0).collect();
                if let Some(i) = used.get(at as usize % used.len().max(1)) {
                    bytes[*i] ^= 1 << (at % 8);
                    std::fs::write(&db, bytes).unwrap();
                }
            }
            Loss::Truncated(at) => {
                let Ok(file) = std::fs::OpenOptions::new().write(true).open(&db) else { return };
                file.set_len(u64::from(at)).unwrap();
            }
        }
    }

    /// Looks at everything that the store holds and holds it against the model, which then knows.
    fn check(&mut self) {
        let mut seen: BTreeMap<String, State> = BTreeMap::new();
        let mut claimed = Vec::new();
        for of in 0..LANES {
            loop {
                let some = self.store().claim(&lane(of), End::Oldest, 50, u64::MAX).unwrap();
                if some.is_empty() {
                    break;
                }
                for r in some {
                    self.check_record(&r);
                    assert_eq!(seen.insert(text(&r), State::Waiting), None, "{} waits twice", text(&r));
                    claimed.push(r.seq);
                }
            }
        }
        for letter in self.store().dead_letters(Seq(0), 100_000).unwrap() {
            self.check_record(&letter.record);
            let body = text(&letter.record);
            assert_eq!(seen.insert(body.clone(), State::Dead), None, "{body} waits and is dead");
        }
        for (body, known) in &mut self.known {
            let is = seen.get(body).copied();
            let fits = |state: State| match state {
                State::Waiting | State::Dead => is == Some(state),
                State::Ended | State::Absent => is.is_none(),
            };
            assert!(fits(known.now) || known.before.is_some_and(fits), "{body} is {is:?}, known {known:?}");
            known.now = is.unwrap_or(State::Ended);
            known.before = None;
            known.acknowledged |= is.is_some();
        }
        let stats = self.store().stats();
        let waiting: u64 = stats.lanes.iter().map(|l| l.waiting).sum();
        let lost: u64 = stats.lanes.iter().map(|l| l.ledger.lost).sum();
        assert_eq!(waiting, seen.values().filter(|s| **s == State::Waiting).count() as u64);
        assert_eq!((stats.imbalance, lost), (0, 0), "{stats:#?}");
        for stats in &stats.lanes {
            let l = &stats.ledger;
            let ended = l.delivered + stats.waiting + l.dead + l.discarded;
            assert_eq!(l.received, ended, "the ledger of one lane: {stats:#?}");
        }
        self.check_books();
        self.check_export(&seen);
        self.check_trace(&seen);
        for seq in claimed {
            self.store().settle(seq, Settlement::Released);
        }
    }

    /// Counted by reading the log, beside the store that writes it, the books are what the index says.
    fn check_books(&self) {
        for _ in 0..100 {
            let (place, mut counted) = self.store().books().unwrap();
            let read = match Books::of_log(self.dir.path(), Some(&place)) {
                Err(SurveyError::Restless) => continue,
                read => read.unwrap(),
            };
            if !read.missing_segments.is_empty() {
                continue; // retired since
            }
            let held = |lane: &LaneBooks| lane.waiting > 0 || lane.ledger != Ledger::default();
            counted.retain(held);
            counted.sort_by(|a, b| a.lane.cmp(&b.lane));
            let of_log: Vec<LaneBooks> = read.lanes.iter().filter(|lane| held(lane)).cloned().collect();
            assert_eq!((of_log, read.imbalance(), &read.missing), (counted, 0, &vec![]), "at {place:?}");
            return;
        }
        panic!("the log never rests");
    }

    /// What is handed out of the log is each record once, and what waits and what is dead is among it.
    fn check_export(&self, seen: &BTreeMap<String, State>) {
        let mut fates = BTreeMap::new();
        let take = |record: &Record, fate| {
            self.check_record(record);
            assert_eq!(fates.insert(text(record), fate), None, "{} is handed out twice", text(record));
            Ok(())
        };
        export(self.dir.path(), take).unwrap();
        for (body, state) in seen {
            let fate = if *state == State::Dead { Fate::Dead } else { Fate::Waiting };
            assert_eq!(fates.get(body), Some(&fate), "{body}");
        }
        for (body, fate) in &fates {
            let is_over = !matches!(fate, Fate::Waiting | Fate::Dead);
            assert_eq!(is_over, !seen.contains_key(body), "{body} is {fate:?}");
        }
    }

    /// What is looked for in the log is found once, with what became of it; of too many the newest.
    fn check_trace(&self, seen: &BTreeMap<String, State>) {
        let tracing = trace(self.dir.path(), usize::MAX, |_, _, _| true).unwrap();
        let mut found = BTreeMap::new();
        for traced in &tracing.found {
            self.check_record(&traced.record);
            let body = text(&traced.record);
            assert_eq!(found.insert(body.clone(), traced.fate), None, "{body} is found twice");
            assert!(traced.fate != Fate::Dead || traced.dead.is_some(), "{body} died of nothing");
        }
        for (body, state) in seen {
            let fate = if *state == State::Dead { Fate::Dead } else { Fate::Waiting };
            assert_eq!(found.get(body), Some(&fate), "{body}");
        }
        let newest = trace(self.dir.path(), 1, |_, _, _| true).unwrap();
        let seqs = |tracing: &Tracing| tracing.found.last().map(|traced| traced.record.seq);
        assert_eq!((newest.found.len() <= 1, seqs(&newest)), (true, seqs(&tracing)));
    }

    fn check_record(&self, r: &Record) {
        let body = text(r);
        let known = self.known.get(&body).unwrap_or_else(|| panic!("{body} was never appended"));
        assert_eq!(known.key, *r.key, "{body}");
        assert_eq!(lane(known.lane), r.lane, "{body}");
        if let Some(seq) = known.seq {
            assert_eq!(seq, r.seq, "{body}");
        }
    }
}

/// Text that no two records share, so that torn sectors cannot be mended by chance.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_digit(u32::try_from(state >> 60).unwrap(), 16).unwrap()
    };
    (0..bytes).map(|_| next()).collect()
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
        }
    }
}

#[test]
fn any_order_of_operations_and_faults_loses_nothing_and_brings_nothing_back() {
    let cases = std::env::var("REVENIUM_MODEL_CASES").map_or(300, |n| n.parse().unwrap());
    let counts = Arc::new(Counts::default());
    // sled panics on damaged files, in its own threads too; the store's answer is what is tested.
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|l| l.file().contains("sled")) {
            quiet(info);
        }
    }));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&ops(), |ops| {
        let mut world = World::new(counts.clone());
        for op in ops {
            let t = std::time::Instant::now();
            let d = format!("{op:?}");
            world.run(&op);
            if t.elapsed() > Duration::from_millis(100) {
                println!("{d} {:?}", t.elapsed());
            }
        }
        world.run(&Op::Reopen(Loss::Nothing));
        world.run(&Op::Reopen(Loss::Deleted));
        Ok(())
    });
    let n = |c: &AtomicU64| c.load(Ordering::Relaxed);
    println!(
        "model: {cases} cases, {} records, {} crashes losing {} sectors, {} failed flushes, {} reopens, {} index faults",
        n(&counts.records),
        n(&counts.crashes),
        n(&counts.sectors_lost),
        n(&counts.flushes_failed),
        n(&counts.reopened),
        n(&counts.index_faults)
    );
    result.unwrap();
    assert!(n(&counts.sectors_lost) > 0 && n(&counts.flushes_failed) > 0 && n(&counts.index_faults) > 0);
}
