//! The laws of this repository that a reader could break without noticing. Fast, no network.
//!
//! Every check says what to do about what it found. A list of exceptions has a reason for each,
//! and an exception that is no longer one is an error too.

mod code;
mod ladder;
mod migration;
mod page;
mod sample;
mod shape;
mod tree;

/// Fails with everything that was found, if anything was.
#[track_caller]
fn none(found: &[String], law: &str) {
    assert!(found.is_empty(), "{law}:\n  {}\n", found.join("\n  "));
}
