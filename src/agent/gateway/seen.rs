//! Results of batches that were metered, remembered for 30 days: they may be fetched again and again.
//!
//! They are one gateway's, which holds a lock beside them as long as it lives: two that do not know of each other's
//! results would meter them twice. One file a day, 16 bytes a result: a hash of its id. A file goes when its day is
//! too long ago, or the oldest when there are too many results. What is not remembered, for want of a disk or by a crash between the event
//! and this, is metered again, and then it is for Revenium to know the message's id.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tracing::warn;
use xxhash_rust::xxh3::xxh3_128;

/// How long a result is remembered. Anthropic keeps results for 29 days.
const DAYS_MAX: u64 = 30;

/// Results that are remembered, at most: 32 MB of files and twice that of memory.
const RESULTS_MAX: usize = 2_000_000;

/// Bytes of a hash.
const HASH_BYTES: u64 = 16;

/// How the files' names begin; the day since 1970 follows.
const PREFIX: &str = "results-";

/// Another gateway remembers its results there.
#[derive(Debug, thiserror::Error)]
#[error("another gateway ({holder}) remembers in {} which results of batches it metered: give this one a data_dir of its own", dir.display())]
pub struct Held {
    dir: PathBuf,
    holder: String,
}

/// Which results were metered.
pub struct Seen {
    dir: PathBuf,
    /// Goes with the process. `None`: the folder cannot be written, as the first result will tell again.
    _lock: Option<File>,
    /// By the day since 1970. `None`: not read yet.
    days: Option<BTreeMap<u64, HashSet<u128>>>,
    /// Today's file.
    file: Option<(u64, File)>,
    results_max: usize,
}

impl Seen {
    /// What lies in `dir`, which is made if need be and read with the first result. A folder that cannot be written
    /// keeps no gateway from serving.
    pub fn open(dir: PathBuf) -> Result<Self, Held> {
        let lock = match take_lock(&dir) {
            Ok(Ok(lock)) => Some(lock),
            Ok(Err(holder)) => return Err(Held { dir, holder }),
            Err(error) => {
                let dir = dir.display();
                warn!(%error, %dir, "cannot remember here which results of batches are metered");
                None
            }
        };
        Ok(Self { dir, _lock: lock, days: None, file: None, results_max: RESULTS_MAX })
    }

    /// Whether a result was metered in the last days.
    pub(super) fn knows(&mut self, id: &str, today: u64) -> io::Result<bool> {
        let hash = xxh3_128(id.as_bytes());
        self.forget(today)?;
        Ok(self.days()?.values().any(|day| day.contains(&hash)))
    }

    /// Remembers a result that has been metered.
    pub(super) fn remember(&mut self, id: &str, today: u64) -> io::Result<()> {
        let hash = xxh3_128(id.as_bytes());
        self.days()?.entry(today).or_default().insert(hash);
        let file = match &mut self.file {
            Some((day, file)) if *day == today => file,
            _ => &mut self.file.insert((today, self.day_file(today)?)).1,
        };
        file.write_all(&hash.to_le_bytes())
    }

    fn day_file(&self, day: u64) -> io::Result<File> {
        let path = self.dir.join(format!("{PREFIX}{day}"));
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        // Behind half a hash that a crash left, none would be read as what it is.
        let bytes = file.metadata()?.len();
        file.set_len(bytes - bytes % HASH_BYTES)?;
        Ok(file)
    }

