//! One spool file, open and ours to take: its lines, told apart into events and bad ones.
//!
//! Opened without following links and without waiting, and looked at again once it is open: only a
//! regular file with one name, of a bounded size, that nobody else is taking. Lines are read through
//! a bounded buffer, and each knows where in the file it lies, so that bad ones can be kept as they are.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use revenium_event::Producer;
use revenium_event::limits::LINE_BYTES_MAX;
use revenium_event::line::{self, Hello, Line};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::folder::{Folder, Found};
use crate::intake::{LineBuffer, Step};

/// Read at once while looking for the end of a line that is too long.
const SKIP_BYTES: usize = 64 << 10;

/// A file that is locked by us.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    file: File,
    name: String,
    producer: Producer,
    first: u64,
    id: (u64, u64),
    /// Whose it is.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
}

/// Why a file is not taken now.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// Somebody else has taken it, or is at it.
    Taken,
    /// It is not what it should be, and stays.
    LeftAlone(String),
}

/// The lines of a file, read from its start.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: LineBuffer,
    /// Where the next line begins.
    at: u64,
    read_to: u64,
    lines: u64,
    last: Option<u64>,
}

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// What holds for all events; comes first.
    Hello(Hello),
    /// An event.
    Event {
        /// Its number.
        n: u64,
        /// It, without its number.
        event: Cow<'a, [u8]>,
        /// The line as it is.
        line: &'a [u8],
    },
    /// Not an event of this producer.
    Bad {
        /// What is wrong.
        why: String,
    },
    /// Nothing of this file can be taken: whose it is, or for which profile, is not known.
    Unusable {
        /// What is wrong.
        why: String,
    },
}

/// Where a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number, from 1.
    pub(crate) line: u64,
    /// Its bytes in the file, newline included.
    pub(crate) bytes: Range<u64>,
}

