//! A spool folder: whether it can be trusted, and what lies in it.
//!
//! Everything is done relative to the open folder, so that nothing can be put in its place in
//! between. A folder is ours if it belongs to us or root, and if not everybody may rename what is
//! in it; a file is looked at by what `lstat` says of its name, and opened only if it may be one of ours.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use revenium_emitter::place::SYSTEM_SPOOL;
use revenium_event::{Producer, spool};
use rustix::fs::{AtFlags, Dir, FileType, OFlags};

/// Entries that are looked at in one go; those behind them wait until these are gone.
const ENTRIES_MAX: usize = 100_000;

/// Spool files that are told of in one go, the oldest ones.
const FILES_MAX: usize = 4096;

/// Other things that are told by name in one go; the rest is counted.
const STRANGE_MAX: usize = 64;

/// Longest part of a strange name that is told, in characters.
const NAME_CHARS_MAX: usize = 80;

/// Where `send --spool` keeps lines that cannot be sent; no business of an agent.
pub(crate) const BAD: &str = "bad";

/// The system's spool: its group may put files in and not look at others', and only their owners and
/// the folder's take files out.
pub(crate) const SYSTEM_MODE: u32 = 0o3730;

/// Any other spool is its user's.
const OWN_MODE: u32 = 0o700;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    dir: File,
    mode: u32,
    /// Everybody may put files in, and they get the folder's group: it says nothing of their owners.
    is_groups_word_worthless: bool,
}

/// Why nothing is taken from a folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// It is not there.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// Its owner could put anything in anybody's name there, and take files back.
    #[error("{} belongs to {owner}: a spool folder belongs to {own} or root, see `chown`", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who we are.
        own: String,
    },
    /// Anybody could replace files of others there.
    #[error(
        "{} may be written by everybody (mode {mode:04o}): make it sticky with `chmod +t`, or close it",
        path.display()
    )]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A file with a spool file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// When it was last written, seconds since 1970: to take the oldest first, and for nothing else.
    pub(crate) modified_s: i64,
    /// Whose it is.
    pub(crate) uid: u32,
    /// Its producer, by the name.
    pub(crate) producer: Producer,
    /// Its first number, by the name.
    pub(crate) first: u64,
    /// Its name.
    pub(crate) name: String,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Device and inode.
    pub(crate) id: (u64, u64),
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Spool files: of each owner the oldest first, and the owners in turn.
    pub(crate) files: Vec<Found>,
    /// What is none and never opened: its name, fit to be printed, and why.
    pub(crate) strange: Vec<(String, &'static str)>,
    /// How many of these there are.
    pub(crate) strange_count: u64,
    /// Whether everything was looked at.
    pub(crate) is_complete: bool,
}

impl Folder {
    /// Opens `path` and sees that it can be trusted.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        Self::open_for(path, rustix::process::geteuid().as_raw())
    }

    /// The same, for the agent of the user `own`.
    pub(crate) fn open_for(path: &Path, own: u32) -> Result<Self, FolderError> {
        let flags = (OFlags::DIRECTORY | OFlags::CLOEXEC).bits().cast_signed();
        let dir = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::Missing(path.to_owned()));
            }
            Err(error) => return Err(fault("open", path)(error)),
        };
        let found = dir.metadata().map_err(fault("look at", path))?;
        let mode = found.mode() & 0o7777;
        if found.uid() != own && found.uid() != 0 {
            let names = crate::user::Names::read();
            let (owner, own) = (names.user(found.uid()), names.user(own));
            return Err(FolderError::Foreign { path: path.to_owned(), owner, own });
        }
        let is_open = mode & 0o002 != 0;
        if is_open && mode & 0o1000 == 0 {
            return Err(FolderError::Open { path: path.to_owned(), mode });
        }
        Ok(Self { path: path.to_owned(), dir, mode, is_groups_word_worthless: is_open && mode & 0o2000 != 0 })
    }

    /// Opens `path`, and makes it if it is missing: the system's for our group, any other for us alone.
    pub(crate) fn open_or_make(path: &Path) -> Result<Self, FolderError> {
        match Self::open(path) {
            Err(FolderError::Missing(_)) => {}
            opened => return opened,
        }
        make(path, if path == Path::new(SYSTEM_SPOOL) { SYSTEM_MODE } else { OWN_MODE })?;
        Self::open(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its permission bits, as they were when it was opened.
    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    /// The open folder, to open files in.
    pub(crate) fn dir(&self) -> &File {
        &self.dir
    }

    /// The groups that a file's owner has shown to be in by giving the file one.
    pub(crate) fn gids_of(&self, file_gid: u32) -> Vec<u32> {
        if self.is_groups_word_worthless { Vec::new() } else { vec![file_gid] }
    }

    /// Makes the names in it durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    /// What is in it. Bounded: see the constants of this module.
    pub(crate) fn list(&self) -> Result<Listing, FolderError> {
        let failed = |error: rustix::io::Errno| fault("list", &self.path)(error.into());
        let mut listing = Listing { is_complete: true, ..Listing::default() };
        // Of its own, from the beginning: a position is shared by all who use one descriptor.
        for (looked_at, entry) in Dir::read_from(&self.dir).map_err(failed)?.enumerate() {
            if looked_at >= ENTRIES_MAX {
                listing.is_complete = false;
                break;
            }
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            // Unfinished ones, this folder and the one above begin with it.
            if name.starts_with(spool::UNFINISHED_PREFIX.as_bytes()) || name == BAD.as_bytes() {
                continue;
            }
            match self.judge(name) {
                Ok(Some(found)) => listing.add(found),
                // Gone while we looked.
                Ok(None) => {}
                Err(why) => listing.add_strange(name, why),
            }
        }
        listing.put_in_order();
        Ok(listing)
    }

    fn judge(&self, name: &[u8]) -> Result<Option<Found>, &'static str> {
        let name = std::str::from_utf8(name).ok().filter(|name| spool::parse_name(name).is_some());
        let Some((name, (producer, first))) = name.and_then(|name| Some((name, spool::parse_name(name)?)))
        else {
            return Err("its name is not a spool file's");
        };
        let Ok(stat) = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(None);
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err("it is a symbolic link"),
            FileType::Directory => return Err("it is a folder"),
            FileType::Fifo => return Err("it is a pipe"),
            FileType::Socket => return Err("it is a socket"),
            _ => return Err("it is not a regular file"),
        }
        let bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if stat.st_nlink > 1 {
            return Err("it has a second name (a hard link)");
        }
        if bytes > super::FILE_BYTES_MAX {
            return Err("it is larger than a spool file may be");
        }
        let (modified_s, id) = (stat.st_mtime, (stat.st_dev, stat.st_ino));
        Ok(Some(Found { modified_s, uid: stat.st_uid, producer, first, name: name.to_owned(), bytes, id }))
    }
}

