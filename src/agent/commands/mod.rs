//! What the command line can ask for: one module each.

pub mod check;
pub mod completions;
pub mod dlq;
pub mod doctor;
pub mod exec;
pub mod flush;
pub mod gateway;
pub mod log;
pub mod man;
pub mod profile;
pub mod reconcile;
pub mod run;
pub mod sandbox;
pub mod send;
pub mod setup;
pub mod start;
pub mod status;
mod upstream;
pub mod whereabouts;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::admin::{self, AskError, Status};
use crate::cli::{self, ConfigArgs, ListenArgs};
use crate::config::{Config, Surroundings};
use crate::exit::{Exit, Failure, OrExit};

/// Prints to stdout. A reader that went away (`check | head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    // What has no line end yet may be what somebody waits beside.
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).or_exit(Exit::Io, "cannot write to stdout")
        }
        _ => Ok(()),
    }
}

/// Where the agent that these arguments mean has its control socket: the one that this user's shell would
/// run, if it is there, else the machine's.
fn data_dir(config: &ConfigArgs) -> Result<PathBuf, Failure> {
    let flags = cli::flags(config, &ListenArgs::default());
    let located = |around: Surroundings| {
        Config::locate_data_dir(&flags, &around).or_exit(Exit::Config, "the configuration cannot be used")
    };
    match located(Surroundings::of_process()) {
        Ok(own) if admin::has_control_socket(&own) => Ok(own),
        // Or whoever asks has no home.
        _ => located(Surroundings::of_agent(config.config.as_deref())),
    }
}

/// The log that some arguments mean.
struct LogPlace {
    /// Its folder.
    log: PathBuf,
    data_dir: PathBuf,
    around: Surroundings,
}

impl LogPlace {
    /// Whether or not an agent runs: the user's own log if there is one, else the machine's.
    fn of(config: &ConfigArgs) -> Result<Self, Failure> {
        let flags = cli::flags(config, &ListenArgs::default());
        let located = |around: Surroundings| {
            let data_dir = Config::locate_data_dir(&flags, &around);
            let data_dir = data_dir.or_exit(Exit::Config, "the configuration cannot be used")?;
            Ok(Self { log: data_dir.join(run::LOG_DIR), data_dir, around })
        };
        match located(Surroundings::of_process()) {
            Ok(own) if own.log.exists() => Ok(own),
            // Or whoever asks has no home.
            _ => located(Surroundings::of_agent(config.config.as_deref())),
        }
    }
}

/// Ranges of (first, first after) for people, not too many of them.
fn ranges(ranges: &[(u64, u64)]) -> String {
    const SHOWN_MAX: usize = 20;
    let one = |(first, after): &(u64, u64)| match after - first {
        1 => first.to_string(),
        _ => format!("{first}-{}", after - 1),
    };
    let shown: Vec<String> = ranges.iter().take(SHOWN_MAX).map(one).collect();
    let more = if ranges.len() > SHOWN_MAX { ", …" } else { "" };
    shown.join(", ") + more
}

/// `1 event`, `2 events`.
fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// RFC 3339 in UTC, to the second.
fn time(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| ms.to_string(), |at| at.to_string())
}

/// A body as the object that it is; what is no JSON, for whatever reason, is a text.
fn as_object(body: &str) -> serde_json::Result<Box<RawValue>> {
    let text = || serde_json::to_string(body).and_then(RawValue::from_string);
    RawValue::from_string(revenium_event::compact(body)).or_else(|_| text())
}

/// A new file that only its owner can read.
fn create_private(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.or_exit(Exit::Io, format_args!("cannot make {}; it must not be there yet", path.display()))
}

/// How the agent on `data_dir` does.
fn status_of(data_dir: &Path) -> Result<Status, Failure> {
    let json = admin::ask(data_dir, "/status").map_err(|error| no_answer(data_dir, &error))?;
    serde_json::from_str(&json)
        .or_exit(Exit::Usage, "the agent's answer cannot be read; is it of another version?")
}

/// Asks the agent on `data_dir` to do something. What it does not do is a failure (1), no agent is
/// `Usage` (2).
fn asked<T: DeserializeOwned>(data_dir: &Path, path: &str, request: &impl Serialize) -> Result<T, Failure> {
    admin::post(data_dir, path, request).map_err(|error| match error {
        AskError::Refused(trouble) => Failure::new(Exit::Failure, plain(&trouble.to_string())),
        AskError::Io(error) => no_answer(data_dir, &error),
    })
}

fn no_answer(data_dir: &Path, error: &io::Error) -> Failure {
    let dir = data_dir.display();
    let message = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("no agent runs on {dir}; another data directory is named with --data-dir or --config")
        }
        io::ErrorKind::PermissionDenied => {
            format!("cannot ask the agent on {dir}: {error}; ask as its own user or root")
        }
        _ => format!("cannot ask the agent on {dir}: {error}"),
    };
    Failure::new(Exit::Usage, message)
}

/// Without control characters, which a terminal might obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
