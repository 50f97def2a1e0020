//! Connecting to the agent, without waiting, and only to a socket that nobody else can have put there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Connects without waiting, and checks nothing. `WouldBlock` says that somebody listens and has no room
/// now. The stream does not block, and is closed on exec.
pub fn connect_now(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// Fails if the socket at `path` may be somebody else's: in a folder that everybody can write to, anybody
/// may have put it there, and events would go to them.
pub fn check_owner(path: &Path) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let dir = path.parent().unwrap_or(path);
    if !path.starts_with("/tmp") || dir == Path::new("/tmp") {
        return Ok(());
    }
    let owner = fs::metadata(dir)?.uid();
    if owner == own || owner == 0 {
        return Ok(());
    }
    let message = format!("{} belongs to user {owner}", dir.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// Connects to the first of `places` where somebody listens; else what came of each.
pub(crate) fn connect_first(places: &[PathBuf]) -> Result<(UnixStream, &PathBuf), Vec<(PathBuf, io::Error)>> {
    let mut tried = Vec::new();
    for place in places {
        match check_owner(place).and_then(|()| connect_now(place)) {
            Ok(stream) => return Ok((stream, place)),
            Err(error) => tried.push((place.clone(), error)),
        }
    }
    Err(tried)
}
