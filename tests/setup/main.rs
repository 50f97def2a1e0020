//! From a key to an agent that runs, and commands whose events reach it: `setup` and `exec`, on the real
//! binary, as a user. `tests/systemd` has the machine's agent.

mod exec;
mod key;
mod keys;
mod mine;
mod own;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod user;
