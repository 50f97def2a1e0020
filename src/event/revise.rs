//! An event that a person takes up again: its new key, and what may be asked of its bytes first.
//!
//! What changes is cut out or spliced in, as in freezing; no amount is ever read and written anew.

use uuid::Uuid;

use crate::draft::spelled;
use crate::field::Field;
use crate::object::{Object, utf8};
use crate::{Kind, Refusal, text};

/// Namespace for keys that are no UUID: UUIDv5(DNS, "retry.revenium-agent"). Frozen.
const KEYS: Uuid = Uuid::from_u128(0x4eb1678d_9a7a51be_84791536_20798d88);

/// The Idempotency-Key of try number `attempt` after one that was refused for good under `old`:
/// UUIDv5(`old`, `attempt`). Another key, because the server may answer the old one from memory;
/// always the same for the same try, so that it cannot be made twice.
pub fn retry_key(old: &str, attempt: u64) -> String {
    derived_key(old, &attempt.to_string())
}

/// The Idempotency-Key of an event that goes with the one that has `key`, and is told from others of that
/// kind by its name: UUIDv5(`key`, `name`). A number is the name of a retry.
pub fn derived_key(key: &str, name: &str) -> String {
    let namespace = Uuid::try_parse(key).unwrap_or_else(|_| Uuid::new_v5(&KEYS, key.as_bytes()));
    Uuid::new_v5(&namespace, name.as_bytes()).hyphenated().to_string()
}

/// The event with a `kind` member, if it has none: a frozen body lacks it.
pub fn with_kind(event: &[u8], kind: Kind) -> Result<Vec<u8>, Refusal> {
    let mut object = Object::read(utf8(event.trim_ascii())?)?;
    if !object.members.iter().any(|member| spelled(member.key) == Some(Field::Kind)) {
        object.push_named(Field::Kind.name(), text::encode(kind.name()));
    }
    Ok(object.write().into_bytes())
}

/// The event without its `transactionId`: freezing gives it a new one.
pub fn without_transaction_id(event: &[u8], kind: Kind) -> Result<Vec<u8>, Refusal> {
    let mut object = Object::read(utf8(event.trim_ascii())?)?;
    for at in 0..object.members.len() {
        if is_transaction_id(object.members[at].key, kind) {
            object.cut(at);
        }
    }
    Ok(object.write().into_bytes())
}

/// The event's `transactionId`, if it says one.
pub fn transaction_id(event: &[u8], kind: Kind) -> Option<String> {
    let object = Object::read(utf8(event.trim_ascii()).ok()?).ok()?;
    let member = object.members.iter().find(|member| is_transaction_id(member.key, kind))?;
    let said = Some(&*member.value).filter(|raw| !text::is_blank(raw))?;
    Some(text::decode(said).map_or_else(|| said.to_owned(), |id| id.into_owned()))
}

fn is_transaction_id(key: &str, kind: Kind) -> bool {
    spelled(key).and_then(|field| field.meant(kind)) == Some(Field::TransactionId)
}

/// JSON without the white space between its parts; everything else stays as it is.
pub fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_text, mut is_escaped) = (false, false);
    for c in json.chars() {
        if in_text {
            in_text = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_text = c == '"';
        }
        out.push(c);
    }
    out
}

/// The event with one member a line, for a person to read and edit; what is no object stays as it is.
pub fn laid_out(event: &str) -> String {
    let Ok(object) = Object::read(event.trim_ascii()) else { return event.to_owned() };
    let lines: Vec<String> =
        object.members.iter().map(|member| format!("  {}: {}", member.key, member.value)).collect();
    if lines.is_empty() { "{}\n".to_owned() } else { format!("{{\n{}\n}}\n", lines.join(",\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_has_a_key_of_its_own_that_is_always_the_same() {
        // As Python's uuid.uuid5 has them. They are in the log: they never change.
        let old = "ace5d465-1c35-5d3c-8b15-7e57a4a0bfc3";
        let table = [
            (old, 1, "b1274532-70f1-5f5f-a6e0-de2c539d54f5"),
            (old, 2, "7fa88156-d8e8-58a7-84eb-7c5de1e3083a"),
            ("order-42", 1, "061b45b8-4629-5528-bdaa-0f8795852b09"),
        ];
        for (old, attempt, key) in table {
            assert_eq!(retry_key(old, attempt), key, "{old} {attempt}");
        }
        assert_eq!(derived_key(old, "iteration-0"), "bc1fb86d-7e48-516d-84ff-262f5f1de1b2");
    }

    #[test]
    fn only_what_is_asked_for_changes() {
        let event = br#"{"a": 1.50, "transaction_id" :"t-1", "b":[ 1 ]}"#;
        assert_eq!(transaction_id(event, Kind::Completion).as_deref(), Some("t-1"));
        let without = without_transaction_id(event, Kind::Completion).unwrap();
        assert_eq!(without, br#"{"a": 1.50, "b":[ 1 ]}"#);
        assert_eq!(transaction_id(&without, Kind::Completion), None);
        let with = with_kind(&without, Kind::Tool).unwrap();
        assert_eq!(with, br#"{"a": 1.50, "b":[ 1 ],"kind":"tool"}"#);
        assert_eq!(with_kind(&with, Kind::Image).unwrap(), with);
    }

    #[test]
    fn white_space_goes_and_comes_without_touching_texts_and_numbers() {
        let compacted = "{\"a b\":1.50,\"c\":[1,\"\\\" \\\\\"],\"d\":\" \"}";
        let spaced = "{ \"a b\" : 1.50 ,\n \"c\": [ 1, \"\\\" \\\\\" ] , \"d\" : \" \" }\n";
        assert_eq!(compact(spaced), compacted);
        let laid = laid_out(compacted);
        assert_eq!(laid, "{\n  \"a b\": 1.50,\n  \"c\": [1,\"\\\" \\\\\"],\n  \"d\": \" \"\n}\n");
        assert_eq!(compact(&laid), compacted);
        assert_eq!((laid_out("{}"), laid_out("[1]")), ("{}\n".to_owned(), "[1]".to_owned()));
    }
}
