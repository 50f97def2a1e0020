//! The agent as a process of its own: what it is given, and waiting until it is up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::commands::run::{Card, LOG, open_log};
use crate::config::Surroundings;
use crate::exit::Exit;

/// Variables that the agent is given, beside those that begin with `LC_` or `XDG_`. Never a key.
const KEPT: [&str; 16] = [
    "HOME",
    "PATH",
    "LANG",
    "TZ",
    "TMPDIR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REVENIUM_LOG_LEVEL",
    "REVENIUM_AGENT_SOCKET",
    "REVENIUM_AGENT_SPOOL",
];

/// It is up within a tenth of a second; so much longer on a machine that is busy.
const UP_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// As much of the log's end as is looked at for its last line.
const TAIL_BYTES: usize = 4096;

/// Whether the agent is given the variable `name`.
pub(super) fn is_kept(name: &str) -> bool {
    KEPT.contains(&name) || name.starts_with("LC_") || name.starts_with("XDG_")
}

/// What there is to start.
pub(super) struct Launch<'a> {
    pub(super) program: PathBuf,
    /// As [`is_kept`] leaves them.
    pub(super) around: &'a Surroundings,
    pub(super) data_dir: &'a Path,
    pub(super) socket: &'a Path,
    pub(super) idle_end: Option<Duration>,
}

/// Why it is not up.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotUp {
    /// It cannot be started.
    #[error("cannot start {}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    /// It ended.
    #[error("the agent ended at once ({status}): {last}; its log is {}", log.display())]
    Ended {
        status: ExitStatus,
        /// The last line of its log.
        last: String,
        log: PathBuf,
    },
    /// It takes long, and may be up soon.
    #[error("the agent is not up after {} s; its log is {}", UP_MAX.as_secs(), .0.display())]
    Late(PathBuf),
}

impl NotUp {
    /// The code that `start` ends with: that of the agent, if it has ended.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Ended { status, .. } if status.code() == Some(Exit::Config as i32) => Exit::Config,
            Self::Ended { status, .. } if status.code() == Some(Exit::Temporary as i32) => Exit::Temporary,
            Self::Ended { status, .. } if status.code() == Some(Exit::Bug as i32) => Exit::Bug,
            Self::Late(_) => Exit::Temporary,
            Self::Spawn { .. } | Self::Ended { .. } => Exit::Io,
        }
    }
}

impl Launch<'_> {
    /// Starts it, and returns once it is up.
    pub(super) fn up(&self) -> Result<(), NotUp> {
        let deadline = Instant::now() + UP_MAX;
        let mut child = self.spawn()?;
        loop {
            if Card::read(self.socket).is_some_and(|card| card.pid == child.id()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(NotUp::Late(self.log()));
            }
            thread::sleep(LOOK_EVERY);
            match child.try_wait().map_err(|source| self.not_spawned(source))? {
                // One that is about to end has the log still open.
                Some(status)
                    if status.code() == Some(Exit::Temporary as i32) && Instant::now() < deadline =>
                {
                    thread::sleep(LOOK_EVERY * 10);
                    child = self.spawn()?;
                }
                Some(status) => return Err(self.ended(status)),
                None => {}
            }
        }
    }

    fn spawn(&self) -> Result<Child, NotUp> {
        let spawn = || {
            let log = open_log(&self.log())?;
            let mut command = Command::new(&self.program);
            command.args(["run", "--per-user", "--detached"]);
            if let Some(idle_end) = self.idle_end {
                command.args(["--idle-end", &format!("{}ms", idle_end.as_millis())]);
            }
            command.env_clear().envs(self.around.vars()).current_dir("/");
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
        };
        spawn().map_err(|source| self.not_spawned(source))
    }

    fn log(&self) -> PathBuf {
        self.data_dir.join(LOG)
    }

    fn not_spawned(&self, source: io::Error) -> NotUp {
        NotUp::Spawn { program: self.program.clone(), source }
    }

    fn ended(&self, status: ExitStatus) -> NotUp {
        let text = fs::read(self.log()).unwrap_or_default();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL_BYTES)..]).into_owned();
        let last = tail.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
        NotUp::Ended { status, last, log: self.log() }
    }
}
