//! A store whose log is kept in shape step by step, and what must be true of its records.
//!
//! After every step everything is durable and followed, so the model is exact. A retirement that was
//! stopped is made from a whole one: its files are put back, from the last one that went on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use revenium_migrations::log_v1::{Note, Notes};
use tempfile::TempDir;

use super::disk::Disk;
use crate::chunk::Encoded;
use crate::maintainer::{self, Maintainer};
use crate::relocate::{self, Job};
use crate::scan::FIRST_CHUNK;
use crate::shared::{JobChunk, Shared};
use crate::types::{DeadNote, End, Lane, NewRecord, Seq, Settlement};
use crate::{Options, Store, retire};

const LONG: Duration = Duration::from_secs(30);
pub(super) const LANES: u8 = 3;
/// Bytes of a chunk of one note, but for the note.
const CHUNK_OVERHEAD_BYTES: u64 = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Dead,
}

/// What a store holds, by body.
pub(super) type Held = BTreeMap<String, State>;

pub(super) struct World {
    dir: TempDir,
    kept_segments: usize,
    disk: Arc<Disk>,
    pub(super) open: Option<(Store, Maintainer)>,
    pub(super) held: Held,
    appended: u64,
}

/// What became of the index when a process was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    Kept,
    Lost,
    /// As it was at the end of the life before.
    Old,
}

/// Files that one round of retiring took, the first first, and where they are kept.
pub(super) struct Round {
    kept: TempDir,
    pub(super) went: Vec<String>,
}

impl World {
    pub(super) fn new(kept_segments: usize) -> Self {
        let dir = fast_dir();
        let disk = Arc::<Disk>::default();
        let open = Some(open(dir.path(), kept_segments, disk.clone()));
        Self { dir, kept_segments, disk, open, held: Held::new(), appended: 0 }
    }

    fn store(&self) -> &Store {
        &self.open.as_ref().unwrap().0
    }

    pub(super) fn maintainer(&mut self) -> &mut Maintainer {
        &mut self.open.as_mut().unwrap().1
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.open.as_ref().unwrap().1.shared
    }

    pub(super) fn settled(&self) {
        assert!(self.store().wait_settled(LONG));
    }

    /// One chunk of `n` records.
    pub(super) fn append(&mut self, of: u8, n: u8) {
        let records = (0..n).map(|_| self.new_record(of, None)).collect();
        self.append_records(records);
    }

    /// The same, after a flush that failed: the segment is sealed before it, and it lies in the next one.
    pub(super) fn append_twice(&mut self, of: u8, n: u8) {
        self.disk.fail_once();
        self.append(of, n);
        assert!(self.disk.has_failed());
    }

    fn new_record(&mut self, of: u8, replaces: Option<Seq>) -> NewRecord {
        self.appended += 1;
        let body = format!("r{}", self.appended);
        NewRecord {
            lane: lane(of),
            key: body.as_str().into(),
            number: None,
            key_is_identity: false,
            fingerprint: self.appended,
            received_at_ms: 1,
            body: body.into(),
            dead: None,
            replaces,
            is_part: false,
        }
    }

    fn append_records(&mut self, records: Vec<NewRecord>) {
        let bodies: Vec<_> = records.iter().map(|r| String::from_utf8(r.body.to_vec()).unwrap()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.store().append(records)).unwrap();
        self.held.extend(bodies.into_iter().map(|body| (body, State::Waiting)));
        self.settled();
    }

    /// Ends up to `n` of the records that wait in a lane.
    pub(super) fn settle(&mut self, of: u8, end: End, n: u8, how: &Settlement) {
        for r in self.store().claim(&lane(of), end, n.into(), u64::MAX).unwrap() {
            let body = String::from_utf8(r.body.to_vec()).unwrap();
            match how {
                Settlement::Dead(_) => self.held.insert(body, State::Dead),
                _ => self.held.remove(&body),
            };
            self.store().settle(r.seq, how.clone());
        }
        self.settled();
    }

    fn first_letter(&self) -> Option<(Seq, String)> {
        let letter = self.store().dead_letters(Seq(0), 1).unwrap().pop()?;
        Some((letter.record.seq, String::from_utf8(letter.record.body.to_vec()).unwrap()))
    }

