//! `doctor`: what may be wrong between an application and Revenium, each with its cause and the next step.
//!
//! It looks and changes nothing: no log is opened, no agent is started (not even by a connection to a
//! socket that systemd holds), no file is written. All that leaves the machine is a name lookup, a
//! connection and one POST without a body for each profile; none of it with `offline`. It works whoever
//! runs it, beside a running agent or without one; what this user may not look at is `unknown`.
//!
//! Bounded: each look at the machine ends within [`LOOK_TIME_MAX`], each profile's upstream has the times
//! that `network` states, and after [`ASK_TIME_MAX`] no further one is asked.
//!
//! One file for each place that a fault can be in; each judges what it is given, with effects at its edge.

mod agent;
mod answer;
mod clock;
mod disk;
mod finding;
mod key;
mod network;
mod owner;
mod proxy;
mod show;
mod socket;
mod spool;
mod upstream;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use self::agent::Standing;
pub use self::finding::{Finding, Id, Level};
use self::owner::Owner;
use crate::cli::{self, ConfigArgs, ListenArgs};
use crate::config::{Config, Flags, MACHINE_FILE, Problem, Surroundings};
use crate::exit::{Exit, Failure, OrExit};
use crate::tasks::blocking;

/// Longest look at one place of this machine: a network file system may never answer.
pub const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

/// After so long, no further profile's upstream is asked.
pub const ASK_TIME_MAX: Duration = Duration::from_secs(60);

/// `doctor`
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The socket that applications send to (socket.path)
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// As a JSON array of {id, level, subject, cause, next}
    #[arg(long)]
    pub json: bool,
    /// Leave out everything that leaves this machine
    #[arg(long)]
    pub offline: bool,
}

/// Looks, and prints what it found.
pub fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let listen = ListenArgs { socket: args.socket.clone(), ..ListenArgs::default() };
    let flags = cli::flags(&args.config, &listen);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_exit(Exit::Io, "cannot start the runtime")?;
    let findings = runtime.block_on(examine(flags, args.offline));
    // A name lookup or a look at a disk that hangs is not waited for.
    runtime.shutdown_background();
    super::print(&if args.json {
        serde_json::to_string_pretty(&findings).or_exit(Exit::Bug, "cannot write JSON")? + "\n"
    } else {
        show::render(&findings, args.offline)
    })?;
    Ok(exit(&findings))
}

/// 78 if an agent would not start with this configuration, 1 for any other problem.
fn exit(findings: &[Finding]) -> Exit {
    let problems = || findings.iter().filter(|finding| finding.level == Level::Problem);
    match problems().any(|finding| finding.id.is_of_configuration()) {
        true => Exit::Config,
        false if problems().next().is_some() => Exit::Failure,
        false => Exit::Ok,
    }
}

/// What every look is given.
struct Case {
    config: Config,
    /// What the agent says of itself.
    standing: Standing,
    /// Whose the agent is.
    owner: Owner,
}

impl Case {
    /// What the agent's service is asked by: a user's own has the user's systemd.
    fn systemctl(&self) -> &'static str {
        let is_machines = self.config.files.iter().any(|file| file == Path::new(MACHINE_FILE));
        let is_own = self.owner.is_us() && self.owner.uid != 0 && !is_machines;
        if is_own { "systemctl --user" } else { "systemctl" }
    }
}

/// Looks everywhere, in the order in which it is best read.
async fn examine(flags: Flags, offline: bool) -> Vec<Finding> {
    let read =
        within(move || Config::inspect(&flags, &Surroundings::of_agent(flags.config.as_deref()))).await;
    let Some((config, problems)) = read else {
        return vec![late(Id::Config, "the configuration and its key files")];
    };
    let mut findings = of_config(&config, &problems);
    let data_dir = config.data_dir.clone();
    let known = within(move || (agent::ask(&data_dir), data_dir)).await;
    let Some((standing, data_dir)) = known else {
        findings.push(late(Id::Agent, &config.data_dir.display().to_string()));
        return findings;
    };
    let owner = Owner::of(&data_dir, &standing);
    let case = Arc::new(Case { config, standing, owner });
    type Look = fn(&Case) -> Vec<Finding>;
    let looks: [(Id, Look); 5] = [
        (Id::Key, key::look),
        (Id::Agent, agent::look),
        (Id::Socket, socket::look),
        (Id::Spool, spool::look),
        (Id::DiskWrite, disk::look),
    ];
    for (id, look) in looks {
        let of_look = case.clone();
        match within(move || look(&of_look)).await {
            Some(found) => findings.extend(found),
            None => findings.push(late(id, "this part of the machine")),
        }
    }
    let heard = if offline { upstream::Heard::default() } else { upstream::ask(&case.config).await };
    let log = case.clone();
    let written_s = within(move || clock::last_written_s(&log.config.data_dir)).await.flatten();
    findings.extend(heard.findings);
    findings.push(clock::judge(&heard.clocks, written_s, clock::now_s(), &data_dir));
    findings
}

/// What the configuration itself says. Keys are looked at by themselves.
fn of_config(config: &Config, problems: &[Problem]) -> Vec<Finding> {
    let next = "mend it; `revenium-agent check` shows what is then in effect";
    let refused = problems.iter().filter(|problem| !problem.is_of_key);
    let mut findings: Vec<Finding> =
        refused.map(|problem| Finding::problem(Id::Config, "", problem.to_string(), next)).collect();
    if findings.is_empty() {
        let files: Vec<_> = config.files.iter().map(|file| file.display().to_string()).collect();
        let from = if files.is_empty() { "no file, all defaults".to_owned() } else { files.join(", ") };
        findings.push(Finding::ok(Id::Config, "", from));
    }
    let warn = |warning: &String| Finding::warning(Id::Config, "", warning.clone(), next);
    findings.extend(config.warnings.iter().map(warn));
    findings
}

/// Runs `look` where it may block; `None` if it takes too long.
async fn within<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::time::timeout(LOOK_TIME_MAX, blocking(look)).await.ok().flatten()
}

fn late(id: Id, what: &str) -> Finding {
    let cause = format!("{what} could not be looked at within {} s", LOOK_TIME_MAX.as_secs());
    let next = "see that each path of the configuration is a file or folder of a disk that answers: \
                `revenium-agent check`, `df`, `journalctl -k`";
    Finding::problem(id, "", cause, next)
}

/// Whether there is something at `path`, be it a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
