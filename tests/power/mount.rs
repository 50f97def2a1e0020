//! A [`Disk`] as a file system that a process can be given, and the switch of its power.
//!
//! The kernel caches nothing of it: files are opened for direct I/O, names and attributes are asked for
//! each time. So what a process wrote and did not flush is here, and here alone.
//!
//! At the operation that it was armed for, the process that uses it is killed before it can hear of
//! anything more; that operation and all that follow are answered with EIO. A write or a new name that
//! was under way may have reached the device, a flush that was under way has promised nothing.
//!
//! It can also be made sick for a while, under a process that goes on.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::content::{Content, SECTOR};
use crate::dice::Dice;
use crate::disk::{Cost, Disk, Lie, Names, Node};
use crate::place::Place;
use crate::sick::Sick;

/// Nothing is remembered by the kernel.
const NOT_AT_ALL: Duration = Duration::ZERO;
/// What the file system says is free of it, in sectors: enough for any reserve.
const FREE: u64 = 8 << 21;
/// What of a mode says what sort of thing it is, and that it is a socket; mknod(2).
const SORT: u32 = 0o170_000;
const SOCKET: u32 = 0o140_000;

/// A disk whose power can be cut, mounted.
pub(crate) struct Mount {
    state: Arc<Mutex<State>>,
    _session: BackgroundSession,
}

struct State {
    disk: Disk,
    sick: Option<Sick>,
    armed: Option<Armed>,
    is_off: bool,
    victim: Option<Pid>,
    struck: Option<Place>,
}

/// When the power goes: after so many rare operations, and then so many of any kind.
#[derive(Debug, Clone, Copy)]
struct Armed {
    rare: u64,
    any: u64,
}

impl Mount {
    /// By this program, as it says, if one is named.
    pub(crate) fn new(at: &Path, lie: Lie, program: Option<&str>) -> Self {
        let fuse = Path::new("/dev/fuse");
        assert!(fuse.exists(), "/dev/fuse is missing: load the module fuse, or give it to this container");
        let disk = Disk::new(lie);
        let state = State { disk, sick: None, armed: None, is_off: false, victim: None, struck: None };
        let state = Arc::new(Mutex::new(state));
        let mut config = Config::default();
        // Not by `Subtype`, which `fuser` tells nobody where it mounts by itself.
        config.mount_options.extend(program.map(|name| MountOption::CUSTOM(format!("subtype={name}"))));
        let session = fuser::spawn_mount(Served(Arc::clone(&state)), at, &config);
        let session = session.unwrap_or_else(|error| {
            panic!("cannot mount a FUSE file system at {}, which takes root: {error}", at.display())
        });
        Self { state, _session: session }
    }

    /// It is sick from now on, or well again.
    #[allow(dead_code, reason = "the power test has a healthy one")]
    pub(crate) fn set_sick(&self, sick: Option<Sick>) {
        self.lock().sick = sick;
    }

    /// The power goes after so many rare operations, and then after so many of any kind.
    pub(crate) fn arm(&self, rare: u64, any: u64) {
        self.lock().armed = Some(Armed { rare, any });
    }

    /// Who is killed by it.
    pub(crate) fn set_victim(&self, pid: Pid) {
        let mut state = self.lock();
        state.victim = Some(pid);
        if state.is_off {
            state.kill();
        }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.lock().is_off
    }

