//! Input that is wrong as a whole: each kind of it has its words.

use revenium_event::limits::{BODY_BYTES_MAX, DEPTH_MAX, LINE_BYTES_MAX, MEMBERS_MAX};
use revenium_event::{Identity, RefusalCode, freeze};

use crate::support::*;

#[test]
fn what_is_not_one_object_is_refused_in_words() {
    let cases = [
        ("", "nothing was sent; send one JSON object"),
        ("hello", "not a JSON object; send one that begins with {"),
        ("null", "not a JSON object; send one that begins with {"),
        ("[{}]", "a list was sent; send one JSON object for each event"),
        ("{\"model\":", "not JSON: EOF while parsing a value at line 1 column 9"),
        (
            "{\"inputTokenCount\":NaN}",
            "not JSON: there is no NaN or Infinity (column 20); leave the member out",
        ),
        ("{\"a\":1}\n{\"a\":2}", "not JSON: trailing characters at line 2 column 1"),
        ("{\"a\":01}", "not JSON: invalid number at line 1 column 7"),
        ("{'a':1}", "not JSON: key must be a string at line 1 column 2"),
    ];
    for (event, message) in cases {
        assert_eq!(refused(event), (String::new(), message.to_owned()), "{event}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_offset() {
    let refusal = freeze(b"{\"model\":\"\xff\"}", &Identity::Body, &MINTED).expect_err("it is no UTF-8");
    assert_eq!(refusal.message, "not UTF-8: the byte at offset 10 does not belong to a character");
}

#[test]
fn a_member_that_is_known_is_refused_when_it_comes_twice() {
    for member in ["\"model\":\"m\"", "\"inputTokenCount\":25", "\"agent\":null", "\"kind\":\"completion\""] {
        let event = with(COMPLETION, &format!("{member},{member}"));
        let field = member.split('"').nth(1).expect("it has a name");
        assert_eq!(refused(&event), (field.to_owned(), format!("{field} is given twice; send it once")));
    }
    let subscriber = with(COMPLETION, r#""subscriber":{"id":"a","\u0069d":"b"}"#);
    assert_eq!(refused(&subscriber).0, "subscriber.id");
    let metadata = with(COMPLETION, r#""usage_metadata":{"agent":"a","agent":"a"}"#);
    assert_eq!(refused(&metadata).0, "agent");
    let escaped = with(COMPLETION, r#""\u006dodel":"other""#);
    assert_eq!(refused(&escaped).0, "model");
}

#[test]
fn a_member_that_is_unknown_may_come_twice() {
    let event = with(COMPLETION, r#""mine":1,"mine":2,"":3,"\ud800":4"#);
    assert_eq!(body(&frozen(&event)), event);
}

#[test]
fn call_facts_are_no_member_of_an_event() {
    let (field, message) = refused(r#"{"call":{"usage":{}}}"#);
    assert_eq!(field, "call");
    assert_eq!(
        message,
        "call must be an object, the facts of one call; send it unescaped, or the event's own members"
    );
}

/// A completion of exactly this many bytes.
fn of_bytes(bytes: usize) -> String {
    let frame = with(COMPLETION, "\"pad\":\"\"");
    with(COMPLETION, &format!("\"pad\":\"{}\"", "x".repeat(bytes - frame.len())))
}

#[test]
fn a_body_of_1_mib_is_taken_and_one_byte_more_is_not() {
    let largest = of_bytes(BODY_BYTES_MAX);
    assert_eq!(frozen(&largest).body.len(), BODY_BYTES_MAX);
    let refusal = try_freeze(&of_bytes(BODY_BYTES_MAX + 1)).expect_err("it is too large");
    assert_eq!(refusal.code, RefusalCode::TooLarge);
    assert_eq!(refusal.message, "the event, completed, has 1048577 bytes; at most 1048576 are taken");
}

#[test]
fn routing_does_not_count_and_completion_does() {
    let routed = of_bytes(BODY_BYTES_MAX).replacen('{', "{\"profile\":\"default\",", 1);
    assert_eq!(frozen(&routed).body.len(), BODY_BYTES_MAX);
    let incomplete = of_bytes(BODY_BYTES_MAX).replacen("\"stopReason\":\"END\"", "\"padding\":\"....\"", 1);
    assert_eq!(try_freeze(&incomplete).expect_err("it grows").code, RefusalCode::TooLarge);
    let refusal = try_freeze(&of_bytes(LINE_BYTES_MAX + 1)).expect_err("no line holds it");
    assert_eq!(
        refusal.message,
        format!("the event has {} bytes; at most {LINE_BYTES_MAX} are taken", LINE_BYTES_MAX + 1)
    );
}

#[test]
fn nesting_is_bounded() {
    let nested =
        |depth: usize| with(COMPLETION, &format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth)));
    assert_eq!(frozen(&nested(DEPTH_MAX - 1)).warnings, []);
    assert!(refused(&nested(DEPTH_MAX)).1.starts_with("not JSON: nesting deeper than 128 levels"));
    assert!(try_freeze(&nested(500_000)).is_err());
}

#[test]
fn members_are_bounded() {
    let base = 13;
    let many = |count: usize| {
        let members: Vec<_> = (0..count).map(|at| format!("\"m{at}\":0")).collect();
        with(COMPLETION, &members.join(","))
    };
    assert_eq!(frozen(&many(MEMBERS_MAX - base)).warnings, []);
    assert!(try_freeze(&many(MEMBERS_MAX - base + 1)).is_err());
    let nested =
        format!("{{\"usage_metadata\":{}}}", many(MEMBERS_MAX - base).replacen('{', "{\"agent\":1,", 1));
    assert_eq!(refused(&nested).0, "usageMetadata");
    let halves =
        many(MEMBERS_MAX / 2).replacen('{', &format!("{{\"usage_metadata\":{},", many(MEMBERS_MAX / 2)), 1);
    let expected = "the event and its usageMetadata have more than 4096 members";
    assert_eq!(refused(&halves).1, expected);
}
