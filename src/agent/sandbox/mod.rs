//! A stand-in for Revenium on this machine.
//!
//! It enforces what is known of the real service (required fields and guards, statuses, keys,
//! the 24 h of an Idempotency-Key, duplicates by `transactionId`, limits per account), counts what
//! it was sent, and can be told to go wrong in every way an upstream does. It serves three users:
//! `revenium-agent run --sandbox`, which needs no account; the crash tests, where an oracle reads
//! its ledger and journal; and the benchmarks, where it answers as fast as it can.
//!
//! It listens on loopback only and keeps nothing but the journal it was asked for. It shares no
//! code with what it tests: neither `revenium-event`'s guards nor the drain's idea of an outcome.
//! Where Revenium's behaviour isn't known, `rules.rs` says which reading it took.

mod answer;
mod body;
mod cli;
mod clock;
mod dedup;
mod faults;
mod handler;
mod journal;
mod ledger;
mod meter;
mod options;
mod pace;
mod rules;
mod server;
mod show;
mod wire;

pub use cli::{Args, CliError, serve_cli};
pub use clock::Clock;
pub use dedup::Window;
pub use faults::{Chance, Class, Fault, KINDS, Kind, Script, ScriptError, Step};
pub use journal::{Entry, What, read_journal};
pub use ledger::{Counts, DISTINCT_MAX, Detail, KeySeen, LISTED_MAX, Snapshot, TransactionSeen};
pub use options::{OnReceived, Options, SANDBOX_KEY};
pub use pace::ErrorPattern;
pub use server::{Sandbox, Server, StartError};
pub use show::{Fate, Received};

#[cfg(test)]
mod tests;
