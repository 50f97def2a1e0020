//! `start`: sees to it that an agent of this user's runs, unless there should be none.
//!
//! For clients, of any language: all rules about when and how an agent is started are here. It ends soon; the
//! agent that it starts is `run --per-user`, nobody's child, and ends by itself. Of any number of processes that
//! start one together exactly one comes, since all this happens under one lock. An older agent that was
//! started so gives way to a newer one.

mod agent;
mod binary;
mod launch;
mod rule;
mod version;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use revenium_emitter::place::SYSTEM_SOCKET;
use rustix::fs::FlockOperation;
use serde::Serialize;

use self::agent::Answering;
use self::binary::Copies;
use self::launch::{Launch, is_kept};
use self::rule::{Found, Reason, objection};
use self::version::Version;
use super::print;
use crate::config::{Config, ConfigError, Flags, MACHINE_FILE, Surroundings, parse_duration};
use crate::exit::{Exit, Failure, OrExit};
use crate::guarantee;
use crate::inherited;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Held by whoever looks and starts, in the data directory.
const LOCK: &str = "start.lock";

/// For others who hold the lock: the longest that one of them takes.
const LOCK_MAX: Duration = Duration::from_secs(60);
const LOCK_TRY_EVERY: Duration = Duration::from_millis(20);

/// What is said of it, for `--help`.
const AFTER_HELP: &str = "\
Prints one line of JSON: {\"state\":\"running\"|\"started\"|\"taken_over\",\"socket\":…,\"version\":…}, or \
{\"state\":\"not_started\",\"reason\":…,\"code\":…} and exits with 4: none is started for root, in a service of \
systemd, in CI, on a serverless platform, beside the machine's agent or one of the user's own configuration, or \
with the log on a network file system. REVENIUM_AGENT_AUTOSTART=1 starts one all the same, 0 never does.

The agent keeps its log in the user's state folder, and what it logs in agent.log there.";

/// See to it that an agent of this user's runs, unless there should be none
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct StartArgs {
    /// The agent ends once nothing has waited and nobody was connected for so long [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle_end: Option<Duration>,
}

/// What came of it, as it is printed.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Came<'a> {
    /// It runs already.
    Running { socket: &'a Path, version: Option<&'a str> },
    /// It was started.
    Started { socket: &'a Path, version: &'a str },
    /// It was started in the place of an older one.
    TakenOver { socket: &'a Path, version: &'a str },
    /// There should be none.
    NotStarted { reason: String, code: &'a str },
}

/// Starts one, if there should be one and is none.
pub fn run(args: &StartArgs) -> Result<Exit, Failure> {
    // The agent has them from here.
    inherited::reset_signals();
    let around = Surroundings::of_process();
    // As the agent itself will see it.
    let handed = around.only(is_kept);
    let flags = Flags { per_user: true, ..Flags::default() };
    let (config, problems) = Config::inspect(&flags, &handed);
    if let Some(reason) = may_not(&around, &config)? {
        say(&Came::NotStarted { reason: reason.to_string(), code: reason.code() })?;
        return Ok(Exit::NotStarted);
    }
    if !problems.is_empty() {
        return Err(ConfigError { problems }).or_exit(Exit::Config, "the agent's settings cannot be used");
    }
    let (data_dir, socket) = (&config.data_dir, &config.socket.path);
    let _lock = lock(data_dir)?;
    let copies = Copies::new(&data_home(&handed)?);
    let own = Version::parse(VERSION).ok_or_else(|| Failure::new(Exit::Bug, "its own version is none"))?;
    let at = |socket: &Path| format!("cannot use the agent at {}", socket.display());
    let before = Answering::at(socket).or_exit(Exit::Io, at(socket))?;
    let outdated = match &before {
        Some(before) => before.outdated(&copies, &own).or_exit(Exit::Temporary, at(socket))?,
        None => None,
    };
    if let (Some(before), None) = (&before, &outdated) {
        say(&Came::Running { socket, version: before.version() })?;
        return Ok(Exit::Ok);
    }
    let program = std::env::current_exe().or_exit(Exit::Io, "cannot find this program")?;
    let program = copies.of(&program, VERSION).or_exit(Exit::Io, "cannot copy this program")?;
    // Only now: an older one is better than none.
    if let Some(outdated) = &outdated {
        outdated.end().or_exit(Exit::Temporary, at(socket))?;
    }
    let launch = Launch { program, around: &handed, data_dir, socket, idle_end: args.idle_end };
    launch.up().map_err(|error| Failure { exit: error.exit(), error: error.into() })?;
    copies.remove_older(&own);
    let version = VERSION;
    say(&match outdated {
        Some(_) => Came::TakenOver { socket, version },
        None => Came::Started { socket, version },
    })?;
    Ok(Exit::Ok)
}

fn say(came: &Came<'_>) -> Result<(), Failure> {
    let line = serde_json::to_string(came).or_exit(Exit::Io, "cannot say it: a path is not UTF-8")?;
    print(&(line + "\n"))
}

/// Why there should be none.
fn may_not(around: &Surroundings, config: &Config) -> Result<Option<Reason>, Failure> {
    let var = |name: &str| {
        let value = around.raw(name).filter(|value| !value.is_empty())?;
        Some(value.to_string_lossy().into_owned())
    };
    let machine = [SYSTEM_SOCKET, MACHINE_FILE].map(PathBuf::from);
    let found = Found {
        var: &var,
        uid: around.uid,
        cgroup: fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        socket: config.socket.path.clone(),
        // A folder that may not be looked into is there because of it.
        machine: machine.into_iter().find(|path| path.try_exists().unwrap_or(true)),
        own_config: around.own_config().filter(|path| path.exists()),
        // What cannot be looked at is told of when it is used.
        network_fs: guarantee::network(&config.data_dir).ok().flatten(),
    };
    objection(&found).or_exit(Exit::Config, "cannot tell whether to start an agent")
}

/// `$XDG_DATA_HOME`, else `~/.local/share`.
fn data_home(around: &Surroundings) -> Result<PathBuf, Failure> {
    let home = || Some(around.dir("HOME")?.join(".local/share"));
    let dir = around.dir("XDG_DATA_HOME").or_else(home);
    dir.ok_or_else(|| Failure::new(Exit::Config, "there is no place for the agent: HOME is not set"))
}

/// Makes the data directory, and waits for whoever else is starting one. Held until it is dropped.
fn lock(data_dir: &Path) -> Result<File, Failure> {
    let path = data_dir.join(LOCK);
    let open = || {
        DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)
    };
    let file = open().or_exit(Exit::Io, format_args!("cannot open {}", path.display()))?;
    let deadline = Instant::now() + LOCK_MAX;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(LOCK_TRY_EVERY),
            Err(error) => {
                let error = io::Error::from(error);
                let context = format!("cannot lock {}: another `start` is at it", path.display());
                return Err(error).or_exit(Exit::Temporary, context);
            }
        }
    }
}
