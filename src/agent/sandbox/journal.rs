//! A file that says what the stand-in received and billed, for an oracle outside the process.
//!
//! One JSON line per attempt, written before anything is done about it, and one per outcome that
//! counts (billed, repeated, vanished, refused), written before the answer. A line is one write to
//! a file opened for appending, so it is in the page cache by the time the sender can know of it:
//! it survives this process's kill -9, not a power cut. At most the last line can be cut off.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A request was read to its end, whatever came of it.
    Attempt,
    /// The record was stored and counts on an invoice.
    Billed,
    /// Acknowledged and dropped: its `transactionId` was seen before.
    Repeated,
    /// Answered 201 and never stored.
    Vanished,
    /// Answered 400.
    Refused,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// What it tells.
    pub what: What,
    /// When, by the stand-in's clock.
    pub at_ms: u64,
    /// Whose API key it came with; absent for an unknown key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Cow<'a, str>>,
    /// The route.
    pub path: Cow<'a, str>,
    /// The Idempotency-Key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'a, str>>,
    /// The body's `transactionId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Cow<'a, str>>,
    /// xxh3-128 of the body, 32 hex digits: equal bodies have equal hashes.
    pub body_hash: Cow<'a, str>,
    /// The body's length.
    pub body_bytes: usize,
    /// The fault injected into this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Cow<'a, str>>,
    /// The body itself, on `billed` lines when the options ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Cow<'a, str>>,
}

/// Reads a journal. A last line that was cut off is left out; any other bad line is an error.
pub fn read_journal(path: &Path) -> io::Result<Vec<Entry<'static>>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut entries = Vec::new();
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if !line.ends_with('\n') {
            break;
        }
        entries.push(serde_json::from_str(&line)?);
        line.clear();
    }
    Ok(entries)
}

/// The file being written.
#[derive(Debug)]
pub(super) struct Journal {
    file: Mutex<File>,
    pub(super) has_bodies: bool,
}

impl Journal {
    /// Opens `path` for appending, readable by its owner alone.
    pub(super) fn open(path: &Path, has_bodies: bool) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self { file: Mutex::new(file), has_bodies })
    }

    pub(super) fn write(&self, entry: &Entry<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(what: What) -> Entry<'static> {
        Entry {
            what,
            at_ms: 7,
            account: Some(Cow::Borrowed("a")),
            path: Cow::Borrowed("/meter/v2/events"),
            key: None,
            transaction: Some(Cow::Borrowed("line\nbreak")),
            body_hash: Cow::Borrowed("00"),
            body_bytes: 2,
            fault: None,
            body: Some(Cow::Borrowed("{\n}")),
        }
    }

    #[test]
    fn what_was_written_is_read_and_a_cut_line_is_not_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("journal");
        let journal = Journal::open(&path, true).expect("a journal");
        journal.write(&entry(What::Attempt)).expect("a line");
        drop(journal);
        let journal = Journal::open(&path, true).expect("the journal again");
        journal.write(&entry(What::Billed)).expect("a line");
        journal.file.lock().expect("the file").write_all(b"{\"what\":\"bil").expect("half a line");
        assert_eq!(read_journal(&path).expect("entries"), [entry(What::Attempt), entry(What::Billed)]);
    }

    #[test]
    fn a_bad_line_in_the_middle_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("journal");
        std::fs::write(&path, "{}\n").expect("a file");
        assert!(read_journal(&path).is_err());
    }
}