    /// The first dead letter once more, in any lane.
    pub(super) fn retry_dead(&mut self, of: u8) {
        let Some((seq, body)) = self.first_letter() else { return };
        let again = self.new_record(of, Some(seq));
        self.append_records(vec![again]);
        self.held.remove(&body);
    }

    pub(super) fn discard_dead(&mut self) {
        let Some((seq, body)) = self.first_letter() else { return };
        self.store().discard_dead(seq).unwrap();
        self.held.remove(&body);
        self.settled();
    }

    /// Fills the active segment, so that what comes next lies in another.
    pub(super) fn fill(&self) {
        let end = *self.shared().durable.lock();
        let left = self.shared().options.segment_bytes - end.offset;
        // The first chunk of this life goes before it.
        let opening = if self.disk.is_written() { 0 } else { Encoded::opening().bytes() };
        let besides = CHUNK_OVERHEAD_BYTES + opening;
        if left > besides && end.offset > FIRST_CHUNK {
            let name = "x".repeat(usize::try_from(left - besides).unwrap());
            let notes = Notes { carried: false, notes: vec![Note::State(name, Vec::new())] };
            self.shared().run_job(vec![JobChunk::Notes(notes)]).unwrap();
            self.settled();
        }
    }

    /// What the maintainer would move out of one of the segments, as things are now.
    pub(super) fn draft(&mut self, which: usize) -> Option<Job> {
        let mut all = maintainer::followed_segments(self.shared(), 0).into_values();
        let n = all.len();
        relocate::draft_of(self.maintainer(), &all.nth(which.checked_rem(n)?)?)
    }

    pub(super) fn finish(&mut self, drafted: Job) {
        drafted.finish(self.maintainer()).unwrap();
    }

    pub(super) fn retire(&mut self) -> Round {
        let left_behind = self.maintainer().left_behind.clone();
        let kept = fast_dir();
        copy_log(self.dir.path(), kept.path());
        retire::settled_segments(self.maintainer());
        self.settled();
        // What was left behind goes durably before the log says anything new, so no kill leaves it beside that.
        let went_before = |n: &str| left_behind.iter().any(|l| l.segment.file.path().ends_with(n));
        let mut went = log_files(kept.path());
        went.retain(|name| !self.dir.path().join(name).exists() && !went_before(name));
        Round { kept, went }
    }

    /// Puts a directory in the place of a file: it is not removed as a file, not by root either.
    pub(super) fn keep_from_removal(&self, which: usize) -> Aside {
        let files = log_files(self.dir.path());
        let path = self.dir.path().join(&files[which % files.len()]);
        let aside = self.dir.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::fs::create_dir(&path).unwrap();
        Aside { path, aside }
    }

    /// A kill after `n` of the round's removals, and an index that is lost then, cost and bring back nothing.
    pub(super) fn check_stopped(&self, round: &Round, n: usize) {
        let dir = fast_dir();
        copy_log(self.dir.path(), dir.path());
        round.put_back(n, dir.path());
        let (store, _maintainer) = open(dir.path(), self.kept_segments, Arc::default());
        assert_eq!(holds(&store), self.held, "after {n} removals of {:?}", round.went);
        is_balanced(&store);
    }

    /// The next life; of a process that was killed after `n` of the round's removals, or stopped.
    pub(super) fn reopen(&mut self, killed: Option<(&Round, usize)>, index: Index) {
        self.open = None;
        if let Some((round, n)) = killed {
            round.put_back(n, self.dir.path());
        }
        self.leave_index(index);
        self.open = Some(open(self.dir.path(), self.kept_segments, self.disk.clone()));
        assert_eq!(holds(self.store()), self.held, "reopened, index: {index:?}");
        is_balanced(self.store());
    }

    /// The index as it is now, for a life after a power cut that takes what sled had not flushed.
    pub(super) fn keep_index(&mut self) -> TempDir {
        let kept = fast_dir();
        self.reopen(None, Index::Kept);
        copy_dir(&self.dir.path().join("old"), kept.path());
        kept
    }

    /// The next life, with an index that was kept.
    pub(super) fn reopen_with(&mut self, kept: &TempDir) {
        self.open = None;
        let index = index_of(self.dir.path());
        self.leave_index(Index::Lost);
        copy_dir(kept.path(), &index);
        self.open = Some(open(self.dir.path(), self.kept_segments, self.disk.clone()));
        assert_eq!(holds(self.store()), self.held, "reopened with an index of before");
        is_balanced(self.store());
    }

