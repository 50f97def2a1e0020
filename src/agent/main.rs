//! The `revenium-agent` command.

use std::process::ExitCode;

use clap::Parser;
use revenium_agent::cli::{Cli, Command};
use revenium_agent::commands::{check, run, status};

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Status(args) => status::run(&args),
    };
    let exit = ended.unwrap_or_else(|failure| {
        eprintln!("revenium-agent: {failure}");
        failure.exit
    });
    exit.into()
}
