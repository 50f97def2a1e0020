//! A small store that has seen everything: records that wait, were tried, are dead, were delivered, and
//! moved; over several segments. What is known of it without asking it is where each record lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use revenium_migrations::log_v1::{CHUNK_HEADER_BYTES, ChunkHeader, ChunkKind, crc_seed};
use revenium_store::{Appended, Books, DeadNote, End, Inspection, Options, Record, Seq, Settlement, Store};

use super::damage::Damage;
use super::support::{append, fast_dir, lane, newest_index, record, remove_index, small, text};

const LONG: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Dead,
}

/// What a store gives back, by number.
type Held = BTreeMap<u64, (String, State)>;

/// A chunk that holds records, or ends of some.
struct Chunk {
    file: usize,
    from: u64,
    to: u64,
    kind: ChunkKind,
    /// Numbers of a chunk of records, or of the chunk that moved.
    seqs: std::ops::Range<u64>,
}

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Size {
    /// A hundred kilobytes: every kind of damage in every place of it is tried.
    Small,
    /// More than a mebibyte.
    Large,
}

pub(crate) struct Specimen {
    size: Size,
    dir: tempfile::TempDir,
    /// Relative; the log's, the watermark, sled's.
    files: Vec<PathBuf>,
    logs: usize,
    chunks: Vec<Chunk>,
    held: Held,
    /// Body of every record that there ever was.
    bodies: BTreeMap<u64, String>,
}

impl Size {
    /// The large one is the small one, so many times.
    fn times(self) -> usize {
        match self {
            Self::Small => 1,
            Self::Large => 16,
        }
    }
}

fn options(dir: &Path, size: Size) -> Options {
    let base = small(dir, None);
    let segment_bytes = (32 << 10) * size.times() as u64;
    Options { segment_bytes, capacity_bytes: 128 * segment_bytes, record_bytes_max: 1 << 10, ..base }
}

fn open(dir: &Path, size: Size) -> Result<Store, String> {
    let store = Store::open(options(dir, size)).map_err(|e| format!("does not open: {e:?}"))?;
    if store.wait_ready(LONG) { Ok(store) } else { Err("is not ready".into()) }
}

impl Specimen {
    pub(crate) fn new(size: Size) -> Self {
        let dir = fast_dir();
        let store = open(dir.path(), size).unwrap();
        let mut bodies = BTreeMap::new();
        fill(&store, &mut bodies, size.times());
        let held = holds(&store, &bodies).unwrap();
        store.close();
        drop(store);
        let mut logs = relative(dir.path(), dir.path(), |name| name.ends_with(".log"));
        logs.sort();
        let index = newest_index(dir.path()).unwrap();
        let of_index = relative(dir.path(), &index, |_| true);
        let count = logs.len();
        let watermark = [PathBuf::from("watermark")];
        let files: Vec<PathBuf> = logs.into_iter().chain(watermark).chain(of_index).collect();
        let chunks = (0..count).flat_map(|file| chunks(file, &dir.path().join(&files[file]))).collect();
        Self { size, dir, files, logs: count, chunks, held, bodies }
    }

    /// How many files the log has; they come first.
    pub(crate) fn logs(&self) -> usize {
        self.logs
    }

    pub(crate) fn watermark(&self) -> usize {
        self.logs
    }

    pub(crate) fn of_index(&self) -> std::ops::Range<usize> {
        self.logs + 1..self.files.len()
    }

