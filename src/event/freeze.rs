//! From an event as it came to the bytes that are sent.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Frozen, Identity, Kind, Minted, Provider, Refusal, Tokens, identity, object};

/// Freezes one event: a JSON object in any dialect, whose `kind` and `profile` members route it.
pub fn freeze(event: &[u8], identity: &Identity<'_>, minted: &Minted) -> Result<Frozen, Refusal> {
    let event = event.trim_ascii();
    let source = object::text(event)?;
    let members = object::members(source)?;
    let plain = |name: &str| {
        let member = members.iter().find(|member| member.key.trim_matches('"') == name)?;
        serde_json::from_str::<String>(member.value).ok()
    };
    let kind = plain("kind").and_then(|name| Kind::from_name(&name)).unwrap_or(Kind::Completion);
    let given = plain("transactionId");
    let key = identity::key(identity, kind, event, given.is_some(), minted)?;
    Ok(Frozen {
        kind,
        profile: plain("profile"),
        body: event.to_vec(),
        transaction_id: given.unwrap_or_else(|| identity::transaction_id(&key.text)),
        idempotency_key: key.text,
        key_is_identity: key.is_identity,
        fingerprint: xxh3_64_with_seed(event, u64::from(kind.code())),
        warnings: Vec::new(),
        tokens: Tokens {
            provider: Provider::of(&plain("provider").unwrap_or_default()),
            ..Tokens::default()
        },
    })
}
