//! What an operator sees and does, on the real binary: commands, exit codes, signals, metrics.

mod agent;
mod command;
mod promtool;
mod running;
