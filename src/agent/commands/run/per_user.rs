//! What `run --per-user` does beside `run`: it says who it is beside its socket, ends when nobody needs it,
//! and, `--detached`, has nothing of whoever started it.
//!
//! It ends once nothing waits to be delivered, no spool file is left and nobody is connected, for as long as
//! `--idle-end` says and without a break. Dead letters do not hold it: they wait for a person.
//! Its log is what standard error was opened as; it is moved aside before it grows beyond [`LOG_BYTES_MAX`].

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::warn;

use super::{Ready, Shell};
use crate::desk::FlushRequest;
use crate::{inherited, whole};

/// Without anything to do for so long, it ends.
const IDLE_END: Duration = Duration::from_secs(600);

/// How often it looks whether it has something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The word for its end when nobody needs it.
pub(super) const UNNEEDED: &str = "nothing to do";

/// For the delivery of what came just as it was about to end. What is left by then is in the log.
const LAST_MAX: Duration = Duration::from_secs(10);
const LOOK_LAST_EVERY: Duration = Duration::from_millis(20);

/// A log of this size is moved aside, so both together have twice that at most, and a second's lines.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// The log of a detached agent, in its data directory.
pub(crate) const LOG: &str = "agent.log";

/// What is beside the socket while it listens: [`Ready`], and who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Card {
    #[serde(flatten)]
    pub(crate) ready: Ready,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) per_user: bool,
    /// Whether what is durable here goes with the container or the machine.
    pub(crate) ephemeral: bool,
}

impl Card {
    /// Where it is for an agent that listens on `socket`.
    pub(crate) fn path(socket: &Path) -> PathBuf {
        socket.with_file_name("agent.json")
    }

    /// That of whoever has `socket`, if there is one that can be read.
    pub(crate) fn read(socket: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(socket)).ok()?).ok()
    }
}

/// The card of a running agent; it goes when this is dropped.
pub(super) struct Shown {
    path: PathBuf,
}

impl Shown {
    /// Writes it, for this user alone.
    pub(super) fn new(socket: &Path, ready: Ready, ephemeral: bool) -> io::Result<Self> {
        let path = Card::path(socket);
        let card = Card {
            ready,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            per_user: true,
            ephemeral,
        };
        whole::write(&path, 0o600, &mut (serde_json::to_string(&card)? + "\n").as_bytes())?;
        Ok(Self { path })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes this process nobody's: no terminal and no descriptor is its caller's any more. First of all, while
/// nothing of its own is open.
pub(super) fn detach() {
    // Fails for the leader of a process group, who has the terminal because a person gave it.
    let _ = rustix::process::setsid();
    inherited::close();
}

/// Returns once there was nothing to do for `idle`, [`IDLE_END`] if that is not said. Looks after the log too,
/// if it is a file that `start` opened.
pub(super) async fn idle(shell: &Shell, idle: Option<Duration>, is_detached: bool) -> &'static str {
    let idle = idle.unwrap_or(IDLE_END);
    let (mut since, mut commits) = (Instant::now(), 0);
    loop {
        tokio::time::sleep(LOOK_EVERY.min(idle)).await;
        if is_detached && let Err(error) = bound_log(&shell.config.data_dir.join(LOG)) {
            warn!(%error, "the log cannot be moved aside");
        }
        let stats = shell.board.queue_stats().unwrap_or_default();
        let status = shell.board.spool_status().unwrap_or_default();
        let is_busy = shell.metrics.connections() > 0
            || stats.lanes.iter().any(|lane| lane.waiting > 0)
            || status.waiting_files > 0
            || !shell.board.waiting_for().is_empty()
            // Somebody was here since the last look.
            || std::mem::replace(&mut commits, stats.commits) != stats.commits;
        if is_busy {
            since = Instant::now();
        } else if since.elapsed() >= idle {
            return UNNEEDED;
        }
    }
}

/// What came after the last look, and was acknowledged, would wait for whoever starts the next agent.
pub(super) async fn deliver_the_last(shell: &Shell) {
    let deadline = Instant::now() + LAST_MAX;
    while has_waiting(shell).await && Instant::now() < deadline {
        tokio::time::sleep(LOOK_LAST_EVERY).await;
    }
}

/// As `flush` sees it, which follows the log to its end first.
async fn has_waiting(shell: &Shell) -> bool {
    let Some(desk) = shell.board.desk() else { return false };
    desk.flush(FlushRequest { upto: None }).await.is_ok_and(|answer| !answer.waiting.is_empty())
}

/// Opens the log at `path`, for this user alone. One that is large is moved aside.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    let is_large = fs::metadata(path).is_ok_and(|meta| meta.len() >= LOG_BYTES_MAX);
    if is_large {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Goes on in a new file if the log has become large.
fn bound_log(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() < LOG_BYTES_MAX) {
        return Ok(());
    }
    let log = open_log(path)?;
    rustix::stdio::dup2_stdout(&log)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(())
}
