//! The `revenium-agent` command.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use revenium_agent::cli::{Cli, Command};
use revenium_agent::commands::{
    check, completions, dlq, doctor, exec, flush, gateway, log, man, profile, reconcile, run, sandbox, send,
    setup, start, status, whereabouts,
};
use revenium_agent::progress::line::Above;

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Start(args) => start::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Send(args) => {
            return send::run(&args, io::stdin(), io::stdout(), io::LineWriter::new(Above)).into();
        }
        Command::Exec(args) => exec::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Dlq(args) => dlq::run(&args),
        Command::Flush(args) => flush::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Reconcile(args) => reconcile::run(&args),
        Command::Where(args) => whereabouts::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Gateway(args) => gateway::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Sandbox(args) => sandbox::run(args),
    };
    let exit = ended.unwrap_or_else(|failure| {
        eprintln!("revenium-agent: {failure}");
        failure.exit
    });
    exit.into()
}
