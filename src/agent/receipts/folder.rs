//! The files of receipts: appended to, begun anew, and removed when they are too old or too many.
//!
//! `<day>-<number>.jsonl`, a file for each day and each [`FILE_BYTES_MAX`] of it. The oldest go when a file begins.
//! Files that are not named so are left alone. After an error the next lines begin a line of their own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How long receipts are kept: as long as somebody asks why a bill is as it is.
pub(crate) const DAYS_MAX: u64 = 30;

/// Bytes of all files together: about a million receipts.
pub(crate) const ALL_BYTES_MAX: u64 = 256 << 20;

/// Bytes of one file: so much is removed at a time, and read at a time.
pub(super) const FILE_BYTES_MAX: u64 = 8 << 20;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// The folder that one agent writes.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    /// The file system's, which are the log's.
    free_bytes_min: u64,
    file_bytes_max: u64,
    all_bytes_max: u64,
    open: Option<Open>,
}

/// The file that is appended to.
#[derive(Debug)]
struct Open {
    file: File,
    day: String,
    bytes: u64,
}

impl Folder {
    /// The folder `dir`, which is made with the first receipt. Where no more than `free_bytes_min` are free, nothing
    /// is written: the log needs those to settle what is delivered.
    pub(crate) fn new(dir: PathBuf, free_bytes_min: u64) -> Self {
        Self { dir, free_bytes_min, file_bytes_max: FILE_BYTES_MAX, all_bytes_max: ALL_BYTES_MAX, open: None }
    }

    /// Appends whole lines, of which a file takes as many. On an error some of them may be there.
    pub(super) fn append(&mut self, lines: &[u8], now_ms: u64) -> io::Result<()> {
        let (day, bytes) = (day(now_ms), lines.len() as u64);
        let has_room = |open: &Open| open.day == day && open.bytes + bytes <= self.file_bytes_max;
        // Taken out, and put back when all is well.
        let mut open = match self.open.take().filter(has_room) {
            Some(open) => open,
            None => self.open_for(day, bytes, now_ms)?,
        };
        let stat = rustix::fs::fstatvfs(&open.file)?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) <= self.free_bytes_min {
            let why = format!(
                "no more than the {} bytes of store.free_reserve_bytes are free",
                self.free_bytes_min
            );
            return Err(io::Error::new(ErrorKind::StorageFull, why));
        }
        open.file.write_all(lines)?;
        open.bytes += bytes;
        self.open = Some(open);
        Ok(())
    }

    /// The newest file of the day if it has room, else a new one.
    fn open_for(&self, day: String, bytes: u64, now_ms: u64) -> io::Result<Open> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let files = files(&self.dir)?;
        let newest = files.iter().rev().find(|file| file.day() == day);
        // One byte for the end of a line that a crash cut off.
        let with_room = newest.filter(|file| file.bytes + bytes < self.file_bytes_max);
        let name = match (with_room, newest) {
            (Some(file), _) => file.name.clone(),
            (None, newest) => format!("{day}-{:06}.jsonl", newest.map_or(0, |file| file.number() + 1)),
        };
        self.make_room(&files, &name, now_ms)?;
        let options = OpenOptions::new().read(true).append(true).create(true).mode(0o600).clone();
        let mut file = options.open(self.dir.join(name))?;
        let mut bytes = file.metadata()?.len();
        if bytes > 0 && !ends_a_line(&file, bytes)? {
            file.write_all(b"\n")?;
            bytes += 1;
        }
        Ok(Open { file, day, bytes })
    }

    /// Removes what is too old, then the oldest until `name` may be filled.
    fn make_room(&self, files: &[Listed], name: &str, now_ms: u64) -> io::Result<()> {
        let oldest_day = day(now_ms.saturating_sub(DAYS_MAX * DAY_MS));
        let mut bytes: u64 = files.iter().filter(|file| file.name != name).map(|file| file.bytes).sum();
        for file in files.iter().filter(|file| file.name != name) {
            if file.day() >= oldest_day.as_str() && bytes + self.file_bytes_max <= self.all_bytes_max {
                break;
            }
            match fs::remove_file(self.dir.join(&file.name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => bytes -= file.bytes,
            }
        }
        Ok(())
    }
}

fn ends_a_line(file: &File, bytes: u64) -> io::Result<bool> {
    let mut last = [0];
    file.read_exact_at(&mut last, bytes - 1)?;
    Ok(last == *b"\n")
}

/// A file of receipts.
#[derive(Debug)]
pub(super) struct Listed {
    /// `2026-11-28-000000.jsonl`.
    pub(super) name: String,
    bytes: u64,
}

impl Listed {
    fn day(&self) -> &str {
        &self.name[..DAY_CHARS]
    }

    fn number(&self) -> u64 {
        number(&self.name).unwrap_or(0)
    }
}

/// `2026-11-28`.
const DAY_CHARS: usize = 10;

/// The files in `dir`, the oldest first.
pub(super) fn files(dir: &Path) -> io::Result<Vec<Listed>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if number(&name).is_none() {
            continue;
        }
        match entry.metadata() {
            Ok(found) => files.push(Listed { name, bytes: found.len() }),
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

/// The number in a file's name, if it is one of ours.
fn number(name: &str) -> Option<u64> {
    let (day, rest) = name.split_at_checked(DAY_CHARS)?;
    let is_day = day.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let digits = rest.strip_prefix('-')?.strip_suffix(".jsonl").filter(|_| is_day)?;
    digits.parse().ok().filter(|_| digits.len() == 6)
}

/// A day's name, in UTC. What is no time of our age is the last one.
fn day(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(jiff::Timestamp::MAX).to_string().chars().take(DAY_CHARS).collect()
}

#[cfg(test)]
mod tests;