    /// Bytes of a file up to the last that is not zero, and some more.
    pub(crate) fn used(&self, file: usize) -> u64 {
        let bytes = fs::read(self.dir.path().join(&self.files[file])).unwrap();
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 100);
        used.min(bytes.len()) as u64
    }

    /// Every byte of the log's files flipped, in cases of one or more: of chunks that hold records, one byte each of
    /// every `apart`-th of their kind at a time. Each of them is lost, or is not, whatever becomes of the others.
    pub(crate) fn flips(&self, apart: usize) -> Vec<Damage> {
        let mut cases = Vec::new();
        let mut together = BTreeSet::new();
        for kind in [ChunkKind::Records, ChunkKind::Relocation] {
            let chunks: Vec<&Chunk> = self.chunks.iter().filter(|chunk| chunk.kind == kind).collect();
            for first in 0..apart {
                let these: Vec<&Chunk> = chunks.iter().skip(first).step_by(apart).copied().collect();
                let longest = these.iter().map(|chunk| chunk.to - chunk.from).max().unwrap_or(0);
                for at in 0..longest {
                    let reached = these.iter().filter(|chunk| chunk.from + at < chunk.to);
                    let places: Vec<_> = reached.map(|chunk| (chunk.file, chunk.from + at)).collect();
                    together.extend(places.iter().copied());
                    cases.push(Damage::Flips(places));
                }
            }
        }
        let all = (0..self.logs).flat_map(|file| (0..self.used(file)).map(move |at| (file, at)));
        let alone = all.filter(|place| !together.contains(place));
        cases.extend(alone.map(|(file, at)| Damage::Flip { file, at }));
        cases
    }

    /// What a copy that was damaged gives back, held against what lay where.
    pub(crate) fn stand(&self, damage: &Damage, without_index: bool) -> Result<(), String> {
        let dir = fast_dir();
        copy(self.dir.path(), dir.path());
        damage.strike(&self.files.iter().map(|file| dir.path().join(file)).collect::<Vec<_>>());
        if without_index {
            remove_index(dir.path());
        }
        let judged = std::panic::catch_unwind(AssertUnwindSafe(|| self.judge(damage, dir.path())));
        judged.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(format!("panicked: {text:?}"))
        })
    }

    fn judge(&self, damage: &Damage, dir: &Path) -> Result<(), String> {
        // What vanished behind the agent's back is missing in the books before it notices.
        let books = Books::of_log(dir, None).map_err(|e| format!("the books cannot be read: {e}"))?;
        let inspection = Inspection::of_log(dir).map_err(|e| format!("it cannot be inspected: {e}"))?;
        let store = open(dir, self.size)?;
        let held = holds(&store, &self.bodies)?;
        let lost = counted(&store)?;
        let hit: Vec<&Chunk> = self.chunks.iter().filter(|chunk| chunk.is_hit(damage)).collect();
        let missing: BTreeSet<u64> =
            self.held.keys().filter(|seq| !held.contains_key(seq)).copied().collect();
        let in_hit = |seq: &u64| hit.iter().any(|chunk| chunk.seqs.contains(seq));
        let elsewhere: Vec<&u64> = missing.iter().filter(|seq| !in_hit(seq)).collect();
        if !elsewhere.is_empty() {
            return Err(format!("lost, and not damaged: {elsewhere:?}"));
        }
        // Of a record that had ended, both the record and the note of its end may have been hit.
        let is_said = hit.iter().any(|chunk| chunk.kind != ChunkKind::Records);
        let came_back: Vec<_> =
            held.iter().filter(|(seq, (_, s))| self.held.get(seq).is_none_or(|h| h.1 != *s)).collect();
        if !came_back.is_empty() && !is_said {
            return Err(format!("not what they were, and nothing said so: {came_back:?}"));
        }
        let ended_hit = self.bodies.keys().filter(|seq| !self.held.contains_key(seq) && in_hit(seq)).count();
        let at_most = missing.len() + if is_said { ended_hit } else { 0 };
        if lost < missing.len() as u64 || lost > at_most as u64 {
            return Err(format!("{} lost, {lost} counted, {at_most} at most: {missing:?}", missing.len()));
        }
        let evidence = store.stats().quarantine_bytes;
        let leaves_bytes = matches!(
            damage,
            Damage::Flip { .. } | Damage::Flips(_) | Damage::Zero { .. } | Damage::SwapBlocks { .. }
        );
        if !missing.is_empty() && leaves_bytes && evidence == 0 {
            return Err("no evidence is kept".into());
        }
        if !missing.is_empty() && inspection.damage.is_empty() {
            return Err(format!("said to be whole without {missing:?}"));
        }
        if !missing.is_empty() && books.balance() {
            return Err(format!("the books balance without {missing:?}: {books:#?}"));
        }
        goes_on(&store, &self.bodies)?;
        // A store that closes waits for that, too, but not for as long as a loaded machine may take.
        if !store.wait_restated(LONG) {
            return Err("what damage took is not said again".into());
        }
        store.close();
        drop(store);
        let books = Books::of_log(dir, None).map_err(|e| format!("the books cannot be read: {e}"))?;
        if !books.balance() {
            return Err(format!("what was counted does not balance: {books:#?}"));
        }
        // The next open says the same, and so does an index that is made anew.
        for made_anew in [false, true] {
            if made_anew {
                remove_index(dir);
            }
            let store = open(dir, self.size)?;
            let again = (holds(&store, &self.bodies)?.len(), counted(&store)?);
            if again != (held.len(), lost) {
                let was = (held.len(), lost);
                return Err(format!(
                    "held and lost were {was:?} and are {again:?}, index made anew: {made_anew}"
                ));
            }
            store.close();
            drop(store);
        }
        Ok(())
    }
}

