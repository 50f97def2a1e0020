//! Spool files: written while no agent is there, handed in when one is back.
//!
//! What is in a file, how it is called and how large it may be is `revenium_event::spool`'s to say. A file
//! appears whole and flushed, under its final name, and never changes; it is removed once every event in it
//! is durable with an agent, or refused for good. The numbers of its events make it harmless to hand a file in
//! twice, or while its writer is still sending the same events.

mod bad;
mod file;
mod hand_in;
mod talk;
mod write;

pub(crate) use hand_in::HandIn;
pub use hand_in::{Report, hand_in};
pub(crate) use write::{Limits, Writer};
