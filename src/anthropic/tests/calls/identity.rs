//! Who the events of a call are: what makes a resend of the line recognisable.

use revenium_anthropic::freeze;
use revenium_event::{Frozen, Identity, Minted};

use crate::support::*;

const TWO: &str = r#"{"input_tokens":1,"output_tokens":1,"iterations":[{"type":"compaction","input_tokens":5,"output_tokens":5}]}"#;

fn frozen_as(line: &str, identity: &Identity<'_>, random: u8) -> Vec<Frozen> {
    freeze(line.as_bytes(), identity, &Minted { now_ms: NOW_MS, random: [random; 16] }).expect("is taken")
}

fn keys(events: &[Frozen]) -> Vec<&str> {
    events.iter().map(|event| event.idempotency_key.as_str()).collect()
}

#[test]
fn a_resend_has_the_same_keys_and_every_event_one_of_its_own() {
    let line = used(TWO);
    for identity in [NUMBERED, Identity::Key("order-42"), Identity::Body] {
        let (first, again) = (frozen_as(&line, &identity, 1), frozen_as(&line, &identity, 2));
        assert_eq!(first, again, "{identity:?}");
        assert!(first.iter().all(|event| event.key_is_identity));
        assert_ne!(first[0].idempotency_key, first[1].idempotency_key);
        assert_ne!(first[0].transaction_id, first[1].transaction_id);
    }
    let longest = "k".repeat(255);
    assert_eq!(frozen_as(&line, &Identity::Key(&longest), 1).len(), 2);
}

/// Frozen: they are in the log, and a resend after an update must come to the same.
#[test]
fn keys_and_fingerprints_follow_from_the_line_and_not_from_the_event() {
    let line = used(TWO);
    let events = frozen_as(&line, &NUMBERED, 1);
    let own = revenium_event::freeze(
        br#"{"model":"claude","inputTokenCount":1,"outputTokenCount":1}"#,
        &NUMBERED,
        &MINTED,
    )
    .expect("is taken");
    assert_eq!(events[0].idempotency_key, own.idempotency_key);
    assert_eq!(
        keys(&events),
        [own.idempotency_key.clone(), revenium_event::derived_key(&own.idempotency_key, "iteration-0")]
    );
    let outline = revenium_event::outline(line.as_bytes(), &NUMBERED, &MINTED).expect("is an object");
    assert!(events.iter().all(|event| event.fingerprint == outline.fingerprint));
    let spaced = format!(" {line}\n");
    assert_eq!(frozen_as(&spaced, &NUMBERED, 1), events);
}

#[test]
fn a_call_that_has_no_id_at_all_is_new_each_time_unless_its_line_has_one() {
    let line = r#"{"call":{"model":"claude","error":{"status":500}}}"#;
    let (first, second) = (frozen_as(line, &Identity::Body, 1), frozen_as(line, &Identity::Body, 2));
    assert_ne!(first[0].transaction_id, second[0].transaction_id);
    assert!(!first[0].key_is_identity);
    assert_eq!(frozen_as(line, &NUMBERED, 1), frozen_as(line, &NUMBERED, 2));
    let two = format!(r#"{{"call":{{"model":"claude","usage":{TWO}}}}}"#);
    let events = frozen_as(&two, &Identity::Body, 1);
    assert!(events.iter().all(|event| !event.key_is_identity));
    assert_eq!(events[1].transaction_id, format!("{}-iteration-0", events[0].transaction_id));
}

#[test]
fn a_call_is_recognised_by_its_answer_or_its_request_or_its_place_in_a_batch() {
    let table = [
        (r#""id":"msg_01","request_id":"req_01""#, "msg_01"),
        (r#""request_id":"req_01""#, "req_01"),
        (r#""id":" ","request_id":"req_01""#, "req_01"),
        (r#""batch_id":"msgbatch_1","custom_id":"c-1""#, "msgbatch_1-c-1"),
        (r#""id":"msg_01","batch_id":"msgbatch_1","custom_id":"c-1""#, "msg_01"),
        // The request is the one that fetched all results of the batch.
        (r#""request_id":"req_01","batch_id":"msgbatch_1","custom_id":"c-1""#, "msgbatch_1-c-1"),
        (r#""request_id":"req_01","batch_id":" ","custom_id":"c-1""#, "req_01"),
    ];
    for (members, id) in table {
        let line = format!(r#"{{"call":{{"model":"claude","ended":"error",{members}}}}}"#);
        assert_eq!(frozen(&line)[0].transaction_id, id, "{members}");
    }
}

#[test]
fn names_that_say_nothing_are_no_identity_that_calls_could_share() {
    let line = r#"{"call":{"model":"claude","ended":"error","id":"","request_id":" ","batch_id":"","custom_id":""}}"#;
    let (first, second) = (frozen_as(line, &Identity::Body, 1), frozen_as(line, &Identity::Body, 2));
    assert_ne!(first[0].transaction_id, second[0].transaction_id);
}
