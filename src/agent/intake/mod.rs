//! The way in for lines: a Unix socket, one JSON object a line, answers in order.
//!
//! An event is answered `ok` once the queue has it durably and not before. What is read is
//! gathered: all complete lines that a connection has sent are appended together, and the next
//! ones are read meanwhile. A connection is one task; every buffer, batch and wait is bounded
//! by [`Limits`]. What a line may be is `revenium_event`'s to say, what an append means the
//! queue's; the intake knows who sent it, in what order, and what to answer.
//!
//! Also here, for the other ways in: [`Door`], from an event's bytes to a record or a refusal.
//!
//! What senders may rely on, beside the line protocol of `revenium_event::line`:
//! - `upto` is the highest durable number of what was appended together. It covers every number
//!   up to it that was outstanding, so numbers that are outstanding must go up: whoever sends a
//!   refused one again first waits for all answers, or connects anew;
//! - blank lines get no answer; a last line without its newline counts when the sender has shut
//!   its side down, as `echo -n` piped into `nc -N` does;
//! - lines that a vanished sender had sent are stored all the same;
//! - a refused hello ends the connection, since what follows would be billed otherwise than meant.

mod alarm;
mod answers;
mod batch;
mod bucket;
mod connection;
mod door;
mod flight;
mod guests;
mod line_buffer;
mod listener;
mod moderated;
mod observer;
mod peer;
mod seat;
mod server;
mod session;
mod settings;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub(crate) use bucket::Bucket;
pub(crate) use connection::unix_ms;
pub use door::{
    Admission, Admitted, DEAD_REASON_REFUSED_AT_INTAKE, Door, PROFILE_DEFAULT, PROFILE_UNUSABLE, Turned,
};
pub(crate) use guests::Guests;
pub(crate) use line_buffer::{LineBuffer, Step};
pub use listener::{BindError, Listener};
pub use observer::{Observer, Seen};
pub use peer::{Allow, NotAllowed, Peer};
pub(crate) use seat::Seat;
pub use server::{Served, serve};
pub(crate) use session::Mint;
pub use settings::{Limits, Settings};
