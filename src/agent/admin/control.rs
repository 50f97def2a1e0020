//! The control socket: `control.sock` in the data directory, for the agent's own user and root.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;

use crate::desk::Trouble;
use crate::intake::Peer;

/// Its name in the data directory.
const NAME: &str = "control.sock";

/// Longest answer that is read, far above any status.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// How long one read or write of [`ask`] may take.
const ASK_TIME_MAX: Duration = Duration::from_secs(5);

/// The same for [`post`]: longer than the agent takes for the longest exchange.
const POST_TIME_MAX: Duration = Duration::from_secs(30);

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

/// Whether an agent has its control socket there, or had when it was killed.
pub fn has_control_socket(data_dir: &Path) -> bool {
    data_dir.join(NAME).exists()
}

/// Why there is no answer to a [`post`].
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The agent did not do it, and says why.
    #[error("{0}")]
    Refused(Trouble),
    /// No agent answers there, or not in a way that can be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Asks the agent on `data_dir` for `path` and returns the body of its answer.
pub fn ask(data_dir: &Path, path: &str) -> io::Result<String> {
    let (head, body) = exchange(data_dir, &format!("GET {path} HTTP/1.0\r\n\r\n"), ASK_TIME_MAX)?;
    if status(&head) != Some("200") {
        return Err(unexpected(&head, &body));
    }
    Ok(body)
}

/// Asks the agent on `data_dir` to do `request` and returns what it says of it.
pub fn post<T: DeserializeOwned>(
    data_dir: &Path,
    path: &str,
    request: &impl Serialize,
) -> Result<T, AskError> {
    let request = serde_json::to_string(request).map_err(io::Error::from)?;
    let bytes = request.len();
    let request = format!("POST {path} HTTP/1.0\r\ncontent-length: {bytes}\r\n\r\n{request}");
    let (head, body) = exchange(data_dir, &request, POST_TIME_MAX)?;
    if status(&head) != Some("200") {
        return match serde_json::from_str(&body) {
            Ok(trouble) => Err(AskError::Refused(trouble)),
            Err(_) => Err(unexpected(&head, &body).into()),
        };
    }
    Ok(serde_json::from_str(&body).map_err(io::Error::from)?)
}

/// Sends a request; the head and the body of its answer.
fn exchange(data_dir: &Path, request: &str, time_max: Duration) -> io::Result<(String, String)> {
    let mut stream = UnixStream::connect(data_dir.join(NAME))?;
    stream.set_read_timeout(Some(time_max))?;
    stream.set_write_timeout(Some(time_max))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((head.to_owned(), body.to_owned()))
}

fn status(head: &str) -> Option<&str> {
    head.split_ascii_whitespace().nth(1)
}

fn unexpected(head: &str, body: &str) -> io::Error {
    let first = head.lines().next().unwrap_or_default();
    io::Error::other(format!("it answered {first:?}: {}", body.trim()))
}
