//! Lines that no agent can keep, put aside for a person: `bad/<name of the file>` in the spool.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};

use revenium_event::spool::UNFINISHED_PREFIX;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::file;

/// The folder in a spool.
const FOLDER: &str = "bad";

/// Bytes put aside in one spool. Beyond, a file with bad lines stays where it is.
const BYTES_MAX: u64 = 64 << 20;

/// Files put aside in one spool.
const FILES_MAX: usize = 1_000;

/// Where the bad lines of one file go; nothing is made before the first one comes.
pub(super) struct Bad {
    to: Option<(OwnedFd, BufWriter<File>)>,
    name: String,
    room: u64,
}

impl Bad {
    pub(super) fn of(name: &str) -> Self {
        Self { to: None, name: name.to_owned(), room: 0 }
    }

    /// Puts a line aside, or a piece of one.
    pub(super) fn put(&mut self, spool: impl AsFd, bytes: &[u8]) -> io::Result<()> {
        if self.to.is_none() {
            self.open(spool)?;
        }
        let Some((_, out)) = &mut self.to else { return Ok(()) };
        self.room = self.room.checked_sub(bytes.len() as u64).ok_or_else(full)?;
        out.write_all(bytes)
    }

    /// Makes sure that what was put aside is on the disk.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let Some((dir, mut out)) = self.to.take() else { return Ok(()) };
        out.flush()?;
        out.get_ref().sync_all()?;
        rustix::fs::renameat(&dir, unfinished(&self.name), &dir, &self.name)?;
        Ok(rustix::fs::fsync(&dir)?)
    }

    fn open(&mut self, spool: impl AsFd) -> io::Result<()> {
        match rustix::fs::mkdirat(&spool, FOLDER, Mode::RWXU) {
            Ok(()) => rustix::fs::fsync(&spool)?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&spool, FOLDER, flags, Mode::empty())?;
        let sizes = file::sizes(&dir)?;
        if sizes.len() >= FILES_MAX {
            return Err(full());
        }
        self.room = BYTES_MAX.saturating_sub(sizes.iter().sum());
        // A try that broke off left it; the file with the lines is still there.
        let _ = rustix::fs::unlinkat(&dir, unfinished(&self.name), AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, unfinished(&self.name), flags, Mode::RUSR | Mode::WUSR)?;
        self.to = Some((dir, BufWriter::new(File::from(file))));
        Ok(())
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        if let Some((dir, _)) = &self.to {
            // Not finished: the lines stay in the file that they are from.
            let _ = rustix::fs::unlinkat(dir, unfinished(&self.name), AtFlags::empty());
        }
    }
}

fn unfinished(name: &str) -> String {
    format!("{UNFINISHED_PREFIX}{name}")
}

fn full() -> io::Error {
    io::Error::other(format!(
        "no room for bad lines: {FOLDER}/ in the spool holds {FILES_MAX} files or {BYTES_MAX} bytes; look at them \
         and remove them"
    ))
}
