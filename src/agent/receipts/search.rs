//! Looking receipts up: all files are read, the newest first.
//!
//! There is no index: 256 MiB are searched in less than a second. Reads beside the agent that writes: a file that
//! goes meanwhile was too old, and half a line is none.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use memchr::{memchr, memmem, memrchr};

use super::folder::{FILE_BYTES_MAX, files};
use super::{Id, Receipt};

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The newest, the newest first.
    pub(crate) receipts: Vec<Receipt>,
    /// Whether there are more than that.
    pub(crate) has_more: bool,
    /// When the oldest receipt is from, milliseconds since 1970; none if there is no receipt.
    pub(crate) since_ms: Option<u64>,
}

/// Finds up to `max` receipts with this id in `dir`.
pub(crate) fn search(dir: &Path, id: Id<'_>, max: usize) -> io::Result<Found> {
    let mut found = Found::default();
    let listed = match files(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        listed => listed?,
    };
    // As it stands in the lines, which all are written the same way.
    let quoted = serde_json::to_string(id.text())?;
    let needle = memmem::Finder::new(&quoted.as_bytes()[1..quoted.len() - 1]);
    let mut bytes = Vec::new();
    for file in listed.iter().rev() {
        match read(&dir.join(&file.name), &mut bytes) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read?,
        }
        let first = bytes.split(|b| *b == b'\n').find_map(parsed);
        found.since_ms = first.map(|receipt| receipt.delivered_ms).or(found.since_ms);
        let mut of_file: Vec<Receipt> = lines_with(&bytes, &needle).filter_map(parsed).collect();
        of_file.retain(|receipt| receipt.has(&id));
        for receipt in of_file.into_iter().rev() {
            if found.receipts.len() == max {
                found.has_more = true;
                break;
            }
            found.receipts.push(receipt);
        }
    }
    Ok(found)
}

fn read(path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    // One byte more for the end of a line that was cut off.
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(bytes).map(drop)
}

fn parsed(line: &[u8]) -> Option<Receipt> {
    serde_json::from_slice(line).ok()
}

/// Each line in which `needle` is, once.
fn lines_with<'b>(bytes: &'b [u8], needle: &memmem::Finder<'_>) -> impl Iterator<Item = &'b [u8]> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + needle.find(bytes.get(from..)?)?;
        let begin = memrchr(b'\n', &bytes[from..at]).map_or(from, |end| from + end + 1);
        let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end);
        from = end + 1;
        Some(&bytes[begin..end])
    })
}
