//! The socket in the file system: bound, watched, and given up cleanly.
//!
//! Binding never steals: a socket file is removed only if nobody answers on it, decided while
//! the directory is locked, so that two agents starting together cannot remove each other's.
//! The file has its mode before the first connection is possible. A path that vanishes (a
//! cleaner of `/tmp`, a careless `rm`) is bound again; connections made before stay. A socket that
//! the service manager passes is its own, path and all: it outlives us, so we close it to nobody.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use revenium_emitter::link;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

use super::peer::Peer;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    pub(super) socket: UnixListener,
    /// What makes the path ours; `None`: it is the service manager's.
    own: Option<Own>,
}

#[derive(Debug, Clone, Copy)]
struct Own {
    mode: u32,
    backlog: i32,
    /// Device and inode of the socket file.
    file: (u64, u64),
}

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers there. It is left alone.
    #[error("{} is in use{}", path.display(), pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Who listens, where the kernel tells it.
        pid: Option<u32>,
    },
    /// Something that is not a socket is there. It is left alone.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The kernel takes shorter paths only.
    #[error("the socket's path is longer than 107 bytes: {}", .0.display())]
    PathTooLong(PathBuf),
    /// Somebody else could replace the socket.
    #[error("{} is not safe for a socket: {what}", dir.display())]
    UnsafeDirectory {
        /// The socket's directory.
        dir: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The service manager passes a socket that is elsewhere.
    #[error(
        "systemd passes {}: let ListenStream= of revenium-agent.socket and socket.path name the same path",
        passed.as_ref().map_or("a socket without a path".into(), |path| path.display().to_string())
    )]
    PassedElsewhere {
        /// Where it is, if it has a path.
        passed: Option<PathBuf>,
    },
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Listener {
    /// Binds `path`, creating its directory if need be. Call it inside the runtime.
    pub fn bind(path: &Path, mode: u32, backlog: i32) -> Result<Self, BindError> {
        Self::bind_trying(path, mode, backlog, LOCK_TRIES)
    }

    /// Takes over a socket that the service manager listens on at `path`. It must not block. Call it
    /// inside the runtime.
    pub fn passed(socket: StdListener, path: &Path) -> Result<Self, BindError> {
        let address = socket.local_addr().map_err(fault("look at", path))?;
        if address.as_pathname() != Some(path) {
            return Err(BindError::PassedElsewhere { passed: address.as_pathname().map(Path::to_owned) });
        }
        let socket = UnixListener::from_std(socket).map_err(fault("listen on", path))?;
        Ok(Self { path: path.to_owned(), socket, own: None })
    }

    fn bind_trying(path: &Path, mode: u32, backlog: i32, lock_tries: u32) -> Result<Self, BindError> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let address = SocketAddrUnix::new(path).map_err(|_| BindError::PathTooLong(path.to_owned()))?;
        prepare(dir, mode)?;
        // Held until bound, by whoever is between looking and binding.
        let _locked = lock(dir, lock_tries)?;
        remove_stale(path)?;
        let socket = listening(&address, path, mode, backlog)?;
        let file = identity(path).map_err(fault("look at", path))?;
        Ok(Self { path: path.to_owned(), socket, own: Some(Own { mode, backlog, file }) })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this socket, as far as that is ours to see to.
    pub(super) fn is_in_place(&self) -> bool {
        self.own.is_none_or(|own| identity(&self.path).is_ok_and(|file| file == own.file))
    }

    /// Whether it is ours, and ends with us. Another outlives us, and what waits there is for the next.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Binds the path again after it vanished, and returns the old socket, whose waiting
    /// connections are still to be accepted. `None` if it is not ours to bind.
    pub(super) fn rebind(&mut self) -> Result<Option<UnixListener>, BindError> {
        let Some(Own { mode, backlog, .. }) = self.own else { return Ok(None) };
        // One try for the lock: this runs beside the connections and must not wait.
        let new = Self::bind_trying(&self.path, mode, backlog, 1)?;
        Ok(Some(std::mem::replace(self, new).socket))
    }

    /// Takes the path away and lets nobody else connect, if it is ours. What waits can still be accepted.
    pub(super) fn close_to_new(&self) {
        if !self.is_own() {
            return;
        }
        if self.is_in_place() {
            // A path that cannot be removed is stale, and the next agent will see that.
            let _ = fs::remove_file(&self.path);
        }
        close_to_new(&self.socket);
    }
}

