//! From an event as it came to the bytes that are sent.
//!
//! In this order: read and recognise members, bring dialects to wire form, guard every field,
//! complete what is required, settle the identity, splice. Freezing a frozen body (with its kind)
//! gives the same bytes again.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::draft::Draft;
use crate::field::Field;
use crate::limits::{BODY_BYTES_MAX, LINE_BYTES_MAX};
use crate::{
    Frozen, Identity, Kind, Minted, Provider, Reason, Refusal, Tokens, What, complete, dialect, guard,
    identity, object, text,
};

/// Freezes one event: a JSON object in any dialect, whose `kind` and `profile` members route it.
///
/// Members that Revenium does not know are kept as they came, even twice. A member that it knows is
/// refused when it comes twice. White space around the object is not part of the event.
/// Pure: the same arguments give the same result.
pub fn freeze(event: &[u8], identity: &Identity<'_>, minted: &Minted) -> Result<Frozen, Refusal> {
    let event = event.trim_ascii();
    finish(event, event, LINE_BYTES_MAX, None, identity, minted)
}

/// Freezes a completion that was made here from what was `received`. Its key and fingerprint follow from
/// that: a resend is recognised even by a release that makes another event of it. For the rest as
/// [`freeze()`].
pub fn freeze_made(
    event: &[u8],
    received: &[u8],
    identity: &Identity<'_>,
    minted: &Minted,
) -> Result<Frozen, Refusal> {
    finish(event, received.trim_ascii(), LINE_BYTES_MAX, None, identity, minted)
}

/// Freezes the body of a request to the route of `kind`. Its members `kind` and `profile` route
/// nothing and are kept as they came; for the rest as [`freeze()`].
pub fn freeze_body(
    kind: Kind,
    body: &[u8],
    identity: &Identity<'_>,
    minted: &Minted,
) -> Result<Frozen, Refusal> {
    let body = body.trim_ascii();
    finish(body, body, BODY_BYTES_MAX, Some(kind), identity, minted)
}

fn finish(
    event: &[u8],
    received: &[u8],
    bytes_max: usize,
    kind: Option<Kind>,
    identity: &Identity<'_>,
    minted: &Minted,
) -> Result<Frozen, Refusal> {
    check_size("event", event.len(), bytes_max)?;
    let mut draft = Draft::read(object::utf8(event)?, kind)?;
    dialect::settle(&mut draft)?;
    guard::apply(&mut draft)?;
    complete::complete(&mut draft, minted)?;

    let given = complete::transaction_id(&draft);
    let key = identity::key(identity, draft.kind, received, given.is_some(), minted)?;
    let transaction_id = settle_transaction_id(&mut draft, given, &key.text);
    let body = draft.object.write().into_bytes();
    check_size("event, completed,", body.len(), BODY_BYTES_MAX)?;
    Ok(Frozen {
        kind: draft.kind,
        body,
        idempotency_key: key.text,
        key_is_identity: key.is_identity,
        transaction_id,
        fingerprint: xxh3_64_with_seed(received, u64::from(draft.kind.code())),
        tokens: tokens(&draft),
        profile: draft.profile,
        warnings: draft.warnings,
    })
}

fn check_size(what: &str, bytes: usize, bytes_max: usize) -> Result<(), Refusal> {
    if bytes > bytes_max {
        return Err(Refusal::too_large(format!(
            "the {what} has {bytes} bytes; at most {bytes_max} are taken"
        )));
    }
    Ok(())
}

/// Gives the event the `transactionId` that it lacks; for tool calls it has to be a UUID.
fn settle_transaction_id(draft: &mut Draft<'_>, given: Option<String>, key: &str) -> String {
    let Some(given) = given else {
        let id = identity::transaction_id(key);
        draft.set(Field::TransactionId, text::encode(&id));
        return id;
    };
    if draft.kind != Kind::Tool || identity::is_uuid(&given) {
        return given;
    }
    let (id, what) = match identity::hyphenated(&given) {
        Some(id) => (id, What::Rewritten(Reason::Notation)),
        None => (identity::stand_in(&given), What::Replaced(Reason::Notation)),
    };
    // As Revenium's SDK does: the sender's own word stays findable.
    if matches!(what, What::Replaced(_)) && draft.said(Field::TraceId).is_none() {
        draft.set(Field::TraceId, text::encode(&given));
    }
    draft.set(Field::TransactionId, text::encode(&id));
    draft.warn(Field::TransactionId.name(), what);
    id
}

fn tokens(draft: &Draft<'_>) -> Tokens {
    let provider = draft.said(Field::Provider).and_then(text::decode);
    Tokens {
        provider: provider.map_or(Provider::Other, |name| Provider::of(&name)),
        input: complete::count(draft, Field::InputTokenCount),
        output: complete::count(draft, Field::OutputTokenCount),
        cache_read: complete::count(draft, Field::CacheReadTokenCount),
        cache_creation: complete::count(draft, Field::CacheCreationTokenCount),
    }
}
