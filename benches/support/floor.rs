//! The floor: what appending the same bytes with one fdatasync each costs on this disk, now.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of the prewritten file, as of a segment.
const PREWRITTEN_BYTES: u64 = 64 << 20;

/// Two files to append to.
pub(crate) struct Floor {
    growing: File,
    grown: u64,
    prewritten: File,
    at: u64,
}

impl Floor {
    /// Makes both files in `dir`.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let open = |name: &str| {
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(dir.join(name))
        };
        let prewritten = open("prewritten")?;
        let zeros = vec![0; 1 << 20];
        for at in (0..PREWRITTEN_BYTES).step_by(zeros.len()) {
            prewritten.write_all_at(&zeros, at)?;
        }
        prewritten.sync_all()?;
        Ok(Self { growing: open("growing")?, grown: 0, prewritten, at: 0 })
    }

    /// Appends each of `commits` to the growing file; gives how long each took.
    pub(crate) fn growing(&mut self, commits: &[Vec<u8>]) -> io::Result<Vec<Duration>> {
        if self.grown > PREWRITTEN_BYTES {
            self.growing.set_len(0)?;
            self.growing.sync_all()?;
            self.grown = 0;
        }
        timed(&self.growing, &mut self.grown, commits)
    }

    /// Overwrites the prewritten file with each of `commits`; gives how long each took.
    pub(crate) fn prewritten(&mut self, commits: &[Vec<u8>]) -> io::Result<Vec<Duration>> {
        if self.at + commits.iter().map(|c| c.len() as u64).sum::<u64>() > PREWRITTEN_BYTES {
            self.at = 0;
        }
        timed(&self.prewritten, &mut self.at, commits)
    }
}

fn timed(file: &File, at: &mut u64, commits: &[Vec<u8>]) -> io::Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(commits.len());
    for bytes in commits {
        let began = Instant::now();
        file.write_all_at(bytes, *at)?;
        file.sync_data()?;
        took.push(began.elapsed());
        *at += bytes.len() as u64;
    }
    Ok(took)
}