impl Chunk {
    fn is_hit(&self, damage: &Damage) -> bool {
        damage
            .places()
            .iter()
            .any(|(file, from, to)| *file == self.file && *from < self.to && self.from < *to)
    }
}

/// It takes what is new, under a number that was never used, and lets it go.
fn goes_on(store: &Store, bodies: &BTreeMap<u64, String>) -> Result<(), String> {
    let highest = bodies.last_key_value().map_or(0, |(seq, _)| *seq);
    let answers = append(store, vec![record(4, "r", "after")]).map_err(|e| format!("refuses: {e}"))?;
    match answers[0] {
        Appended::Stored(seq) if seq.0 > highest => {}
        other => return Err(format!("takes what is new for {other:?}, with {highest} used")),
    }
    if !store.wait_settled(LONG) {
        return Err("does not follow".into());
    }
    let new = store.claim(&lane(4), End::Oldest, 10, 0).map_err(|e| e.to_string())?;
    new.iter().for_each(|r| store.settle(r.seq, Settlement::Delivered));
    if new.len() == 1 { Ok(()) } else { Err(format!("gives {} of one new record", new.len())) }
}

fn fill(store: &Store, bodies: &mut BTreeMap<u64, String>, times: usize) {
    let mut put = |n: usize| {
        for i in 0..n * times {
            let of = u8::try_from(i % 3).unwrap();
            let body = format!("<{}>{}", bodies.len(), noise(bodies.len() as u64));
            let together: Vec<_> = (0..1 + i % 2).map(|k| (of, format!("{body}{k}"))).collect();
            let records = together.iter().map(|(of, body)| record(*of, &key_of(body), body)).collect();
            for (answer, (_, body)) in append(store, records).unwrap().iter().zip(&together) {
                let Appended::Stored(seq) = answer else { panic!("{answer:?}") };
                bodies.insert(seq.0, body.clone());
            }
        }
    };
    let settle = |of: u8, n: usize, how: &Settlement| {
        assert!(store.wait_settled(LONG));
        let claimed = store.claim(&lane(of), End::Oldest, n * times, 10_000).unwrap();
        claimed.iter().for_each(|r| store.settle(r.seq, how.clone()));
        assert!(store.wait_settled(LONG));
    };
    let dead = Settlement::Dead(DeadNote { reason: 3, status: 400, words: "no".into(), at_ms: 1 });
    let later = Settlement::Postponed { not_before_ms: 9_000, attempts: 1, first_attempt_at_ms: 1 };
    put(60);
    settle(0, 3, &dead);
    settle(1, 2, &later);
    // Most of the first segment ends, and what is left of it moves.
    settle(0, 25, &Settlement::Delivered);
    settle(1, 25, &Settlement::Delivered);
    put(60);
    settle(2, 8, &Settlement::Delivered);
    settle(2, 2, &dead);
    put(20);
    settle(0, 1, &Settlement::Discarded);
    store.put_state("pace", b"2");
    assert!(store.wait_settled(LONG));
}

