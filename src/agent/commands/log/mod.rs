//! `log`: the files of the log, whether or not an agent has them open.
//!
//! `verify` and `export` read beside a running agent and disturb nothing; `repair` wants the log for itself.

mod backup;
mod export;
mod repair;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::ConfigArgs;
use crate::exit::{Exit, Failure};

/// `log`
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// What to do.
    #[command(subcommand)]
    command: LogCommand,
}

/// What can be done with a log's files.
#[derive(Debug, Clone, Subcommand)]
enum LogCommand {
    /// Read all of it, and print what is damaged
    Verify(VerifyArgs),
    /// Print every event that can be read, and what became of it, as JSON lines
    Export(ExportArgs),
    /// Print what would be done about damage; nothing is changed without --apply
    Repair(RepairArgs),
}

#[derive(Debug, Clone, Args)]
struct VerifyArgs {
    /// As one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Args)]
struct ExportArgs {
    /// Write them to this new file, which only its owner can read
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With credentials and prompts
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Args)]
struct RepairArgs {
    /// Do it
    #[arg(long)]
    apply: bool,
    /// Where the log is copied to first [default: beside it]
    #[arg(long, value_name = "DIR")]
    backup: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it.
pub fn run(args: &LogArgs) -> Result<Exit, Failure> {
    match &args.command {
        LogCommand::Verify(args) => verify::verify(args),
        LogCommand::Export(args) => export::export(args),
        LogCommand::Repair(args) => repair::repair(args),
    }
}