impl SpoolFile {
    /// Opens and locks a file that was found. An `Err` inside says why it is left; an outer one that
    /// the system failed, and it may be tried again.
    pub(crate) fn open(folder: &Folder, found: &Found) -> io::Result<Result<Self, NotOpened>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match rustix::fs::openat(folder.dir(), &found.name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(Err(NotOpened::Taken)),
            // A link or a socket since it was found.
            Err(Errno::LOOP | Errno::NXIO) => return left("it is not a regular file"),
            Err(Errno::ACCESS | Errno::PERM) => {
                return left("it may not be read by this user: its group needs `chmod g+r`");
            }
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Err(NotOpened::Taken)),
            Err(error) => return Err(error.into()),
        }
        // Only now: whoever had it locked before us may have removed it.
        let meta = file.metadata()?;
        match meta.nlink() {
            0 => return Ok(Err(NotOpened::Taken)),
            1 if meta.is_file() && meta.len() <= super::FILE_BYTES_MAX => {}
            _ => return left("it is not a regular file of a spool file's size with one name"),
        }
        Ok(Ok(Self {
            file,
            name: found.name.clone(),
            producer: found.producer,
            first: found.first,
            id: (meta.dev(), meta.ino()),
            uid: meta.uid(),
            gid: meta.gid(),
        }))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whose events are in it.
    pub(crate) fn producer(&self) -> Producer {
        self.producer
    }

    /// Its bytes, to copy some.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Its size now.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Removes it, durably. Call it once every line is durable elsewhere, `read_to` its end.
    ///
    /// `Ok(false)`: more was written to it meanwhile, or another file has its name: it stays.
    pub(crate) fn remove(&self, folder: &Folder, read_to: u64) -> io::Result<bool> {
        if self.bytes()? != read_to {
            return Ok(false);
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(folder.dir(), &self.name, flags) {
            Ok(stat) if (stat.st_dev, stat.st_ino) != self.id => return Ok(false),
            Err(Errno::NOENT) => return Ok(true),
            _ => {}
        }
        match rustix::fs::unlinkat(folder.dir().as_fd(), &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // Removed, even if that is not durable yet: at worst it is read again, and its numbers are known.
        let _ = folder.flush();
        Ok(true)
    }
}

fn left(why: &str) -> io::Result<Result<SpoolFile, NotOpened>> {
    Ok(Err(NotOpened::LeftAlone(why.to_owned())))
}

impl Lines {
    /// Nothing read yet.
    pub(crate) fn new() -> Self {
        let buffer = LineBuffer::new(LINE_BYTES_MAX);
        Self { buffer, at: 0, read_to: 0, lines: 0, last: None }
    }

    /// How far it was read.
    pub(crate) fn read_to(&self) -> u64 {
        self.read_to
    }

    /// Gives lines to `take`, in order, until it breaks or the file ends; true at the end.
    pub(crate) fn read(
        &mut self,
        of: &SpoolFile,
        take: &mut dyn FnMut(Place, Entry<'_>) -> ControlFlow<()>,
    ) -> io::Result<bool> {
        loop {
            while let Some(step) = self.buffer.next() {
                self.lines += 1;
                let from = self.at;
                let entry = match step {
                    Step::Line(line) => {
                        self.at += line.len() as u64 + 1;
                        judge(&mut self.last, of, self.lines, line)
                    }
                    Step::TooLong(_) => {
                        self.at = end_of_line(&of.file, from)?;
                        let why = format!("it is longer than {LINE_BYTES_MAX} bytes");
                        Some(if self.lines == 1 { Entry::Unusable { why } } else { Entry::Bad { why } })
                    }
                };
                let place = Place { line: self.lines, bytes: from..self.at };
                if let Some(entry) = entry
                    && take(place, entry).is_break()
                {
                    return Ok(false);
                }
            }
            // A file that is written on while we read is read up to the size that a spool file may have.
            let room = self.buffer.room();
            let left = super::FILE_BYTES_MAX.saturating_sub(self.read_to);
            let room_bytes = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match of.file.read_at(&mut room[..room_bytes], self.read_to) {
                Ok(0) => break,
                Ok(count) => {
                    self.buffer.filled(count);
                    self.read_to += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.rest(of, take);
        Ok(true)
    }

    /// What follows the last newline: whole if it is JSON, since a torn object has lost its brace.
    fn rest(&mut self, of: &SpoolFile, take: &mut dyn FnMut(Place, Entry<'_>) -> ControlFlow<()>) {
        let rest = self.buffer.take_rest();
        if self.read_to == 0 {
            // An empty file: nothing to take and nothing to keep.
            return;
        }
        let place = Place { line: self.lines + 1, bytes: self.at..self.read_to };
        // The end of a line that was too long was told with it.
        self.at = self.read_to;
        let is_whole = serde_json::from_slice::<serde::de::IgnoredAny>(rest).is_ok();
        let entry = if is_whole || rest.trim_ascii().is_empty() {
            judge(&mut self.last, of, place.line, rest)
        } else if place.line == 1 {
            Some(Entry::Unusable { why: "its first line is torn".to_owned() })
        } else {
            Some(Entry::Bad { why: "it is torn: the file ends in it".to_owned() })
        };
        if let Some(entry) = entry {
            let _ = take(place, entry);
        }
    }
}

/// What a line is, after the ones before it. `None`: it is blank.
fn judge<'a>(last: &mut Option<u64>, of: &SpoolFile, number: u64, line: &'a [u8]) -> Option<Entry<'a>> {
    if number == 1 {
        let first = first_line(line, of.producer);
        return Some(first.map_or_else(|why| Entry::Unusable { why }, Entry::Hello));
    }
    let line = line.trim_ascii();
    if line.is_empty() {
        return None;
    }
    Some(match event(line, *last, of.first) {
        Ok((n, event)) => {
            *last = Some(n);
            Entry::Event { n, event, line }
        }
        Err(why) => Entry::Bad { why },
    })
}

/// The hello. Without one that fits the name, whose events follow is not known.
fn first_line(line: &[u8], producer: Producer) -> Result<Hello, String> {
    match line::parse(line) {
        Ok(Line::Hello(hello)) if hello.producer == Some(producer) => Ok(hello),
        Ok(Line::Hello(_)) => Err("its hello names another producer than its name".to_owned()),
        Ok(Line::Event { .. } | Line::Key(_)) => Err("its first line is no hello".to_owned()),
        Err(refusal) => Err(format!("its first line is no hello: {}", refusal.message)),
    }
}

fn event(line: &[u8], last: Option<u64>, first: u64) -> Result<(u64, Cow<'_, [u8]>), String> {
    let (n, event) = match line::parse(line) {
        Ok(Line::Event { n: Some(n), event }) => (n, event),
        Ok(Line::Event { n: None, .. }) => return Err("it has no number".to_owned()),
        Ok(Line::Hello(_)) => return Err("a hello is only the first line".to_owned()),
        Ok(Line::Key(_)) => return Err("a key is handed over on the socket only".to_owned()),
        Err(refusal) => return Err(refusal.message),
    };
    if n < first {
        return Err("its number is below the one in the file's name".to_owned());
    }
    if last.is_some_and(|last| n <= last) {
        return Err("its number does not go up".to_owned());
    }
    Ok((n, event))
}

/// Where the line that begins at `from` ends, newline included; at the latest where a spool file has to end,
/// however long its writer may have made it since it was opened.
fn end_of_line(file: &File, from: u64) -> io::Result<u64> {
    let mut at = from;
    let mut bytes = vec![0; SKIP_BYTES];
    loop {
        let left = super::FILE_BYTES_MAX.saturating_sub(at);
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match file.read_at(&mut bytes[..count], at) {
            Ok(0) => return Ok(at),
            Ok(count) => match bytes[..count].iter().position(|byte| *byte == b'\n') {
                Some(newline) => return Ok(at + newline as u64 + 1),
                None => at += count as u64,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
