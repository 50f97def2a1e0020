//! `dlq`: dead letters, by way of the running agent's control socket.
//!
//! Everything goes page by page: a million letters are told, sent again or given up without being
//! held in memory, here or there.

mod edit;
mod export;
mod filter;
mod many;
mod shown;
mod tell;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use super::asked;
use crate::admin::Status;
use crate::cli::ConfigArgs;
use crate::desk::LettersRequest;
use crate::exit::{Exit, Failure};
use filter::{FilterArgs, pages};

/// `dlq`
#[derive(Debug, Clone, Args)]
pub struct DlqArgs {
    /// What to do.
    #[command(subcommand)]
    command: DlqCommand,
}

/// What can be done with dead letters.
#[derive(Debug, Clone, Subcommand)]
enum DlqCommand {
    /// Print which there are, the oldest first
    List(ListArgs),
    /// Print one, without credentials and prompts unless they are asked for
    Show(ShowArgs),
    /// Change one's event in an editor, then send it
    Edit(EditArgs),
    /// Send them again, as they are and under a new Idempotency-Key
    Retry(RetryArgs),
    /// Print them as JSON lines, with all that is in their events
    Export(ExportArgs),
    /// Give them up for good
    Discard(DiscardArgs),
}

#[derive(Debug, Clone, Args)]
struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Only those with greater numbers
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "all")]
    limit: usize,
    /// All of them
    #[arg(long)]
    all: bool,
    /// As one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Args)]
struct ShowArgs {
    /// Its number
    seq: u64,
    /// With credentials and prompts
    #[arg(long)]
    reveal: bool,
    /// As one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Args)]
struct EditArgs {
    /// Its number
    seq: u64,
    /// Take the event from this file, `-` for standard input, instead of opening $VISUAL or $EDITOR
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Send it as another event than the one that was refused: with a new transactionId
    #[arg(long)]
    new_transaction_id: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Args)]
struct RetryArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// All that fit, but for those that were probably delivered
    #[arg(long)]
    all: bool,
    /// Send them as other events than those that were refused: with new transactionIds
    #[arg(long)]
    new_transaction_id: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Args)]
struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// All that fit, as without numbers in any case
    #[arg(long)]
    all: bool,
    /// Write them here, to a file that is not there yet and that only you can read
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Args)]
struct DiscardArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// All that fit
    #[arg(long)]
    all: bool,
    /// Without being asked
    #[arg(long)]
    yes: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it.
pub fn run(args: &DlqArgs) -> Result<Exit, Failure> {
    match &args.command {
        DlqCommand::List(args) => tell::list(args),
        DlqCommand::Show(args) => tell::show(args),
        DlqCommand::Edit(args) => edit::edit(args),
        DlqCommand::Retry(args) => many::retry(args),
        DlqCommand::Export(args) => export::export(args),
        DlqCommand::Discard(args) => many::discard(args),
    }
}

/// The running agent.
struct Agent {
    data_dir: PathBuf,
}

impl Agent {
    fn of(config: &ConfigArgs) -> Result<Self, Failure> {
        Ok(Self { data_dir: super::data_dir(config)? })
    }

    fn status(&self) -> Result<Status, Failure> {
        super::status_of(&self.data_dir)
    }

    fn ask<T: DeserializeOwned>(&self, request: &LettersRequest) -> Result<T, Failure> {
        asked(&self.data_dir, "/letters", request)
    }
}

/// A command that changes many wants to be told which.
fn check_which(filter: &FilterArgs, all: bool) -> Result<(), Failure> {
    if filter.seqs.is_empty() && !all {
        let message = "which? give their numbers (`dlq list` has them), or --all for all that fit";
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(())
}

/// `1 letter`, `2 letters`.
fn letters(count: u64) -> String {
    format!("{count} {}", if count == 1 { "letter" } else { "letters" })
}