    /// The power is back: what is there is what the cut left. The process that used it is gone.
    pub(crate) fn restore(&self, dice: &mut Dice) -> (Option<Place>, Cost) {
        let mut state = self.lock();
        let cost = state.disk.cut(dice);
        state.is_off = false;
        (state.armed, state.victim) = (None, None);
        (state.struck.take(), cost)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kill(&self) {
        if let Some(pid) = self.victim {
            // An error if it has ended by itself, which its owner will see.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Whether the power goes with this operation.
    fn strikes(&mut self, place: impl FnOnce(&Disk) -> Place) -> Result<bool, Errno> {
        if self.is_off {
            return Err(Errno::EIO);
        }
        let Some(armed) = &mut self.armed else { return Ok(false) };
        let place = place(&self.disk);
        if armed.rare > 0 {
            armed.rare -= u64::from(place.is_rare());
            return Ok(false);
        }
        if armed.any > 0 {
            armed.any -= 1;
            return Ok(false);
        }
        (self.is_off, self.struck) = (true, Some(place));
        self.kill();
        Ok(true)
    }

    fn change<T>(
        &mut self,
        place: impl Fn(&Disk) -> Place,
        change: impl FnOnce(&mut Disk) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.sick.as_ref().map_or(Ok(()), |sick| sick.change(&place(&self.disk)))?;
        let strikes = self.strikes(place)?;
        let done = change(&mut self.disk);
        if strikes { Err(Errno::EIO) } else { done }
    }

    fn flush(
        &mut self,
        ino: u64,
        place: impl Fn(&Disk) -> Place,
        flush: impl FnOnce(&mut Disk) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.sick.as_ref().map_or(Ok(()), |sick| sick.flush(&place(&self.disk), &mut self.disk, ino))?;
        if self.strikes(place)? { Err(Errno::EIO) } else { flush(&mut self.disk) }
    }

    fn read(&self) -> Result<&Disk, Errno> {
        if self.is_off { Err(Errno::EIO) } else { Ok(&self.disk) }
    }

    fn attributes(&self, ino: u64) -> Result<FileAttr, Errno> {
        let (kind, bytes) = match self.read()?.node(ino)? {
            Node::File(content) => (FileType::RegularFile, content.now.len() as u64),
            Node::Dir(_) => (FileType::Directory, 0),
            Node::Socket => (FileType::Socket, 0),
        };
        Ok(FileAttr {
            ino: INodeNo(ino),
            size: bytes,
            blocks: bytes.div_ceil(SECTOR as u64),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: if kind == FileType::Directory { 0o700 } else { 0o600 },
            nlink: 1,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// The kernel's questions.
struct Served(Arc<Mutex<State>>);

impl Served {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, dir: INodeNo, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        let mut state = self.lock();
        let ino = state.change(|_| Place::named(name, "made"), |disk| disk.make(dir.0, name, node))?;
        state.attributes(ino)
    }
}

fn answer<T, R>(result: Result<T, Errno>, reply: R, ok: impl FnOnce(R, T), error: impl FnOnce(R, Errno)) {
    match result {
        Ok(value) => ok(reply, value),
        Err(errno) => error(reply, errno),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.lock();
        let found = state.read().and_then(|disk| disk.look_up(parent.0, name));
        let found = found.and_then(|ino| state.attributes(ino));
        answer(found, reply, |r, attr| r.entry(&NOT_AT_ALL, &attr, Generation(0)), ReplyEntry::error);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer(self.lock().attributes(ino.0), reply, |r, attr| r.attr(&NOT_AT_ALL, &attr), ReplyAttr::error);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.lock();
        let done = size.map_or(Ok(()), |size| {
            let place = |disk: &Disk| Place::named(disk.name_of(ino.0), "given a length");
            state.change(place, |disk| {
                disk.file(ino.0)?.set_length(number(size));
                Ok(())
            })
        });
        let attr = done.and_then(|()| state.attributes(ino.0));
        answer(attr, reply, |r, attr| r.attr(&NOT_AT_ALL, &attr), ReplyAttr::error);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.make(parent, name, Node::Dir(Names::default()));
        answer(made, reply, |r, attr| r.entry(&NOT_AT_ALL, &attr, Generation(0)), ReplyEntry::error);
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        if mode & SORT != SOCKET {
            return reply.error(Errno::EPERM);
        }
        let made = self.make(parent, name, Node::Socket);
        answer(made, reply, |r, attr| r.entry(&NOT_AT_ALL, &attr, Generation(0)), ReplyEntry::error);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let place = |_: &Disk| Place::named(name, "removed");
        let done = self.lock().change(place, |disk| disk.remove(parent.0, name));
        answer(done, reply, |r, ()| r.ok(), ReplyEmpty::error);
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(req, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let place = |_: &Disk| Place::renamed(name, new);
        let done = self.lock().change(place, |disk| disk.rename((parent.0, name), (to.0, new)));
        answer(done, reply, |r, ()| r.ok(), ReplyEmpty::error);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let made = self.make(parent, name, Node::File(Content::default()));
        let created = |r: ReplyCreate, attr| {
            r.created(&NOT_AT_ALL, &attr, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
        };
        answer(made, reply, created, ReplyCreate::error);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.lock();
        match state.read().and_then(|disk| disk.node(ino.0)) {
            Ok(Node::File(content)) => reply.data(content.read(number(offset), number(size.into()))),
            Ok(_) => reply.error(Errno::EISDIR),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let place = |disk: &Disk| Place::written(&disk.name_of(ino.0), data);
        let done = self.lock().change(place, |disk| {
            disk.file(ino.0)?.write(number(offset), data);
            Ok(u32::try_from(data.len()).expect("a request is small"))
        });
        answer(done, reply, ReplyWrite::written, ReplyWrite::error);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let place = |disk: &Disk| Place::named(disk.name_of(ino.0), "flushed");
        let done = self.lock().flush(ino.0, place, |disk| disk.flush_file(ino.0));
        answer(done, reply, |r, ()| r.ok(), ReplyEmpty::error);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let done = self.lock().flush(ino.0, |_| Place::names_flushed(), |disk| disk.flush_names(ino.0));
        answer(done, reply, |r, ()| r.ok(), ReplyEmpty::error);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.lock();
        let names = match state.read().and_then(|disk| disk.names(ino.0)) {
            Ok(names) => names,
            Err(errno) => return reply.error(errno),
        };
        // A name that goes while they are listed would shift the others, so places are numbers of files.
        let mut all: Vec<_> = names.iter().map(|(name, ino)| (*ino, name)).collect();
        all.sort_unstable();
        for (ino, name) in all.into_iter().filter(|(ino, _)| *ino > offset) {
            let kind = state.attributes(ino).map_or(FileType::RegularFile, |attr| attr.kind);
            if reply.add(INodeNo(ino), ino, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(2 * FREE, FREE, FREE, 1 << 20, 1 << 20, 512, 255, 512);
    }
}

fn number(n: u64) -> usize {
    usize::try_from(n).expect("64 bits")
}
