//! The relay: Revenium's own API on this machine, so that its SDKs become durable by one variable.
//!
//! Eight routes, each a POST of one event. 201 is answered once the event is durable, in the shape that
//! Revenium answers; so is a resend with the same Idempotency-Key and bytes, which is stored once. What
//! the client sent is kept verbatim unless a guard has to act. An API key says which profile an event
//! is for; one that no profile has makes a profile of its own, `key-<fingerprint>`, whose events
//! wait until a person says whose they are: they are neither refused nor billed to somebody else.
//!
//! SDKs give up on 4xx and try again on 5xx, and the answers follow from that: 4xx only where sending
//! again cannot help; a full or failing log and a stop are 503.
//!
//! Who cannot use the Unix socket, on another system or in another container, has its lines here (`lines`), unless the relay is strict.
//!
//! A web page that makes a browser send here is refused: by the name it had to use for us (`Host`), by
//! its own (`Origin`), by the type of its body. Whoever may run a program on this machine may send.
//!
//! Bounds: [`Limits`]. When all connections are taken, the one that is idle for longest makes room.

mod answer;
mod connection;
mod guard;
mod handler;
mod lines;
mod route;
mod serve;
mod settings;
#[cfg(test)]
mod tests;

pub use serve::serve;
pub use settings::{Limits, Settings};