/// Makes a folder with this mode, whatever the umask, and our group.
pub(super) fn make(path: &Path, mode: u32) -> Result<(), FolderError> {
    let mut builder = fs::DirBuilder::new();
    // Where the machine keeps its spools is for an administrator to make.
    builder.mode(OWN_MODE).recursive(mode == OWN_MODE).create(path).map_err(fault("make", path))?;
    if mode != OWN_MODE {
        let group = rustix::process::getegid().as_raw();
        std::os::unix::fs::chown(path, None, Some(group)).map_err(fault("give to our group", path))?;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(fault("open up", path))?;
    }
    Ok(())
}

/// The oldest first, and one producer's files of the same second in the order of their numbers.
fn order(found: &Found) -> (i64, Producer, u64) {
    (found.modified_s, found.producer, found.first)
}

impl Listing {
    fn add(&mut self, found: Found) {
        self.files.push(found);
        if self.files.len() >= 2 * FILES_MAX {
            self.put_in_order();
        }
    }

    /// Sorts, and keeps as many as are told of. Owners have their turns, so that one whose files are many, or
    /// stay, does not keep those of others out.
    fn put_in_order(&mut self) {
        self.files.sort_by_key(order);
        let mut of_owner: HashMap<u32, usize> = HashMap::new();
        let mut turns: Vec<(usize, Found)> = self
            .files
            .drain(..)
            .map(|found| {
                let turn = of_owner.entry(found.uid).or_default();
                *turn += 1;
                (*turn, found)
            })
            .collect();
        // Stable: within a turn the oldest first.
        turns.sort_by_key(|(turn, _)| *turn);
        self.files.extend(turns.into_iter().take(FILES_MAX).map(|(_, found)| found));
    }

    fn add_strange(&mut self, name: &[u8], why: &'static str) {
        self.strange_count += 1;
        if self.strange.len() < STRANGE_MAX {
            self.strange.push((printable(name), why));
        }
    }
}

/// A name that anybody may have chosen, so that a log or a terminal takes no harm.
fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars().take(NAME_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn fault(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError + use<> {
    let path = path.to_owned();
    move |source| FolderError::Io { what, path, source }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A review's finding: thousands of old files of one user, who may not even send, kept all others' out.
    #[test]
    fn one_owner_s_many_files_do_not_keep_another_s_out() {
        let found = |uid: u32, first: u64| {
            let producer = Producer::from_bytes([7; 16]);
            let modified_s = i64::try_from(first).unwrap();
            Found { modified_s, uid, producer, first, name: first.to_string(), bytes: 1, id: (1, first) }
        };
        let mut listing = Listing::default();
        let many = 5 * FILES_MAX as u64;
        (0..many).for_each(|first| listing.add(found(1, first)));
        (many..many + 2).for_each(|first| listing.add(found(2, first)));
        listing.put_in_order();
        let told: Vec<(u32, u64)> =
            listing.files.iter().take(4).map(|found| (found.uid, found.first)).collect();
        assert_eq!(told, [(1, 0), (2, many), (1, 1), (2, many + 1)]);
        assert_eq!(listing.files.len(), FILES_MAX);
    }
}
