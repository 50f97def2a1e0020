//! What the intake tells whoever counts: one method per fact, none of which may block.
//!
//! The agent maps these to metrics; tests write them down. No method ever sees a payload or a key.

use std::time::Duration;

use revenium_event::line::Code;
use revenium_event::{Kind, Tokens, Warning};

/// An event that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What it meters.
    pub kind: Kind,
    /// Its token counts.
    pub tokens: Tokens,
}

/// Counts what the intake does. Called on the connections' tasks, often: be quick.
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted and has a seat.
    fn connection_opened(&self) {}
    /// It ended, however.
    fn connection_closed(&self) {}
    /// A connection was turned away with [`Code::Denied`] or [`Code::Busy`].
    fn connection_refused(&self, _code: Code) {}
    /// Accepting failed, as when descriptors run out; it is tried again.
    fn accept_failed(&self) {}
    /// The socket's path had vanished and is bound again.
    fn rebound(&self) {}
    /// An event is durable and its sender is told.
    fn stored(&self, _event: &Seen) {}
    /// A resend was recognised and acknowledged.
    fn duplicate(&self, _event: &Seen) {}
    /// A line was not taken; its sender is told.
    fn refused(&self, _code: Code) {}
    /// A refused event was kept as a dead letter.
    fn refusal_kept(&self) {}
    /// A refused event was well-formed, and its user's pace or the store did not let it be kept.
    fn refusal_not_kept(&self) {}
    /// A guard changed an event so that it is not lost.
    fn warned(&self, _kind: Kind, _warning: &Warning) {}
    /// A batch of `records` came back from the queue `took` after it was handed over.
    fn appended(&self, _records: usize, _took: Duration) {}
    /// A user's lines came faster than its pace and are read more slowly.
    fn throttled(&self) {}
    /// A connection waits because of a bound on what is in flight or on unread answers.
    fn held_back(&self) {}
    /// A connection was given up because its answers were not read in time.
    fn stalled(&self) {}
    /// A line was left unfinished for too long.
    fn line_timed_out(&self) {}
}
