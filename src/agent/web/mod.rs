//! What the listeners for HTTP clients share, the relay's and the gateway's: who gets a connection, who may
//! send, and how it all ends.
//!
//! Connections are bounded; the one that is idle for longest makes room for a further one. A web page that
//! makes a browser send here is known by the name it had to use for us (`Host`) and by its own (`Origin`).
//! Stopping, what was begun is answered, within a deadline, and idle connections end. What is asked and what
//! is answered are each listener's own.

mod guard;
mod places;
mod serve;

pub(crate) use guard::{Foreign, are_equal, is_of_here};
pub(crate) use places::{Busy, Place};
pub use serve::Waiting;
pub(crate) use serve::{Listening, serve, until_ended};
