//! The store, what is done to it, and what may be true of each of its records.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use revenium_store::{Appended, DeadNote, End, NewRecord, ProducerId, Seq, Settlement, Store};

use super::ops::{How, Identity, Loss, Op};
use super::support::{CrashDisk, append, fast_dir, lane, newest_index, record, small, text};
use super::{LANES, LONG};

/// What may be true of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) key: String,
    pub(crate) lane: u8,
    /// `None` while nobody saw it.
    pub(crate) seq: Option<Seq>,
    /// Its sender was told that it is durable.
    pub(crate) acknowledged: bool,
    pub(crate) now: State,
    /// What it was before the last change, if that change may not be durable yet.
    pub(crate) before: Option<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Dead,
    Ended,
    /// It may never have been stored.
    Absent,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) crashes: AtomicU64,
    pub(crate) sectors_lost: AtomicU64,
    pub(crate) flushes_failed: AtomicU64,
    pub(crate) reopened: AtomicU64,
    pub(crate) index_faults: AtomicU64,
    pub(crate) records: AtomicU64,
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) disk: Arc<CrashDisk>,
    pub(crate) store: Option<Store>,
    /// By body, which is unique.
    pub(crate) known: BTreeMap<String, Known>,
    pub(crate) next: u64,
    pub(crate) latest: Option<NewRecord>,
    pub(crate) counts: Arc<Counts>,
}

impl World {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
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

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn open(&mut self) {
        let store = Store::open(small(self.dir.path(), Some(self.disk.clone()))).unwrap();
        assert!(store.wait_ready(LONG), "the index is not ready");
        self.store = Some(store);
    }

    pub(crate) fn run(&mut self, op: &Op) {
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
