//! The control socket: `control.sock` in the data directory, for the agent's own user and root.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;

use crate::intake::Peer;

/// Its name in the data directory.
const NAME: &str = "control.sock";

/// Longest answer that is read, far above any status.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// How long one read or write of [`ask`] may take.
const ASK_TIME_MAX: Duration = Duration::from_secs(5);

/// The bound control socket; its file goes when it is dropped.
pub struct ControlSocket {
    path: PathBuf,
}

impl ControlSocket {
    /// Binds the socket in `data_dir`, with mode 0600 from the first moment.
    ///
    /// A socket that nobody answers on is replaced; if an agent answers, the error's kind is
    /// `AddrInUse`. Two agents that start in the same instant are told apart by the log's lock.
    pub fn bind(data_dir: &Path) -> io::Result<(UnixListener, Self)> {
        let path = data_dir.join(NAME);
        if let Ok(stream) = UnixStream::connect(&path) {
            let holder = Peer::of(&stream).ok().and_then(|peer| peer.pid);
            let holder = holder.map_or_else(String::new, |pid| format!(", process {pid}"));
            let message = format!("another agent answers there{holder}");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        // Not longer than the socket's own name, since socket paths are short.
        let new = data_dir.join(format!(".ctl.{}", std::process::id()));
        // Only we can have left one behind: the name holds our process id.
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        let placed =
            fs::set_permissions(&new, Permissions::from_mode(0o600)).and_then(|()| fs::rename(&new, &path));
        if let Err(error) = placed {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        Ok((listener, Self { path }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Asks the agent on `data_dir` for `path` and returns the body of its answer.
pub fn ask(data_dir: &Path, path: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(data_dir.join(NAME))?;
    stream.set_read_timeout(Some(ASK_TIME_MAX))?;
    stream.set_write_timeout(Some(ASK_TIME_MAX))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    if head.split_ascii_whitespace().nth(1) != Some("200") {
        let first = head.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("it answered {first:?}: {}", body.trim())));
    }
    Ok(body.to_owned())
}
