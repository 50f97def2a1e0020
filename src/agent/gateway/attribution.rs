//! Whose use a call is: what `x-revenium-*` fields of a request say, as `usage_metadata`. Pure.
//!
//! `x-revenium-task-type: chat` is the member `task_type`. Which members there are is for the event to know; one
//! that it does not know is dropped there.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use revenium_anthropic::METERED;
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use super::head::OURS;

/// Most members that are taken, and bytes of each: more than there are, and as long as events keep.
const MEMBERS_MAX: usize = 32;
const VALUE_BYTES_MAX: usize = 1024;

/// Members that are numbers.
const NUMBERS: [&str; 2] = ["response_quality_score", "retry_number"];

/// What holds the name of a subscriber's credential.
const CREDENTIAL_NAME: &str = "subscriber_credential_name";

/// Namespace of the fingerprints of callers' keys: UUIDv5(DNS, "caller.revenium-agent"). Frozen: they are billed.
const CALLERS: Uuid = Uuid::from_u128(0x52a3_6944_242a_53a8_a57d_4b6b_0796_10b5);

/// The metadata that a request's fields give, as an object; `None` if they give none. With
/// `credential_from_key` its key's fingerprint names the credential, unless a field does.
pub(super) fn metadata(headers: &HeaderMap, credential_from_key: bool) -> Option<String> {
    let mut members = Map::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(OURS).filter(|_| name != METERED) else { continue };
        if members.len() >= MEMBERS_MAX || name.is_empty() {
            continue;
        }
        let bytes = value.as_bytes();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(VALUE_BYTES_MAX)]);
        let name = name.replace('-', "_");
        let number = || NUMBERS.contains(&&*name).then(|| text.trim().parse::<Number>().ok()).flatten();
        let value = number().map_or_else(|| Value::String(text.trim().to_owned()), Value::Number);
        // Of a field that comes twice the first counts.
        members.entry(name).or_insert(value);
    }
    if let Some(key) = key(headers).filter(|_| credential_from_key) {
        members.entry(CREDENTIAL_NAME).or_insert_with(|| Value::String(fingerprint(key)));
    }
    (!members.is_empty()).then(|| Value::Object(members).to_string())
}

/// The caller's key: SDKs send one of the two, by their age.
fn key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = || {
        let (scheme, key) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(b"bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    };
    headers.get("x-api-key").map(|key| key.as_bytes()).or_else(bearer).filter(|key| !key.is_empty())
}

/// A name for a key that does not lead back to it: 64 bits of a hash, and keys are random.
fn fingerprint(key: &[u8]) -> String {
    let hash = Uuid::new_v5(&CALLERS, key).simple().to_string();
    format!("key-{}", &hash[..16])
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn of(fields: &[(&str, &str)], credential_from_key: bool) -> Option<Value> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        metadata(&map, credential_from_key).map(|text| serde_json::from_str(&text).expect("JSON"))
    }

    #[test]
    fn fields_of_ours_are_members_and_others_are_not() {
        let sent = [
            ("x-api-key", "sk-ant-1"),
            ("x-revenium-trace-id", "t-1"),
            ("x-revenium-trace-id", "t-2"),
            ("x-revenium-subscriber-email", "ü@example.com"),
            ("x-revenium-response-quality-score", "0.50"),
            ("x-revenium-metered", "py"),
            ("x-revenium-", "x"),
        ];
        let expected = serde_json::json!({
            "trace_id": "t-1", "subscriber_email": "ü@example.com", "response_quality_score": 0.5,
        });
        assert_eq!(of(&sent, false), Some(expected));
        assert_eq!(of(&sent[..1], false), None);
    }

    #[test]
    fn a_key_s_fingerprint_names_the_credential_if_asked_for_and_shows_nothing_of_the_key() {
        let name = |fields: &[_]| Some(of(fields, true)?[CREDENTIAL_NAME].as_str()?.to_owned());
        let bearer = name(&[("authorization", "Bearer sk-ant-1")]);
        assert_eq!(bearer, name(&[("x-api-key", "sk-ant-1")]), "however it is sent");
        assert!(bearer.as_deref().is_some_and(|name| name.starts_with("key-") && name.len() == 20));
        assert_ne!(bearer, name(&[("x-api-key", "sk-ant-2")]));
        let said = [("x-api-key", "sk"), ("x-revenium-subscriber-credential-name", "team")];
        assert_eq!(name(&said).as_deref(), Some("team"));
        assert_eq!(name(&[("authorization", "Basic x")]), None);
    }

    #[test]
    fn a_request_cannot_make_an_event_larger_than_it_may_be() {
        let names: Vec<String> = (0..100).map(|i| format!("x-revenium-m{i}")).collect();
        let long = "v".repeat(10_000);
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*long)).collect();
        let found = of(&fields, false).expect("some");
        let found = found.as_object().expect("an object");
        assert_eq!(found.len(), MEMBERS_MAX);
        assert!(found.values().all(|value| value.as_str().is_some_and(|v| v.len() == VALUE_BYTES_MAX)));
    }
}