/// The last letters tell records apart that came together.
fn key_of(body: &str) -> String {
    format!("{}-{}", &body[..20], &body[body.len() - 1..])
}

fn noise(seed: u64) -> String {
    let mut state = seed + 1;
    let mut text = String::new();
    while text.len() < 260 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:08x}", state >> 32));
    }
    text
}

/// Everything, claimed or read. Fails if anything is not what was put in.
fn holds(store: &Store, bodies: &BTreeMap<u64, String>) -> Result<Held, String> {
    let mut held = Held::new();
    let mut take = |r: &Record, state| {
        if bodies.get(&r.seq.0) != Some(&text(r)) || *r.key != key_of(&text(r)) {
            return Err(format!("{} is altered: {r:?}", r.seq));
        }
        match held.insert(r.seq.0, (text(r), state)) {
            None => Ok(()),
            Some(_) => Err(format!("{} is there twice", r.seq)),
        }
    };
    let mut claimed = Vec::new();
    for of in 0..3 {
        loop {
            let some = store.claim(&lane(of), End::Oldest, 50, u64::MAX).map_err(|e| e.to_string())?;
            if some.is_empty() {
                break;
            }
            some.iter().try_for_each(|r| take(r, State::Waiting))?;
            claimed.extend(some.iter().map(|r| r.seq));
        }
    }
    for letter in store.dead_letters(Seq(0), 10_000).map_err(|e| e.to_string())? {
        take(&letter.record, State::Dead)?;
    }
    claimed.into_iter().for_each(|seq| store.settle(seq, Settlement::Released));
    Ok(held)
}

/// What is counted as lost. Fails if the ledger does not balance.
fn counted(store: &Store) -> Result<u64, String> {
    let deadline = Instant::now() + LONG;
    while !store.wait_settled(LONG) {
        if Instant::now() > deadline {
            return Err("does not settle".into());
        }
    }
    let stats = store.stats();
    match stats.imbalance {
        0 => Ok(stats.lanes.iter().map(|l| l.ledger.lost).sum()),
        n => Err(format!("the ledger is off by {n}: {stats:?}")),
    }
}

fn chunks(file: usize, path: &Path) -> Vec<Chunk> {
    let bytes = fs::read(path).unwrap();
    let name = path.file_stem().unwrap().to_str().unwrap();
    let id = u64::from_str_radix(&name[21..], 16).unwrap();
    let begins = bytes.windows(4).enumerate().filter(|(_, w)| *w == b"RVCK").map(|(at, _)| at);
    let chunk = |at: usize| {
        let header = bytes.get(at..at + CHUNK_HEADER_BYTES)?.try_into().ok()?;
        let (header, _) = ChunkHeader::decode(header, crc_seed(id, at as u64)).ok()?;
        let seqs = match header.kind {
            ChunkKind::Records => header.first_seq..header.first_seq + u64::from(header.count),
            // Of which of them is not told here.
            ChunkKind::Relocation => header.first_seq..header.first_seq + 16,
            ChunkKind::Notes | ChunkKind::Checkpoint => 0..0,
        };
        let (from, to) = (at as u64, at as u64 + header.chunk_bytes());
        Some(Chunk { file, from, to, kind: header.kind, seqs })
    };
    begins.filter_map(chunk).collect()
}

fn relative(base: &Path, dir: &Path, is_wanted: fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && dir != base {
            found.extend(relative(base, &path, is_wanted));
        } else if path.is_file() && is_wanted(entry.file_name().to_str().unwrap()) {
            found.push(path.strip_prefix(base).unwrap().to_path_buf());
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
