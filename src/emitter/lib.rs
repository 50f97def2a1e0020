//! Hands metered LLM usage to `revenium-agent`: never blocks, never panics, loses nothing that it can keep.
#![doc = "\n\n"]
#![doc = include_str!("README.md")]
#![deny(missing_docs)]

mod builder;
mod carrier;
#[cfg(feature = "async")]
mod durable;
mod emitter;
mod event;
mod inbox;
mod json;
mod life;
pub mod link;
mod outcome;
pub mod place;
pub mod spool;
mod state;
mod subscriber;
mod trouble;
mod waiter;

pub use builder::{Builder, DISABLED_VARIABLE};
#[cfg(feature = "async")]
pub use durable::Durable;
pub use emitter::Emitter;
pub use event::{Event, EventError};
pub use json::{FieldValue, Json};
pub use outcome::{DurableError, Emitted, FlushReport, Loss, LossReason, Refused, Stats};
pub use revenium_event::Kind;
pub use subscriber::Subscriber;
pub use trouble::Trouble;
