//! The durable path on the real binary: a line in, flushed, delivered, through faults on the way.
//!
//! Each test runs the agent in a folder of its own and, as another process, the stand-in for
//! Revenium; the stand-in's journal says what was delivered.

mod bad_input;
mod calls;
mod claims;
mod clock;
mod crash;
mod crowd;
mod damage;
mod disk;
mod flush;
mod hand_in;
mod key;
mod letters;
mod progress;
mod relay;
mod relay_letters;
mod relay_lines;
mod rollback;
mod send;
mod spool;
mod spool_kill;
#[path = "../support/mod.rs"]
mod support;
mod upstream;
