//! Writing a spool file: whole or not at all.

use std::fs::DirBuilder;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use revenium_event::Producer;
use revenium_event::line::Hello;
use revenium_event::spool::{UNFINISHED_PREFIX, file_name};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::file;
use crate::place::SYSTEM_SPOOL;

/// What files are written with at a time.
const WRITE_BYTES: usize = 64 << 10;

/// How much may be spooled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes in files of one process that are still there.
    pub(crate) own_bytes_max: u64,
    /// Files of one process that are still there.
    pub(crate) own_files_max: usize,
    /// Bytes in all files of a folder, if it can be listed.
    pub(crate) folder_bytes_max: u64,
    /// Files in a folder, if it can be listed.
    pub(crate) folder_files_max: usize,
}

/// Writes the spool files of one process.
#[derive(Debug)]
pub(crate) struct Writer {
    limits: Limits,
    /// Files that were written and were there when last looked.
    own: Vec<(PathBuf, u64)>,
    own_bytes: u64,
}

impl Writer {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, own: Vec::new(), own_bytes: 0 }
    }

    /// Writes `lines`, the first with number `first`, to a file of their own in `dir`, which is made if it
    /// is missing. Once it returns `Ok` they are flushed; else nothing of them counts.
    pub(crate) fn write<'a>(
        &mut self,
        dir: &Path,
        hello: &Hello,
        producer: Producer,
        first: u64,
        lines: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> io::Result<()> {
        let mut head = Vec::new();
        hello.write(&mut head);
        let bytes = head.len() as u64 + lines.clone().map(|line| line.len() as u64).sum::<u64>();
        let folder = Folder::open(dir)?;
        self.check_room(&folder, bytes)?;
        let name = file_name(producer, first);
        folder.write(&name, &head, lines)?;
        self.own.push((dir.join(name), bytes));
        self.own_bytes += bytes;
        Ok(())
    }

    fn check_room(&mut self, folder: &Folder, bytes: u64) -> io::Result<()> {
        let limits = self.limits;
        let is_full = |own: &Self| {
            own.own.len() >= limits.own_files_max
                || own.own_bytes.saturating_add(bytes) > limits.own_bytes_max
        };
        if is_full(self) {
            self.own.retain(|(path, _)| path.symlink_metadata().is_ok());
            self.own_bytes = self.own.iter().map(|(_, bytes)| bytes).sum();
        }
        if is_full(self) {
            return Err(io::Error::other(format!(
                "this process has spooled {} files of {} bytes in all, which is its limit",
                self.own.len(),
                self.own_bytes
            )));
        }
        let Ok(all) = file::sizes(&folder.fd) else { return Ok(()) };
        let all_bytes = all.iter().sum::<u64>();
        if all.len() >= limits.folder_files_max || all_bytes.saturating_add(bytes) > limits.folder_bytes_max {
            return Err(io::Error::other(format!(
                "it holds {} files of {all_bytes} bytes in all, which is its limit",
                all.len()
            )));
        }
        Ok(())
    }
}

/// A spool's folder, open.
struct Folder {
    fd: OwnedFd,
    /// Whether it is open for reading, which flushing it needs. Members of the agent's group may write to
    /// the machine's spool and may not list it.
    is_readable: bool,
    /// What its files may be used by: the owner, and in a folder that passes its group on, the group.
    mode: Mode,
}

impl Folder {
    fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::open(dir, flags, Mode::empty());
        let opened = match open(OFlags::RDONLY | flags) {
            // The machine's is made with the agent, with a mode that only root can give it.
            Err(Errno::NOENT) if dir != Path::new(SYSTEM_SPOOL) => {
                DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
                open(OFlags::RDONLY | flags)
            }
            opened => opened,
        };
        let (fd, is_readable) = match opened {
            Ok(fd) => (fd, true),
            Err(Errno::ACCESS) => (open(OFlags::PATH | flags)?, false),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&fd)?;
        let own = rustix::process::geteuid().as_raw();
        if stat.st_uid != own && stat.st_uid != 0 {
            let message =
                format!("it belongs to user {}, who could read and remove what is in it", stat.st_uid);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let is_shared = Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID);
        let mode = if is_shared { Mode::RUSR | Mode::WUSR | Mode::RGRP } else { Mode::RUSR | Mode::WUSR };
        Ok(Self { fd, is_readable, mode })
    }

    fn write<'a>(&self, name: &str, head: &[u8], lines: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let unfinished = format!("{UNFINISHED_PREFIX}{name}");
        let written = self.write_as(&unfinished, name, head, lines);
        if written.is_err() {
            // It may not have come to be, or have its final name already; either is not to stay.
            let _ = rustix::fs::unlinkat(&self.fd, &unfinished, AtFlags::empty());
            let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
        }
        written
    }

    fn write_as<'a>(
        &self,
        unfinished: &str,
        name: &str,
        head: &[u8],
        lines: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, unfinished, flags, self.mode)?;
        // Whatever the umask left of it.
        rustix::fs::fchmod(&file, self.mode)?;
        let file = std::fs::File::from(file);
        let mut out = BufWriter::with_capacity(WRITE_BYTES, &file);
        out.write_all(head)?;
        for line in lines {
            out.write_all(line)?;
        }
        out.flush()?;
        drop(out);
        file.sync_data()?;
        rustix::fs::renameat(&self.fd, unfinished, &self.fd, name)?;
        if self.is_readable {
            rustix::fs::fsync(&self.fd)?;
        } else {
            // The folder cannot be opened to be flushed. A rename changes the file itself as well, and
            // flushing that takes the journal up to and with the rename (ext4, xfs, btrfs).
            file.sync_all()?;
        }
        Ok(())
    }
}