    /// Of every life's index, the old one is kept for the next.
    fn leave_index(&self, index: Index) {
        let [old, spare] = ["old", "spare"].map(|name| self.dir.path().join(name));
        let now = index_of(self.dir.path());
        std::fs::rename(&now, &spare).unwrap();
        match index {
            Index::Kept => copy_dir(&spare, &now),
            Index::Old if old.exists() => std::fs::rename(&old, &now).unwrap(),
            Index::Old | Index::Lost => {}
        }
        let _ = std::fs::remove_dir_all(&old);
        std::fs::rename(&spare, &old).unwrap();
    }
}

/// A file that lies elsewhere for a while.
pub(super) struct Aside {
    path: PathBuf,
    aside: PathBuf,
}

impl Aside {
    pub(super) fn put_back(self) {
        std::fs::remove_dir(&self.path).unwrap();
        std::fs::rename(&self.aside, &self.path).unwrap();
    }
}

impl Round {
    fn put_back(&self, removed: usize, dir: &Path) {
        for name in &self.went[removed..] {
            std::fs::copy(self.kept.path().join(name), dir.join(name)).unwrap();
        }
    }
}

fn open(dir: &Path, kept_segments: usize, disk: Arc<Disk>) -> (Store, Maintainer) {
    disk.begin();
    let options = Options {
        segment_bytes: 32 << 10,
        capacity_bytes: 64 << 20,
        free_reserve_bytes: 0,
        record_bytes_max: 1 << 10,
        ballast_bytes: 4 << 10,
        settle_within: Duration::from_millis(2),
        follow_when_quiet: Duration::ZERO,
        kept_segments,
        tap: Some(disk),
        ..Options::new(dir)
    };
    let (give, take) = mpsc::channel();
    // The bench keeps the log in shape; the store's own thread for it has nothing to do.
    let store = Store::start(options, move |maintainer| drop(give.send(maintainer))).unwrap();
    assert!(store.wait_ready(LONG));
    (store, take.recv().unwrap())
}

fn holds(store: &Store) -> Held {
    let mut held = Held::new();
    let mut claimed = Vec::new();
    for of in 0..LANES {
        loop {
            let some = store.claim(&lane(of), End::Oldest, 50, u64::MAX).unwrap();
            if some.is_empty() {
                break;
            }
            for r in some {
                let body = String::from_utf8(r.body.to_vec()).unwrap();
                assert_eq!(held.insert(body, State::Waiting), None, "{} waits twice", r.seq.0);
                claimed.push(r.seq);
            }
        }
    }
    for letter in store.dead_letters(Seq(0), 10_000).unwrap() {
        let body = String::from_utf8(letter.record.body.to_vec()).unwrap();
        assert_eq!(held.insert(body, State::Dead), None, "{} waits and is dead", letter.record.seq.0);
    }
    claimed.into_iter().for_each(|seq| store.settle(seq, Settlement::Released));
    held
}

/// Each lane's ledger, by itself. What an index found missing is noted, then counted.
fn is_balanced(store: &Store) {
    assert!(store.wait_settled(LONG));
    for lane in &store.lanes() {
        let l = &lane.ledger;
        assert_eq!(l.lost, 0, "{lane:#?}");
        assert_eq!(l.received, l.delivered + lane.waiting + l.dead + l.discarded, "{lane:#?}");
    }
}

pub(super) fn refused() -> Settlement {
    Settlement::Dead(DeadNote { reason: 3, status: 400, words: "no".into(), at_ms: 1 })
}

fn lane(i: u8) -> Lane {
    Lane { profile: if i.is_multiple_of(2) { "default".into() } else { "other".into() }, route: i / 2 }
}

/// A directory in memory where there is one: nothing here depends on the device.
fn fast_dir() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Names of the log's files, by ordinal.
fn log_files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = names.filter(|name| name.starts_with("seg-")).collect();
    found.sort();
    found
}

fn copy_log(from: &Path, to: &Path) {
    for name in log_files(from).iter().map(String::as_str).chain(["watermark"]) {
        if from.join(name).is_file() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

fn index_of(dir: &Path) -> PathBuf {
    let mut paths = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    paths.find(|p| p.file_name().unwrap().to_str().unwrap().starts_with("index-")).unwrap()
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
