//! What cannot be taken from spool files, kept for a person: durable before its file goes, bounded in all.
//!
//! Kept under the spool file's own name, byte for byte. A spool file that is read again after a crash
//! leaves the same bytes again, which are kept once; other bytes under a known name get a name of
//! their own. Nothing here is ever overwritten, and only a person removes it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// A file takes whole blocks of the disk, however little is in it; this also bounds how many there are.
const BLOCK_BYTES: u64 = 4096;

/// Copied at once.
const COPY_BYTES: u64 = 64 << 10;

/// Names that one spool file's bytes may have beside its own.
const MORE_NAMES_MAX: u32 = 99;

/// A folder of kept bytes.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    dir: PathBuf,
    bytes_max: u64,
}

/// Why bytes are not kept; the spool file stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// A person has to make room.
    #[error(
        "{} holds {bytes} of {bytes_max} bytes: look at what is in it, and remove it",
        dir.display()
    )]
    Full {
        /// The folder.
        dir: PathBuf,
        /// What is in it.
        bytes: u64,
        /// What may be.
        bytes_max: u64,
    },
    /// The disk refused.
    #[error("cannot keep bytes in {}: {source}", dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Bytes of one spool file, not yet kept; gone unless it is finished.
#[derive(Debug)]
pub(crate) struct Draft {
    keep: Keep,
    name: String,
    path: PathBuf,
    file: File,
    bytes: u64,
    /// What the folder holds beside it.
    others_bytes: u64,
}

impl Keep {
    /// Keeps up to `bytes_max` in `dir`, which is made once it is needed, 0700.
    pub(crate) fn new(dir: PathBuf, bytes_max: u64) -> Self {
        Self { dir, bytes_max }
    }

    /// Bytes that are kept, in whole blocks; nothing if the folder cannot be read.
    pub(crate) fn bytes(&self) -> u64 {
        let Ok(entries) = fs::read_dir(&self.dir) else { return 0 };
        let of = |entry: io::Result<fs::DirEntry>| Some(blocks(entry.ok()?.metadata().ok()?.len()));
        entries.filter_map(of).sum()
    }

    /// Begins to keep bytes of the spool file `name`.
    pub(crate) fn begin(&self, name: &str) -> Result<Draft, KeepError> {
        let others_bytes = self.bytes();
        let begin = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
            flush(self.dir.parent().unwrap_or(&self.dir))?;
            let made = fs::symlink_metadata(&self.dir)?;
            if !made.is_dir() || made.uid() != rustix::process::geteuid().as_raw() {
                // In a folder that others may write to: they could take away what is kept.
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a folder of ours"));
            }
            let path = self.dir.join(format!(".{name}"));
            // One that a crash has left.
            remove_if_there(&path)?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)?;
            Ok((path, file))
        };
        let (path, file) = begin().map_err(|source| self.failed(source))?;
        Ok(Draft { keep: self.clone(), name: name.to_owned(), path, file, bytes: 0, others_bytes })
    }

    fn failed(&self, source: io::Error) -> KeepError {
        KeepError::Io { dir: self.dir.clone(), source }
    }
}

impl Draft {
    /// Copies these bytes of `from`.
    pub(crate) fn copy(&mut self, from: &File, bytes: Range<u64>) -> Result<(), KeepError> {
        let after = self.others_bytes + blocks(self.bytes + (bytes.end - bytes.start));
        if after > self.keep.bytes_max {
            let (dir, bytes_max) = (self.keep.dir.clone(), self.keep.bytes_max);
            return Err(KeepError::Full { dir, bytes: self.others_bytes, bytes_max });
        }
        let copied = copy(from, bytes, &mut self.file).map_err(|source| self.keep.failed(source))?;
        self.bytes += copied;
        Ok(())
    }

    /// Returns once the bytes are durable under a name of their own.
    pub(crate) fn finish(mut self) -> Result<(), KeepError> {
        let finished = self.place();
        finished.map_err(|source| self.keep.failed(source))
    }

    fn place(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.sync_all()?;
        for more in 0..=MORE_NAMES_MAX {
            let name = if more == 0 { self.name.clone() } else { format!("{}.{more}", self.name) };
            let path = self.keep.dir.join(name);
            // A second name first: it fails if there is one already, where a rename would replace it.
            match fs::hard_link(&self.path, &path) {
                Ok(()) => return flush(&self.keep.dir),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) if is_same(&path, &self.file, self.bytes)? => return flush(&self.keep.dir),
                Err(_) => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many files of one name"))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Its other name stays, if it was kept. One that cannot be removed is removed by the next draft.
        let _ = fs::remove_file(&self.path);
    }
}

fn copy(from: &File, bytes: Range<u64>, to: &mut File) -> io::Result<u64> {
    let (mut at, mut buffer) = (bytes.start, Vec::new());
    while at < bytes.end {
        let count = usize::try_from((bytes.end - at).min(COPY_BYTES)).unwrap_or(0);
        buffer.resize(count, 0);
        from.read_exact_at(&mut buffer, at)?;
        to.write_all(&buffer)?;
        at += count as u64;
    }
    Ok(bytes.end - bytes.start)
}

fn is_same(path: &Path, draft: &File, draft_bytes: u64) -> io::Result<bool> {
    let mut kept =
        OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)?;
    let meta = kept.metadata()?;
    if !meta.is_file() || meta.size() != draft_bytes {
        return Ok(false);
    }
    let (mut at, mut one, mut other) = (0, vec![0; 4096], vec![0; 4096]);
    loop {
        let count = kept.read(&mut one)?;
        if count == 0 {
            return Ok(true);
        }
        draft.read_exact_at(&mut other[..count], at)?;
        if one[..count] != other[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES).max(1) * BLOCK_BYTES
}

fn flush(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
