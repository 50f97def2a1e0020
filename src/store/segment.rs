//! Segments: the log's files. Written in advance, overwritten in place, recycled by rename.
//!
//! A segment's name carries its ordinal and its random id (`seg-ORDINAL-ID.log`), so that its
//! chunks can be read although its header was lost. Its header is written with its first commit;
//! a file whose header does not fit its name and that holds no chunk is *prepared*: free to use.

use std::io;
use std::path::{Path, PathBuf};

use revenium_migrations::log_v1::{NotAHeader, SEGMENT_HEADER_BYTES, SegmentHeader};

use crate::chunk::Chain;
use crate::file::LogFile;
use crate::options::Options;

/// A place in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pos {
    pub(crate) ordinal: u64,
    pub(crate) offset: u64,
}

/// One file of the log.
pub(crate) struct Segment {
    pub(crate) ordinal: u64,
    pub(crate) id: u64,
    pub(crate) bytes: u64,
    pub(crate) file: LogFile,
}

/// What a segment's first bytes say.
pub(crate) enum Begins {
    With(SegmentHeader),
    TooNew(u8),
    /// Nothing that fits its name: prepared, or a damaged header.
    WithoutHeader,
}

impl Segment {
    pub(crate) fn begins(&self) -> io::Result<Begins> {
        let mut b = [0; SEGMENT_HEADER_BYTES];
        self.file.read_at(&mut b, 0)?;
        Ok(match SegmentHeader::decode(&b) {
            Ok(h) if h.ordinal == self.ordinal && h.id == self.id => Begins::With(h),
            Err(NotAHeader::TooNew(format)) => Begins::TooNew(format),
            _ => Begins::WithoutHeader,
        })
    }

    /// How the chain of chunks stood where the log came to this segment, if its header is there to say so.
    pub(crate) fn link(&self) -> io::Result<Option<Chain>> {
        Ok(match self.begins()? {
            Begins::With(header) => Some(Chain { next_seq: header.first_seq, crc: header.prev_crc }),
            Begins::TooNew(_) | Begins::WithoutHeader => None,
        })
    }
}

fn name(ordinal: u64, id: u64) -> String {
    format!("seg-{ordinal:016x}-{id:016x}.log")
}

fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (ordinal, id) = name.strip_prefix("seg-")?.strip_suffix(".log")?.split_once('-')?;
    if ordinal.len() != 16 || id.len() != 16 {
        return None;
    }
    Some((u64::from_str_radix(ordinal, 16).ok()?, u64::from_str_radix(id, 16).ok()?))
}

fn random_id() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

/// Every segment file of `dir`, prepared ones included, by ordinal.
pub(crate) fn list(dir: &Path, open: impl Fn(&Path) -> io::Result<LogFile>) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some((ordinal, id)) = path.file_name().and_then(|n| parse_name(n.to_str()?)) else { continue };
        let file = open(&path)?;
        found.push(Segment { ordinal, id, bytes: file.bytes()?, file });
    }
    found.sort_by_key(|s| s.ordinal);
    Ok(found)
}

/// Removes what an interrupted preparation left in `dir`.
pub(crate) fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("tmp-")) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes and flushes a file of a segment's size, not yet part of the log.
pub(crate) fn prewrite(options: &Options) -> io::Result<PathBuf> {
    let path = options.dir.join(format!("tmp-{:016x}", random_id()));
    let written = write_zeros(&path, options.segment_bytes);
    if written.is_err() {
        // Give a full disk its bytes back; the error that matters is the one returned.
        let _ = std::fs::remove_file(&path);
    }
    written.map(|()| path)
}

/// Makes a prewritten or retired file the segment with `ordinal`.
pub(crate) fn put_in_place(options: &Options, from: &Path, ordinal: u64) -> io::Result<Segment> {
    let id = random_id();
    // Opened first: what cannot begin a new life is not to lose the name by which it is found.
    let file = LogFile::open(from, false, options.tap.clone())?;
    let bytes = file.bytes()?;
    let file = file.rename(&options.dir.join(name(ordinal, id)))?;
    Ok(Segment { ordinal, id, bytes, file })
}

fn write_zeros(path: &Path, bytes: u64) -> io::Result<()> {
    let file = LogFile::open(path, true, None)?;
    let zeros = vec![0; 1 << 20];
    let mut at = 0;
    while at < bytes {
        let n = usize::try_from((bytes - at).min(zeros.len() as u64)).expect("at most 1 MiB");
        file.write_at(&zeros[..n], at)?;
        at += n as u64;
    }
    file.flush()
}
