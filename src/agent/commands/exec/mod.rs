//! `exec -- CMD`: runs a command whose events reach the agent.
//!
//! Sets the variables that say where the agent is and becomes the command: same process, terminal, signals
//! and exit code. No trouble with the agent keeps the command from starting; it is told on standard error.
//! The API key is not handed out: whoever calls Revenium's SDKs has one.

mod agent;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use revenium_emitter::place::{SOCKET_VARIABLE, SPOOL_VARIABLE};

use crate::config::Surroundings;
use crate::exit::{Exit, Failure};
use agent::Agent;

/// Where Revenium's SDKs send to.
const BASE_URL_VARIABLE: &str = "REVENIUM_METERING_BASE_URL";

/// The key of Revenium's SDKs: a sign that the command may use one.
const KEY_VARIABLE: &str = "REVENIUM_METERING_API_KEY";

/// What is set, for `--help`.
const AFTER_HELP: &str = "\
Sets REVENIUM_AGENT_SOCKET, and REVENIUM_AGENT_SPOOL unless it is set, for emitters and `send`; and, if the \
agent's relay is on, REVENIUM_METERING_BASE_URL for Revenium's own SDKs, whatever it was before. The command \
runs even if no agent does, and is handed no API key.

Exit codes: the command's; 126 it cannot be run; 127 there is no such command.";

/// Runs a command so that the events of its process reach the agent.
///
/// Example: `revenium-agent exec -- python3 app.py`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ExecArgs {
    /// The agent's socket [default: $REVENIUM_AGENT_SOCKET, else the user's agent, else the machine's]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The agent's configuration [default: the user's or the machine's, whichever the socket is of]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The relay's address [default: as configured, or as systemd holds it]
    #[arg(long, value_name = "IP:PORT")]
    pub relay: Option<SocketAddr>,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// Becomes the command; returns only if it cannot.
pub fn run(args: &ExecArgs) -> Result<Exit, Failure> {
    let [program, rest @ ..] = &args.command[..] else {
        return Err(Failure::new(Exit::Usage, "there is no command to run"));
    };
    let agent = Agent::find(args, &Surroundings::of_process())?;
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let mut command = Command::new(program);
    command.args(rest).env(SOCKET_VARIABLE, &agent.socket);
    if let Some(spool) = agent.spool.filter(|_| !is_set(SPOOL_VARIABLE)) {
        command.env(SPOOL_VARIABLE, spool);
    }
    match &agent.base_url {
        Some(url) => _ = command.env(BASE_URL_VARIABLE, url),
        None if is_set(KEY_VARIABLE) && !is_set(BASE_URL_VARIABLE) => warn(
            "the agent's relay is off, so Revenium's own SDKs send past the agent; relay.listen turns it on",
        ),
        None => {}
    }
    Err(not_run(program, &command.exec()))
}

fn not_run(program: &OsString, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::NotRunnable };
    Failure::new(exit, format_args!("cannot run {}: {error}", program.display()))
}

fn warn(words: &str) {
    eprintln!("revenium-agent: {words}");
}
