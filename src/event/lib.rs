//! One metered use: what an application reports, made ready to send.
//!
//! [`freeze()`] reads an event in any dialect that Revenium's SDKs know, applies the field guards of
//! Revenium's metering API, completes what follows from the rest, and returns the bytes that every
//! delivery attempt will carry, with their keys. [`mod@line`] is the socket's line protocol.
//!
//! Pure: no clock, no randomness, no I/O. What has to be minted comes in as [`Minted`], so the same
//! input always gives the same bytes. Amounts are never parsed and printed again: a body is changed
//! by cutting members out and splicing members in, and everything else stays byte for byte.
//!
//! ```
//! use revenium_event::{Identity, Minted, freeze};
//!
//! let event = br#"{"model":"claude-opus-4","input_token_count":25,"output_token_count":15}"#;
//! let minted = Minted { now_ms: 1_795_419_848_263, random: [7; 16] };
//! let frozen = freeze(event, &Identity::Key("order-42"), &minted)?;
//! assert!(frozen.body.starts_with(br#"{"model":"claude-opus-4","inputTokenCount":25"#));
//! assert_eq!(frozen.idempotency_key, "order-42");
//! # Ok::<(), revenium_event::Refusal>(())
//! ```
//!
//! Who decides what, where Revenium leaves it open: an amount that is no amount, or a field given
//! twice, is refused by name; a label that is no label is dropped, cut or translated with a
//! [`Warning`], and the record is kept ([`freeze()`] and `guard.rs` say which).

mod complete;
mod dialect;
mod draft;
mod field;
pub mod fingerprint;
mod freeze;
mod frozen;
mod guard;
mod identity;
mod key;
mod kind;
pub mod limits;
pub mod line;
mod listed;
mod mask;
mod name;
mod number;
mod object;
mod outline;
mod peek;
mod refusal;
mod revise;
pub mod spool;
mod subscriber;
mod text;
mod time;

pub use freeze::{freeze, freeze_body, freeze_made};
pub use frozen::{Frozen, Provider, Reason, Tokens, Warning, What};
pub use identity::{Identity, Minted, Producer};
pub use kind::Kind;
pub use limits::profile_is_valid;
pub use mask::masked;
pub use outline::{Outline, outline};
pub use peek::member;
pub use refusal::{Refusal, RefusalCode};
pub use revise::{
    compact, derived_key, laid_out, retry_key, transaction_id, with_kind, without_transaction_id,
};
pub use text::depth_of;
pub use time::from_ms as time_from_ms;
