//! The subscriber: a nested object whose members have guards of their own.
//!
//! Its credential's value is a secret. Warnings and refusals hold names only.

use crate::draft::Draft;
use crate::field::Field;
use crate::guard::judge_text;
use crate::limits::COLUMN_CHARS_MAX;
use crate::object::Object;
use crate::{Reason, Refusal, What};

/// A member, the name it has in warnings, and its limit in characters.
type Part = (&'static str, &'static str, usize);

const PARTS: [Part; 2] =
    [("id", "subscriber.id", COLUMN_CHARS_MAX), ("email", "subscriber.email", COLUMN_CHARS_MAX)];
const CREDENTIAL_PARTS: [Part; 2] = [
    ("name", "subscriber.credential.name", usize::MAX),
    ("value", "subscriber.credential.value", usize::MAX),
];

/// Guards the event's subscriber. What is not a subscriber at all is left out.
pub(crate) fn guard(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    let Some(raw) = draft.raw(Field::Subscriber).filter(|raw| *raw != "null") else { return Ok(()) };
    if !raw.starts_with('{') {
        draft.cut(Field::Subscriber);
        draft.warn(Field::Subscriber.name(), What::Dropped(Reason::Type));
        return Ok(());
    }
    let mut found = Vec::new();
    let guarded = guard_subscriber(raw, &mut found)?;
    if let Some(guarded) = guarded {
        draft.set(Field::Subscriber, guarded);
    }
    for (field, what) in found {
        draft.warn(field, what);
    }
    Ok(())
}

fn guard_subscriber(raw: &str, found: &mut Vec<(&'static str, What)>) -> Result<Option<String>, Refusal> {
    const CREDENTIAL: &str = "subscriber.credential";
    let mut subscriber = read(raw, "subscriber")?;
    guard_parts(&mut subscriber, &PARTS, found)?;
    let Some(at) = only(&subscriber, "credential", CREDENTIAL)? else { return Ok(written(&subscriber)) };
    let raw = subscriber.members[at].value.clone();
    if raw.starts_with('{') {
        let mut credential = read(&raw, CREDENTIAL)?;
        guard_parts(&mut credential, &CREDENTIAL_PARTS, found)?;
        if let Some(credential) = written(&credential) {
            subscriber.set(at, credential);
        }
    } else if raw != "null" {
        subscriber.cut(at);
        found.push((CREDENTIAL, What::Dropped(Reason::Type)));
    }
    Ok(written(&subscriber))
}

fn guard_parts(
    object: &mut Object<'_>,
    parts: &[Part],
    found: &mut Vec<(&'static str, What)>,
) -> Result<(), Refusal> {
    for &(name, path, chars_max) in parts {
        let Some(at) = only(object, name, path)? else { continue };
        if let Some((value, what)) = judge_text(&object.members[at].value, chars_max) {
            match value {
                Some(value) => object.set(at, value),
                None => object.cut(at),
            }
            found.push((path, what));
        }
    }
    Ok(())
}

/// The one member of this name; refused if there are two.
fn only(object: &Object<'_>, name: &str, path: &'static str) -> Result<Option<usize>, Refusal> {
    let mut named = object.members.iter().enumerate().filter(|(_, member)| member.is_named(name));
    let at = named.next().map(|(at, _)| at);
    match named.next() {
        Some(_) => Err(Refusal::field(path, format!("{path} is given twice; send it once"))),
        None => Ok(at),
    }
}

fn read<'a>(raw: &'a str, path: &'static str) -> Result<Object<'a>, Refusal> {
    Object::read(raw).map_err(|refusal| Refusal::field(path, format!("{path}: {refusal}")))
}

fn written(object: &Object<'_>) -> Option<String> {
    object.is_changed().then(|| object.write())
}
