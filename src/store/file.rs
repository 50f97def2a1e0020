//! A file of the log: positioned reads and writes, one flush, nothing buffered.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::options::Tap;

/// An open file and where it lies.
pub(crate) struct LogFile {
    file: File,
    path: PathBuf,
    tap: Option<Arc<dyn Tap>>,
}

impl LogFile {
    /// Opens `path`, made 0600 if `create` and it is absent.
    pub(crate) fn open(path: &Path, create: bool, tap: Option<Arc<dyn Tap>>) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        Ok(Self { file, path: path.to_path_buf(), tap })
    }

    /// Opens `path` for reading only.
    pub(crate) fn open_to_read(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, path: path.to_path_buf(), tap: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Fills `buf` from `offset`; what lies behind the end of the file reads as zeros.
    pub(crate) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => {
                    buf[done..].fill(0);
                    return Ok(());
                }
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Some(tap) = &self.tap {
            tap.write(&self.path, offset, bytes)?;
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Gives it another name in its directory, durably. After an error it has the old name, unless
    /// it was the flush of the directory that failed: then it may have either.
    pub(crate) fn rename(mut self, to: &Path) -> io::Result<Self> {
        let dir = File::open(to.parent().expect("a file of the store lies in a directory"))?;
        std::fs::rename(&self.path, to)?;
        if let Some(tap) = &self.tap {
            tap.renamed(&self.path, to);
        }
        self.path = to.to_path_buf();
        dir.sync_all()?;
        Ok(self)
    }

    /// fdatasync: returns once the bytes (and the length, if it grew) are on the device.
    pub(crate) fn flush(&self) -> io::Result<()> {
        if let Some(tap) = &self.tap {
            tap.flush(&self.path)?;
        }
        self.file.sync_data()?;
        if let Some(tap) = &self.tap {
            tap.flushed(&self.path);
        }
        Ok(())
    }
}

/// Makes the names in `dir` durable.
pub(crate) fn flush_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
