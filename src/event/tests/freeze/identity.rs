//! What makes a resend recognisable.

use revenium_event::{Frozen, Identity, Minted, Producer, Refusal, freeze};

use crate::support::*;

fn by<'a>(identity: impl Into<Identity<'a>>, event: &str, minted: &Minted) -> Result<Frozen, Refusal> {
    freeze(event.as_bytes(), &identity.into(), minted)
}

#[track_caller]
fn keys(identity: Identity<'_>, event: &str, minted: &Minted) -> (String, String, bool) {
    let frozen = by(identity, event, minted).expect("the event is taken");
    (frozen.idempotency_key, frozen.transaction_id, frozen.key_is_identity)
}

const LATER: Minted = Minted { now_ms: NOW_MS + 5_000, random: [9; 16] };

#[test]
fn a_numbered_event_has_the_same_keys_whenever_it_comes() {
    let event = without(&["transactionId", "responseTime"], "");
    let first = keys(NUMBERED, &event, &MINTED);
    // UUIDv5(producer, "7"), and UUIDv5(098e04d4-398f-5019-9552-da432bf4fe83, key).
    let expected = ("e6d69762-4c6c-5cba-856e-b55fbfa8ae99", "13fa55d8-362c-51db-a8e4-0e60d7bae675", true);
    assert_eq!((first.0.as_str(), first.1.as_str(), first.2), expected);
    assert_eq!(keys(NUMBERED, &event, &LATER), first);
    let next = Identity::Numbered { producer: Producer::from_bytes([1; 16]), n: 8 };
    assert_ne!(keys(next, &event, &MINTED).0, first.0);
    let other = Identity::Numbered { producer: Producer::from_bytes([2; 16]), n: 7 };
    assert_ne!(keys(other, &event, &MINTED).0, first.0);
}

#[test]
fn a_senders_key_is_kept() {
    let (key, id, is_identity) = keys(Identity::Key("order-42"), &without(&["transactionId"], ""), &MINTED);
    assert_eq!((key.as_str(), is_identity), ("order-42", true));
    assert_eq!(keys(Identity::Key("order-42"), &without(&["transactionId"], ""), &LATER).1, id);
    assert_eq!(keys(Identity::Key("order-42"), &with(COMPLETION, ""), &MINTED).1, "tx-1");
}

#[test]
fn a_key_is_1_to_255_printable_characters_without_spaces() {
    let longest = "!~".repeat(127) + "a";
    assert_eq!(keys(Identity::Key(&longest), &with(COMPLETION, ""), &MINTED).0, longest);
    for wrong in ["", "a b", "ä", "a\n", &(longest.clone() + "a")] {
        let refusal = by(Identity::Key(wrong), &with(COMPLETION, ""), &MINTED).expect_err("it is no key");
        assert_eq!(refusal.field.as_deref(), Some("Idempotency-Key"));
    }
}

#[test]
fn an_anonymous_event_with_a_transaction_id_is_known_by_its_bytes() {
    let event = without(&["responseTime"], "");
    let (key, id, is_identity) = keys(Identity::Body, &event, &MINTED);
    assert_eq!((id.as_str(), is_identity), ("tx-1", true));
    assert_eq!(
        keys(Identity::Body, r#"{"kind":"generic","payload":{},"transactionId":"t"}"#, &MINTED).0,
        "4b884570-03c4-52a7-a6f1-ca4fb68c566c"
    );
    assert_eq!(keys(Identity::Body, &event, &LATER).0, key);
    assert_eq!(keys(Identity::Body, &format!(" {event}\r\n"), &LATER).0, key);
    assert_ne!(keys(Identity::Body, &event.replace("25", "26"), &MINTED).0, key);
    let half = r#"{"kind":"api-request","transactionId":"r-1"}"#;
    let other_half = r#"{"kind":"api-response","transactionId":"r-1","responseCode":200}"#;
    assert_ne!(keys(Identity::Body, half, &MINTED).0, keys(Identity::Body, other_half, &MINTED).0);
    for given in
        ["\"span_id\":\"s\"", "\"usage_metadata\":{\"transaction_id\":\"m\"}", "\"transactionId\":12"]
    {
        assert!(keys(Identity::Body, &without(&["transactionId"], given), &MINTED).2, "{given}");
    }
}

#[test]
fn an_anonymous_event_without_any_id_is_new_each_time() {
    let event = without(&["transactionId"], "\"transactionId\":null");
    let (first, second) = (keys(Identity::Body, &event, &MINTED), keys(Identity::Body, &event, &LATER));
    assert_eq!((first.2, second.2), (false, false));
    assert_ne!(first.0, second.0);
    assert_ne!(first.1, second.1);
    assert_eq!(first.0, "07070707-0707-4707-8707-070707070707");
}

#[test]
fn the_fingerprint_tells_other_bytes_and_other_kinds() {
    let event = with(COMPLETION, "");
    let fingerprint = |event: &str| frozen(event).fingerprint;
    assert_eq!(fingerprint(&event), fingerprint(&format!("{event}\n")));
    assert_ne!(fingerprint(&event), fingerprint(&event.replace("25", "24")));
    assert_ne!(fingerprint(&event), fingerprint(&with(COMPLETION, "\"profile\":\"other\"")));
}

#[test]
fn a_producer_is_read_from_digits_or_a_uuid() {
    let digits = "00112233445566778899aabbccddeeff";
    let producer = Producer::parse(digits).expect("it is a producer");
    assert_eq!(producer.to_string(), digits);
    assert_eq!(Producer::parse("00112233-4455-6677-8899-AABBCCDDEEFF"), Some(producer));
    for wrong in ["", "0011", &format!("{digits}0"), &format!("{{{digits}}}"), &digits.replace('0', "g")] {
        assert_eq!(Producer::parse(wrong), None, "{wrong}");
    }
}
