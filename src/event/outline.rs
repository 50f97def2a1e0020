//! What can be said of an event that is refused, so that it can be put away for a person.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::draft::spelled;
use crate::field::Field;
use crate::limits::LINE_BYTES_MAX;
use crate::object::{Object, utf8};
use crate::{Identity, Kind, Minted, identity, profile_is_valid, text};

/// Where an event wants to go and who it is, whatever else is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Its kind; a completion if it names none that is known.
    pub kind: Kind,
    /// The profile it names, if that can be one.
    pub profile: Option<String>,
    /// The Idempotency-Key it would have, or a random one if the sender's is none.
    pub idempotency_key: String,
    /// Whether a resend has the same key.
    pub key_is_identity: bool,
    /// As in [`crate::Frozen`].
    pub fingerprint: u64,
}

/// The outline of an event. None if it is not one JSON object that fits a line.
pub fn outline(event: &[u8], identity: &Identity<'_>, minted: &Minted) -> Option<Outline> {
    let event = event.trim_ascii();
    let source = utf8(event).ok().filter(|source| source.len() <= LINE_BYTES_MAX)?;
    let object = Object::read(source).ok()?;
    let text_of = |field| {
        let member = object.members.iter().find(|member| spelled(member.key) == Some(field))?;
        text::decode(&member.value)
    };
    let kind = text_of(Field::Kind).and_then(|name| Kind::from_name(&name)).unwrap_or(Kind::Completion);
    let has_transaction_id = object.members.iter().any(|member| {
        let field = spelled(member.key).and_then(|field| field.meant(kind));
        field == Some(Field::TransactionId) && !text::is_blank(&member.value)
    });
    let key = identity::key(identity, kind, event, has_transaction_id, minted)
        .or_else(|_| identity::key(&Identity::Body, kind, event, false, minted))
        .ok()?;
    Some(Outline {
        kind,
        profile: text_of(Field::Profile).filter(|name| profile_is_valid(name)).map(|name| name.into_owned()),
        idempotency_key: key.text,
        key_is_identity: key.is_identity,
        fingerprint: xxh3_64_with_seed(event, u64::from(kind.code())),
    })
}
