//! What an operator sees and does, on the real binary: commands, exit codes, signals, metrics.

mod command;
mod doctor;
mod log;
mod prometheus;
mod reconcile;
mod running;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod watch;
mod whereabouts;
