//! Who an event is: what makes a resend of it recognisable, and the keys it is sent under.
//!
//! Settled before the first send and never changed. The Idempotency-Key is the sender's; else it
//! follows from the producer and its number; else from the route and the received bytes, if these
//! carry a `transactionId`; else it is random, and a resend is a new event. A missing
//! `transactionId` follows from the Idempotency-Key.

use std::fmt;

use uuid::Uuid;

use crate::limits::KEY_BYTES_MAX;
use crate::{Kind, Refusal};

/// A sending process: 128 random bits, new after a fork.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer([u8; 16]);

impl Producer {
    /// A producer with these bits.
    pub const fn from_bytes(bytes: [u8; 16]) -> Producer {
        Producer(bytes)
    }

    /// Its bits.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads 32 hexadecimal digits, or a UUID with its four hyphens, in either case.
    pub fn parse(text: &str) -> Option<Producer> {
        matches!(text.len(), 32 | 36)
            .then(|| Uuid::try_parse(text).ok())
            .flatten()
            .map(|id| Producer(*id.as_bytes()))
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).simple().fmt(f)
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({self})")
    }
}

/// What the sender gave to tell this event from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity<'a> {
    /// A number that the producer uses once.
    Numbered {
        /// The sending process.
        producer: Producer,
        /// Its number for this event.
        n: u64,
    },
    /// The sender's own Idempotency-Key.
    Key(&'a str),
    /// Nothing beside the event: its `transactionId` and bytes if it has one, else none.
    Body,
}

/// What freezing may mint from: a reading of the wall clock and fresh random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minted {
    /// Wall clock, milliseconds since 1970.
    pub now_ms: u64,
    /// Random bits, used for nothing else.
    pub random: [u8; 16],
}

/// Namespace of ids that stand in for a sender's own: UUIDv5(DNS, "tool.revenium-agent"). Frozen.
const STAND_INS: Uuid = Uuid::from_u128(0xa36bcd5b_dd2c5141_b7f9b5c3_6632f9c5);

/// Namespace of a minted `transactionId`: UUIDv5(DNS, "transaction.revenium-agent"). Frozen.
const TRANSACTIONS: Uuid = Uuid::from_u128(0x098e04d4_398f5019_9552da43_2bf4fe83);

/// An Idempotency-Key, and whether a resend would come to the same one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) is_identity: bool,
}

/// The Idempotency-Key of an event. `received` is the event as it came.
pub(crate) fn key(
    identity: &Identity<'_>,
    kind: Kind,
    received: &[u8],
    has_transaction_id: bool,
    minted: &Minted,
) -> Result<Key, Refusal> {
    let (text, is_identity) = match *identity {
        Identity::Key(key) => (sender_key(key)?, true),
        Identity::Numbered { producer, n } => (numbered_key(producer, n), true),
        Identity::Body if has_transaction_id => {
            let route = Uuid::new_v5(&Uuid::NAMESPACE_URL, kind.route().as_bytes());
            (text(Uuid::new_v5(&route, received)), true)
        }
        Identity::Body => (text(uuid::Builder::from_random_bytes(minted.random).into_uuid()), false),
    };
    Ok(Key { text, is_identity })
}

/// The `transactionId` of an event that came without one.
pub(crate) fn transaction_id(key: &str) -> String {
    text(Uuid::new_v5(&TRANSACTIONS, key.as_bytes()))
}

/// A UUID for a sender's `transactionId` that the route cannot take. The same id gives the same UUID.
pub(crate) fn stand_in(given: &str) -> String {
    text(Uuid::new_v5(&STAND_INS, given.as_bytes()))
}

/// Whether `given` is a UUID with its four hyphens, as the server parses it.
pub(crate) fn is_uuid(given: &str) -> bool {
    given.len() == 36 && Uuid::try_parse(given).is_ok()
}

/// A UUID in any of its notations, with its four hyphens.
pub(crate) fn hyphenated(given: &str) -> Option<String> {
    Uuid::try_parse(given).ok().map(text)
}

/// UUIDv5(producer, n): the producer's bits are the namespace, the number in decimal is the name.
fn numbered_key(producer: Producer, n: u64) -> String {
    text(Uuid::new_v5(&Uuid::from_bytes(producer.0), n.to_string().as_bytes()))
}

fn text(id: Uuid) -> String {
    id.hyphenated().to_string()
}

fn sender_key(key: &str) -> Result<String, Refusal> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!(
            "the Idempotency-Key must be 1 to {KEY_BYTES_MAX} printable ASCII characters without spaces; send a UUID"
        );
        return Err(Refusal::field("Idempotency-Key", message));
    }
    Ok(key.to_owned())
}
