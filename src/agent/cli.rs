//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::commands::completions::CompletionsArgs;
use crate::commands::dlq::DlqArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::exec::ExecArgs;
use crate::commands::flush::FlushArgs;
use crate::commands::log::LogArgs;
use crate::commands::man::ManArgs;
use crate::commands::profile::ProfileArgs;
use crate::commands::reconcile::ReconcileArgs;
use crate::commands::send::SendArgs;
use crate::commands::setup::SetupArgs;
use crate::commands::start::StartArgs;
use crate::commands::whereabouts::WhereArgs;
use crate::config::{Flags, parse_duration};
use crate::sandbox;

/// Meters LLM usage for billing: durable before it acknowledges, delivered to Revenium.
#[derive(Debug, Parser)]
#[command(name = "revenium-agent", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a key, a configuration and systemd's units, try the key, and say how applications connect
    Setup(SetupArgs),
    /// See to it that an agent of this user's runs, unless there should be none
    Start(StartArgs),
    /// Take events in and deliver them, until told to stop
    Run(RunArgs),
    /// Print the configuration that `run` would use, and where each value comes from
    Check(CheckArgs),
    /// Send events to the agent and wait until they are durable
    Send(Box<SendArgs>),
    /// Run a command so that the events of its process reach the agent
    Exec(ExecArgs),
    /// Ask the running agent how it does; exits with 0 (ok), 1 (look at it) or 2 (no agent answers)
    Status(StatusArgs),
    /// Look for what is wrong, and say what to do about it; exits with 0 (no problem), 1 (one) or 78
    /// (one of the configuration)
    Doctor(DoctorArgs),
    /// Look at dead letters, mend them, send them again, or give them up
    Dlq(DlqArgs),
    /// Wait until everything that is durable now is delivered; exits with 0 (all is out), 1 (the
    /// deadline came first) or 2 (no agent answers)
    Flush(FlushArgs),
    /// Look at the files of the log, running or not: is it whole, hand out what it holds, mend it; exits with
    /// 0 (whole), 1 (damaged) or 2 (it could not be done)
    Log(LogArgs),
    /// Count the log, event by event, and compare with what the agent counts; exits with 0 (each is accounted
    /// for), 1 (not so) or 2 (the log cannot be read)
    Reconcile(ReconcileArgs),
    /// Say what became of an event: delivered, waiting, dead, or not known here; exits with 0 (delivered), 1 (not so)
    /// or 2 (it cannot be looked up)
    Where(WhereArgs),
    /// Look at the profiles, and say whose an unknown API key is
    Profile(ProfileArgs),
    /// Pass Anthropic's API on to the provider, and meter it
    Gateway(GatewayArgs),
    /// Print what a shell needs to complete this command line
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(ManArgs),
    /// Run a stand-in for Revenium on this machine, for tests
    #[command(hide = true)]
    Sandbox(sandbox::Args),
}

/// Which configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: /etc/revenium-agent/config.toml, else the user's]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the log is kept (data_dir)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Which addresses.
#[derive(Debug, Clone, Default, Args)]
pub struct ListenArgs {
    /// Unix socket that takes events (socket.path)
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Address of metrics, health and the status page; "" is off (admin.listen)
    #[arg(long, value_name = "IP:PORT")]
    pub admin: Option<String>,
    /// Address of the relay for Revenium's own SDKs; "" is off (relay.listen)
    #[arg(long, value_name = "IP:PORT")]
    pub relay: Option<String>,
    /// Address of the gateway for Anthropic's API; "" is off (gateway.listen)
    #[arg(long, value_name = "IP:PORT")]
    pub gateway: Option<String>,
    /// What the gateway passes requests on to (gateway.provider_url)
    #[arg(long, value_name = "URL")]
    pub provider_url: Option<String>,
}

/// `run`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Which addresses.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Send to an embedded stand-in for Revenium, from a data directory of its own
    #[arg(long)]
    pub sandbox: bool,
    /// As `start` does it: for this user's applications, which hand over their keys, and without a
    /// configuration file; on the Unix socket only
    #[arg(long, conflicts_with_all = ["sandbox", "admin", "relay", "gateway", "provider_url"])]
    pub per_user: bool,
    /// With --per-user: end once nothing has waited and nobody was connected for so long [default: 10m]
    #[arg(long, value_name = "DURATION", requires = "per_user", value_parser = parse_duration)]
    pub idle_end: Option<Duration>,
    /// With --per-user: in a session of its own, and without any descriptor but the first three
    #[arg(long, requires = "per_user")]
    pub detached: bool,
    /// Written once everything listens: a JSON object with the addresses
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// `gateway`
#[derive(Debug, Clone, Args)]
pub struct GatewayArgs {
    /// Configuration file [default: /etc/revenium-agent/config.toml, else the user's]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on (gateway.listen) [default: 127.0.0.1:8794]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Address of metrics and health; "" is off (gateway.admin_listen) [default: off]
    #[arg(long, value_name = "IP:PORT")]
    pub admin: Option<String>,
    /// What requests are passed on to (gateway.provider_url)
    #[arg(long, value_name = "URL")]
    pub provider_url: Option<String>,
    /// The agent's socket [default: socket.path, else the user's agent's, then the machine's]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Written once it listens: a JSON object with the address
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// `check`
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Which addresses.
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// `status`
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What these arguments say about the configuration.
pub fn flags(config: &ConfigArgs, listen: &ListenArgs) -> Flags {
    Flags {
        config: config.config.clone(),
        data_dir: config.data_dir.clone(),
        socket: listen.socket.clone(),
        admin: listen.admin.clone(),
        relay: listen.relay.clone(),
        gateway: listen.gateway.clone(),
        gateway_admin: None,
        provider_url: listen.provider_url.clone(),
        per_user: false,
        sandbox: None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