    fn days(&mut self) -> io::Result<&mut BTreeMap<u64, HashSet<u128>>> {
        if self.days.is_none() {
            make(&self.dir)?;
            let mut days = BTreeMap::new();
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                let name = entry.file_name();
                let day = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
                let Some(day) = day else { continue };
                let bytes = fs::read(entry.path())?;
                // What a crash cut off at the end is not remembered.
                let hashes = bytes
                    .chunks_exact(16)
                    .filter_map(|hash| Some(u128::from_le_bytes(hash.try_into().ok()?)));
                days.insert(day, hashes.collect());
            }
            self.days = Some(days);
        }
        Ok(self.days.get_or_insert_default())
    }

    /// Drops what is too long ago, or too much.
    fn forget(&mut self, today: u64) -> io::Result<()> {
        let max = self.results_max;
        loop {
            let days = self.days()?;
            let count: usize = days.values().map(HashSet::len).sum();
            let Some(oldest) = days.keys().next().copied() else { return Ok(()) };
            if today.saturating_sub(oldest) <= DAYS_MAX && (count < max || oldest == today) {
                return Ok(());
            }
            days.remove(&oldest);
            fs::remove_file(self.dir.join(format!("{PREFIX}{oldest}")))?;
        }
    }
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The lock of a folder, or who has it.
fn take_lock(dir: &Path) -> io::Result<Result<File, String>> {
    make(dir)?;
    let path = dir.join("lock");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Ok(Err(if holder.is_empty() { "another process".into() } else { holder }));
        }
        Err(error) => return Err(error.into()),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "process {}", std::process::id()));
    // A full disk keeps nobody from serving; the holder is just not named then.
    drop(written);
    Ok(Ok(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a gateway begins, once another has ended.
    fn open(dir: &Path) -> Seen {
        Seen::open(dir.to_owned()).expect("is free")
    }

    #[test]
    fn a_folder_is_one_gateway_s_while_it_lives() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("gateway");
        let first = open(&dir);
        let held = Seen::open(dir.clone()).err().expect("is held").to_string();
        let expected =
            format!("another gateway (process {}) remembers in {}", std::process::id(), dir.display());
        assert!(held.starts_with(&expected), "{held}");
        drop(first);
        open(&dir);
    }

    #[test]
    fn a_file_of_any_day_is_taken() {
        let dir = tempfile::tempdir().expect("a folder");
        for day in [0, u64::MAX] {
            fs::write(dir.path().join(format!("results-{day}")), [0; 16]).expect("written");
        }
        let mut seen = open(dir.path());
        assert!(!seen.knows("msg_1", 100).expect("read"));
        seen.remember("msg_1", 100).expect("written");
        assert!(seen.knows("msg_1", 100).expect("read"));
        assert!(!dir.path().join("results-0").exists(), "is too long ago");
    }

    #[test]
    fn a_result_is_remembered_for_thirty_days_restarts_included() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("gateway");
        let mut seen = open(&dir);
        assert!(!seen.knows("msg_1", 100).expect("read"));
        seen.remember("msg_1", 100).expect("written");
        seen.remember("msg_2", 110).expect("written");
        assert!(seen.knows("msg_1", 100).expect("read"));
        drop(seen);
        let mut seen = open(&dir);
        assert!(seen.knows("msg_1", 130).expect("read") && seen.knows("msg_2", 130).expect("read"));
        assert!(!seen.knows("msg_1", 131).expect("read") && seen.knows("msg_2", 131).expect("read"));
        drop(seen);
        assert!(!open(&dir).knows("msg_1", 131).expect("read"), "its file is gone");
    }

    #[test]
    fn what_a_crash_cut_off_is_not_remembered_and_the_rest_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut seen = open(dir.path());
        seen.remember("msg_1", 100).expect("written");
        seen.remember("msg_2", 100).expect("written");
        let file = dir.path().join("results-100");
        let bytes = fs::read(&file).expect("read");
        fs::write(&file, &bytes[..31]).expect("written");
        drop(seen);
        let mut seen = open(dir.path());
        assert!(seen.knows("msg_1", 100).expect("read"));
        assert!(!seen.knows("msg_2", 100).expect("read"));
        // Nor does it hide what comes after it.
        seen.remember("msg_2", 100).expect("written");
        drop(seen);
        let mut seen = open(dir.path());
        assert!(seen.knows("msg_1", 100).expect("read") && seen.knows("msg_2", 100).expect("read"));
    }

    #[test]
    fn too_many_results_cost_the_oldest_days() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut seen = Seen { results_max: 3, ..open(dir.path()) };
        for (id, day) in [("a", 100), ("b", 101), ("c", 102)] {
            seen.remember(id, day).expect("written");
        }
        assert!(!seen.knows("a", 102).expect("read"));
        assert!(seen.knows("b", 102).expect("read") && seen.knows("c", 102).expect("read"));
    }
}
