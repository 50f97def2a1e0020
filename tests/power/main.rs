//! Power cuts: stores and agents on a file system of our own, which keeps what was not flushed apart.
//!
//! At an operation drawn at random (a write, a flush, a new name, a length) the process is killed, and the
//! file system becomes what a device may hold after the power went: of each sector that was not flushed
//! the old bytes, newer ones, or a part of each; unflushed names and lengths are there or not (`content`,
//! `disk`). Then the next process starts on that. sled's files are cut like all others. What was
//! acknowledged is remembered outside (`book`), and may not be lost, doubled or altered.
//!
//! The control is a device that answers flushes and does not make them: the same test has to find that.
//!
//! | variable | means | default |
//! |---|---|---|
//! | `REVENIUM_POWER_ROUNDS` | cuts of stores; a twentieth as many of agents, 3 to 40 | 150 |
//! | `REVENIUM_POWER_SEED` | where chance begins; printed by every run | the clock |
//!
//! A seed repeats what is done and what a cut leaves, not which thread comes first.

mod agents;
mod book;
mod content;
#[path = "../crash/dice.rs"]
#[allow(dead_code, reason = "the crash test throws them in more ways")]
mod dice;
mod disk;
mod luck;
mod mount;
mod place;
mod plan;
mod record;
mod said;
mod sick;
#[path = "../../src/store/tests/support/mod.rs"]
mod store;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod worker;
