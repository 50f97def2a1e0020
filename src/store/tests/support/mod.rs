//! A disk that forgets what was not flushed, and small stores on it.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use revenium_store::{AppendError, Appended, Lane, NewRecord, Options, Record, Store, Tap};

const SECTOR: usize = 512;

/// Stands before the log's files: remembers what each unflushed write replaced, and fails writes
/// on demand.
#[derive(Default)]
pub struct CrashDisk {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Per file: offset and the bytes that were there before.
    unflushed: HashMap<PathBuf, Vec<(u64, Vec<u8>)>>,
    /// Operations until the power goes.
    dies_in: Option<u64>,
    dead: bool,
    /// The next flushes fail.
    fail_flushes: u32,
    pub failed: u64,
}

impl CrashDisk {
    pub fn die_in(&self, operations: u64) {
        self.state.lock().unwrap().dies_in = Some(operations);
    }

    pub fn die(&self) {
        self.state.lock().unwrap().dead = true;
    }

    pub fn fail_flushes(&self, n: u32) {
        self.state.lock().unwrap().fail_flushes = n;
    }

    pub fn failed(&self) -> u64 {
        self.state.lock().unwrap().failed
    }

    /// What the device holds after the cut: of every sector not flushed, the old or the new.
    pub fn lose_unflushed(&self, mut coin: impl FnMut() -> bool) -> u64 {
        let mut state = self.state.lock().unwrap();
        let mut lost = 0;
        for (path, writes) in state.unflushed.drain() {
            let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
            for (offset, old) in writes.into_iter().rev() {
                let mut at = 0;
                while at < old.len() {
                    let in_sector = usize::try_from(offset).unwrap() + at;
                    let n = (SECTOR - in_sector % SECTOR).min(old.len() - at);
                    if coin() {
                        file.write_all_at(&old[at..at + n], offset + at as u64).unwrap();
                        lost += 1;
                    }
                    at += n;
                }
            }
        }
        *state = State::default();
        lost
    }

    fn step(state: &mut State) -> io::Result<()> {
        if let Some(n) = &mut state.dies_in {
            if *n == 0 {
                state.dead = true;
            }
            *n = n.saturating_sub(1);
        }
        if state.dead { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

impl Tap for CrashDisk {
    fn write(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        Self::step(&mut state)?;
        let mut old = vec![0; bytes.len()];
        let file = File::open(path)?;
        let mut done = 0;
        while done < old.len() {
            match file.read_at(&mut old[done..], offset + done as u64)? {
                0 => break,
                n => done += n,
            }
        }
        state.unflushed.entry(path.to_path_buf()).or_default().push((offset, old));
        Ok(())
    }

    fn flush(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        Self::step(&mut state)?;
        if state.fail_flushes > 0 {
            state.fail_flushes -= 1;
            state.failed += 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn flushed(&self, path: &Path) {
        self.state.lock().unwrap().unflushed.remove(path);
    }

    fn renamed(&self, from: &Path, to: &Path) {
        let mut state = self.state.lock().unwrap();
        if let Some(writes) = state.unflushed.remove(from) {
            state.unflushed.insert(to.to_path_buf(), writes);
        }
    }
}

/// A directory in memory where there is one: these tests bring their own crashes.
pub fn fast_dir() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Options small enough that a few hundred records fill several segments.
pub fn small(dir: &Path, disk: Option<Arc<CrashDisk>>) -> Options {
    Options {
        segment_bytes: 64 << 10,
        capacity_bytes: 64 << 20,
        free_reserve_bytes: 0,
        record_bytes_max: 2 << 10,
        chunk_bytes_max: 2 << 10,
        chunk_records_max: 16,
        compress_bytes_min: 1 << 10,
        recent_keys_max: 1 << 16,
        index_cache_bytes: 1 << 20,
        ballast_bytes: 4 << 10,
        settle_within: Duration::from_millis(2),
        follow_when_quiet: Duration::from_millis(1),
        tap: disk.map(|d| d as Arc<dyn Tap>),
        ..Options::new(dir)
    }
}

/// sled's folder. An index made anew has another name than the one before it.
pub fn newest_index(dir: &Path) -> Option<PathBuf> {
    let number = |e: &std::fs::DirEntry| e.file_name().to_str()?.strip_prefix("index-")?.parse::<u64>().ok();
    std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .filter(|e| number(e).is_some())
        .max_by_key(number)
        .map(|e| e.path())
}

pub fn remove_index(dir: &Path) {
    while let Some(index) = newest_index(dir) {
        std::fs::remove_dir_all(index).unwrap();
    }
}

pub fn lane(i: u8) -> Lane {
    Lane { profile: if i.is_multiple_of(2) { "default".into() } else { "other".into() }, route: i / 2 }
}

pub fn record(lane_of: u8, key: &str, body: &str) -> NewRecord {
    NewRecord {
        lane: lane(lane_of),
        key: key.into(),
        number: None,
        key_is_identity: false,
        fingerprint: 1,
        received_at_ms: 1_000,
        body: body.to_owned().into(),
        dead: None,
        replaces: None,
        is_part: false,
    }
}

pub fn append(store: &Store, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.append(records))
}

pub fn text(record: &Record) -> String {
    String::from_utf8(record.body.to_vec()).unwrap()
}
