//! Results of batches that were metered, remembered for 30 days: they may be fetched again and again.
//!
//! One file a day, 16 bytes a result: a hash of its id. A file goes when its day is too long ago, or the oldest
//! when there are too many results. What is not remembered, for want of a disk or by a crash between the event
//! and this, is metered again, and then it is for Revenium to know the message's id.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_128;

/// How long a result is remembered. Anthropic keeps results for 29 days.
const DAYS_MAX: u64 = 30;

/// Results that are remembered, at most: 32 MB of files and twice that of memory.
const RESULTS_MAX: usize = 2_000_000;

/// How the files' names begin; the day since 1970 follows.
const PREFIX: &str = "results-";

/// What was metered.
pub(super) struct Seen {
    dir: PathBuf,
    /// By the day since 1970. `None`: not read yet.
    days: Option<BTreeMap<u64, HashSet<u128>>>,
    /// Today's file.
    file: Option<(u64, File)>,
    results_max: usize,
}

impl Seen {
    /// What lies in `dir`, which is read, or made, with the first result.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, days: None, file: None, results_max: RESULTS_MAX }
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
            _ => &mut self.file.insert((today, self.open(today)?)).1,
        };
        // One write each: another gateway may append to the same file.
        file.write_all(&hash.to_le_bytes())
    }

    fn open(&self, day: u64) -> io::Result<File> {
        let path = self.dir.join(format!("{PREFIX}{day}"));
        OpenOptions::new().create(true).append(true).mode(0o600).open(path)
    }

    fn days(&mut self) -> io::Result<&mut BTreeMap<u64, HashSet<u128>>> {
        if self.days.is_none() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
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
            if oldest + DAYS_MAX >= today && (count < max || oldest == today) {
                return Ok(());
            }
            days.remove(&oldest);
            fs::remove_file(self.dir.join(format!("{PREFIX}{oldest}")))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_remembered_for_thirty_days_restarts_included() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || Seen::new(dir.path().join("gateway"));
        let mut seen = open();
        assert!(!seen.knows("msg_1", 100).expect("read"));
        seen.remember("msg_1", 100).expect("written");
        seen.remember("msg_2", 110).expect("written");
        assert!(seen.knows("msg_1", 100).expect("read"));
        let mut seen = open();
        assert!(seen.knows("msg_1", 130).expect("read") && seen.knows("msg_2", 130).expect("read"));
        assert!(!seen.knows("msg_1", 131).expect("read") && seen.knows("msg_2", 131).expect("read"));
        assert!(!open().knows("msg_1", 131).expect("read"), "its file is gone");
    }

    #[test]
    fn what_a_crash_cut_off_is_not_remembered_and_the_rest_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut seen = Seen::new(dir.path().to_owned());
        seen.remember("msg_1", 100).expect("written");
        seen.remember("msg_2", 100).expect("written");
        let file = dir.path().join("results-100");
        let bytes = fs::read(&file).expect("read");
        fs::write(&file, &bytes[..31]).expect("written");
        let mut seen = Seen::new(dir.path().to_owned());
        assert!(seen.knows("msg_1", 100).expect("read"));
        assert!(!seen.knows("msg_2", 100).expect("read"));
    }

    #[test]
    fn too_many_results_cost_the_oldest_days() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut seen = Seen { results_max: 3, ..Seen::new(dir.path().to_owned()) };
        for (id, day) in [("a", 100), ("b", 101), ("c", 102)] {
            seen.remember(id, day).expect("written");
        }
        assert!(!seen.knows("a", 102).expect("read"));
        assert!(seen.knows("b", 102).expect("read") && seen.knows("c", 102).expect("read"));
    }
}
