//! Reading a spool file that may have been made by anybody: only our own, only regular, only of sane size,
//! and one reader at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;

use revenium_event::Producer;
use revenium_event::limits::LINE_BYTES_MAX;
use revenium_event::line::{self, Hello, Line};
use revenium_event::spool::{FILE_BYTES_MAX, UNFINISHED_PREFIX, parse_name};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};

/// A file may be longer than its writer's bound by its last line.
const SLACK_BYTES: u64 = LINE_BYTES_MAX as u64 + 1;

/// Names that are looked at in one folder, at most; others have their turn when these are gone.
const NAMES_MAX: usize = 100_000;

/// After so long, an unfinished file's writer is dead.
const UNFINISHED_FOR_SECONDS: u64 = 24 * 3600;

/// Sizes of all finished spool files in a folder, whoever's they are.
pub(super) fn sizes(dir: impl AsFd) -> io::Result<Vec<u64>> {
    let mut sizes = Vec::new();
    for entry in Dir::read_from(&dir)?.take(NAMES_MAX) {
        let entry = entry?;
        if entry.file_name().to_str().is_ok_and(|name| parse_name(name).is_some())
            && let Ok(stat) = rustix::fs::statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
        {
            sizes.push(u64::try_from(stat.st_size).unwrap_or(0));
        }
    }
    Ok(sizes)
}

/// Opens a spool's folder for reading.
pub(super) fn open_dir(dir: &Path) -> io::Result<rustix::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

/// Names of finished spool files in a folder, in order. Removes what dead writers of our own user left
/// unfinished: its events were promised to nobody.
pub(super) fn names(dir: impl AsFd, now_seconds: u64) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut unfinished = Vec::new();
    for entry in Dir::read_from(&dir)?.take(NAMES_MAX) {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if parse_name(name).is_some() {
            names.push(name.to_owned());
        } else if name.strip_prefix(UNFINISHED_PREFIX).and_then(parse_name).is_some() {
            unfinished.push(name.to_owned());
        }
    }
    for name in unfinished {
        let Ok(stat) = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let age = now_seconds.saturating_sub(u64::try_from(stat.st_mtime).unwrap_or(u64::MAX));
        if stat.st_uid == rustix::process::geteuid().as_raw() && age > UNFINISHED_FOR_SECONDS {
            // If it cannot be removed it is no worse than before.
            let _ = rustix::fs::unlinkat(&dir, &name, AtFlags::empty());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Why a file is left alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// It is gone: somebody else was faster.
    Gone,
    /// Another process hands it in just now.
    Taken,
    /// Not a file that we would have written: a link, a fifo, somebody else's, too large.
    Odd,
}

/// A file that is ours to hand in, for as long as this value lives.
pub(super) struct SpoolFile {
    pub(super) producer: Producer,
    reader: BufReader<io::Take<File>>,
    line: Vec<u8>,
    inode: (u64, u64),
}

/// One line of a file.
pub(super) enum Entry<'a> {
    /// Numbered and JSON: its number, and the line with its newline.
    Event { n: u64, line: &'a [u8] },
    /// What no agent could keep, or the beginning of it, verbatim.
    Bad(&'a [u8]),
}

impl SpoolFile {
    /// Opens and locks a file by its name.
    pub(super) fn open(dir: impl AsFd, name: &str) -> io::Result<Result<Self, Skip>> {
        let Some((producer, _)) = parse_name(name) else { return Ok(Err(Skip::Odd)) };
        // Not blocking: it may be a fifo by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Ok(Err(Skip::Gone)),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::ACCESS | rustix::io::Errno::NXIO) => {
                return Ok(Err(Skip::Odd));
            }
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&fd)?;
        let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_uid == rustix::process::geteuid().as_raw()
            && stat.st_nlink <= 1
            && u64::try_from(stat.st_size).is_ok_and(|size| size <= FILE_BYTES_MAX + SLACK_BYTES);
        if !is_ours {
            return Ok(Err(Skip::Odd));
        }
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Err(Skip::Taken)),
            Err(error) => return Err(error.into()),
        }
        let file = Self {
            producer,
            reader: BufReader::new(File::from(fd).take(FILE_BYTES_MAX + SLACK_BYTES)),
            line: Vec::new(),
            inode: (stat.st_dev, stat.st_ino),
        };
        // It may have been handed in between opening and locking.
        if file.is_at(&dir, name) { Ok(Ok(file)) } else { Ok(Err(Skip::Gone)) }
    }

    /// What the file says of its events; `None` if it does not begin with this producer's hello.
    pub(super) fn hello(&mut self) -> io::Result<Option<Hello>> {
        self.next_line()?;
        match line::parse(&self.line) {
            Ok(Line::Hello(hello)) if hello.producer == Some(self.producer) => Ok(Some(hello)),
            _ => Ok(None),
        }
    }

    /// Reads one more line, whatever it is.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        self.next_line().map(|_| ())
    }

    /// The line that was read last, verbatim; empty at the end.
    pub(super) fn last(&self) -> &[u8] {
        &self.line
    }

    /// The next line that is not blank. Numbers must be above `after`.
    pub(super) fn next(&mut self, after: u64) -> io::Result<Option<Entry<'_>>> {
        loop {
            if self.next_line()? == 0 {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let is_json = crate::json::check(self.line.trim_ascii()).is_ok();
        match line::parse(&self.line) {
            Ok(Line::Event { n: Some(n), .. }) if is_json && n > after => {
                if self.line.last() != Some(&b'\n') {
                    self.line.push(b'\n');
                }
                Ok(Some(Entry::Event { n, line: &self.line }))
            }
            _ => Ok(Some(Entry::Bad(&self.line))),
        }
    }

    /// Reads up to a newline, or as much as a line may have; the rest of a longer one comes next.
    fn next_line(&mut self) -> io::Result<usize> {
        self.line.clear();
        let mut bounded = (&mut self.reader).take(SLACK_BYTES);
        bounded.read_until(b'\n', &mut self.line)
    }

    /// Removes the file, unless the name is another's by now.
    pub(super) fn remove(&self, dir: impl AsFd, name: &str) -> io::Result<()> {
        if !self.is_at(&dir, name) {
            return Ok(());
        }
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn is_at(&self, dir: impl AsFd, name: &str) -> bool {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.inode)
    }
}
