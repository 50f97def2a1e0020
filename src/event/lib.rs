//! One metered use: what an application reports, made ready to send.
//!
//! [`freeze`] reads an event in any dialect that Revenium's SDKs know, applies the field guards of
//! Revenium's metering API, completes what follows from the rest, and returns the bytes that every
//! delivery attempt will carry, with their keys. [`line`] is the socket's line protocol.
//!
//! Pure: no clock, no randomness, no I/O. What has to be minted comes in as [`Minted`], so the same
//! input always gives the same bytes. Amounts are never parsed and printed again: a body is changed
//! by cutting members out and splicing members in, and everything else stays byte for byte.

mod complete;
mod dialect;
mod draft;
mod field;
mod freeze;
mod frozen;
mod guard;
mod identity;
mod kind;
pub mod limits;
pub mod line;
mod listed;
mod name;
mod number;
mod object;
mod refusal;
mod subscriber;
mod text;
mod time;

pub use freeze::freeze;
pub use frozen::{Frozen, Provider, Reason, Tokens, Warning, What};
pub use identity::{Identity, Minted, Producer};
pub use kind::Kind;
pub use limits::profile_is_valid;
pub use refusal::{Refusal, RefusalCode};