/// Refuses further connections at `socket`; those that wait can still be accepted.
pub(super) fn close_to_new(socket: &UnixListener) {
    // Fails only on a socket that isn't connected or listening; ours is.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Read);
}

fn listening(
    address: &SocketAddrUnix,
    path: &Path,
    mode: u32,
    backlog: i32,
) -> Result<UnixListener, BindError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| fault("make a socket for", path)(errno.into()))?;
    rustix::net::bind(&socket, address).map_err(|errno| fault("bind", path)(errno.into()))?;
    // Before listening: until then nobody can connect, whatever the umask made of the mode.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(fault("set the mode of", path))?;
    rustix::net::listen(&socket, backlog).map_err(|errno| fault("listen on", path)(errno.into()))?;
    UnixListener::from_std(StdListener::from(socket)).map_err(fault("listen on", path))
}

/// Creates `dir` if it is missing and sees that nobody but us and root can change what is in it.
fn prepare(dir: &Path, socket_mode: u32) -> Result<(), BindError> {
    // A socket for others needs a directory they can pass through.
    let dir_mode = if socket_mode & 0o077 == 0 { 0o700 } else { 0o755 };
    create_all(dir, dir_mode).map_err(fault("create", dir))?;
    let found = fs::metadata(dir).map_err(fault("look at", dir))?;
    let own = rustix::process::geteuid().as_raw();
    let unsafe_because = |what: String| Err(BindError::UnsafeDirectory { dir: dir.to_owned(), what });
    if found.uid() != own && found.uid() != 0 {
        return unsafe_because(format!("it belongs to user {}, not to {own} or root", found.uid()));
    }
    let is_sticky = found.mode() & 0o1000 != 0;
    if found.mode() & 0o002 != 0 && !is_sticky {
        return unsafe_because(format!("everybody can write to it (mode {:04o})", found.mode() & 0o7777));
    }
    Ok(())
}

/// Makes `dir` and what is missing above it, with this mode whatever the umask.
fn create_all(dir: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && fs::metadata(dir).is_err()).collect();
    for dir in missing.into_iter().rev() {
        match fs::DirBuilder::new().mode(mode).create(dir) {
            Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(mode))?,
            // By another agent, meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    if !fs::metadata(dir)?.is_dir() {
        return Err(rustix::io::Errno::EXIST.into());
    }
    Ok(())
}

/// Tries for a lock on the directory: 2 seconds in all, in which the other agent has long bound.
const LOCK_TRIES: u32 = 40;
const LOCK_TRY_EVERY: Duration = Duration::from_millis(50);

fn lock(dir: &Path, tries: u32) -> Result<fs::File, BindError> {
    let file = fs::File::open(dir).map_err(fault("open", dir))?;
    for left in (0..tries).rev() {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if left > 0 => thread::sleep(LOCK_TRY_EVERY),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            // Locked, or on a file system without locks: then only the race remains.
            _ => return Ok(file),
        }
    }
    Err(fault("lock", dir)(io::ErrorKind::TimedOut.into()))
}

/// Removes a socket file that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault("look at", path)(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match link::connect_now(path) {
        Ok(stream) => {
            let pid = Peer::of(&stream).ok().and_then(|peer| peer.pid);
            Err(BindError::InUse { path: path.to_owned(), pid })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(fault("remove", path))
        }
        // A full backlog: somebody listens and is busy.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::InUse { path: path.to_owned(), pid: None })
        }
        Err(error) => Err(fault("connect to", path)(error)),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn fault<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BindError + 'a {
    move |source| BindError::Io { what, path: path.to_owned(), source }
}
