//! Where events go, and what is kept of those that do not.

use revenium_event::Producer;

use super::*;
use crate::secret::Secret;
use crate::tenant::fingerprint;

const GOOD: &[u8] =
    br#"{"model":"claude-sonnet-4","provider":"Anthropic","inputTokenCount":1,"outputTokenCount":2}"#;
const MINTED: Minted = Minted { now_ms: 1_795_000_000_000, random: [7; 16] };

fn door() -> Door {
    Door::new(Tenants::by_name(["default".into(), "team-a".into()]))
}

fn with(member: &str) -> Vec<u8> {
    [&GOOD[..GOOD.len() - 1], b",", member.as_bytes(), b"}"].concat()
}

#[test]
fn an_event_goes_to_the_profile_it_names_then_to_its_connections_then_to_the_default() {
    let named = with(r#""profile":"team-a""#);
    for (event, of_connection, lane) in [
        (GOOD, None, "default"),
        (GOOD, Some("team-a"), "team-a"),
        (&*named, None, "team-a"),
        (&*named, Some("default"), "team-a"),
    ] {
        let admitted = door().admit(event, &Identity::Body, of_connection, &MINTED).unwrap().event;
        assert_eq!(&*admitted.record.lane.profile, lane);
        assert_eq!(admitted.record.received_at_ms, MINTED.now_ms);
        assert!(admitted.record.dead.is_none());
    }
}

#[test]
fn the_same_bytes_for_another_account_are_not_a_resend() {
    let event = with(r#""transactionId":"t1""#);
    let fingerprint =
        |profile| door().admit(&event, &Identity::Body, profile, &MINTED).unwrap().event.record.fingerprint;
    assert_eq!(fingerprint(None), fingerprint(Some("default")));
    assert_ne!(fingerprint(None), fingerprint(Some("team-a")));
}

#[test]
fn an_event_for_an_unknown_profile_is_refused_and_kept_under_that_name() {
    let odd = with(r#""\ud800":1,"profile":"team-b""#);
    let table = [(with(r#""profile":"team-b""#), None), (GOOD.to_vec(), Some("team-b")), (odd, None)];
    for (event, of_connection) in table {
        let turned = door().admit(&event, &Identity::Body, of_connection, &MINTED).unwrap_err();
        assert_eq!(turned.refusal.field.as_deref(), Some("profile"));
        assert_eq!(turned.refusal.message, "profile team-b is not configured here; there is default, team-a");
        let letter = turned.letter.unwrap();
        assert_eq!(&*letter.lane.profile, "team-b");
        assert_eq!(&letter.body[..], event);
        let note = letter.dead.unwrap();
        assert_eq!((note.reason, note.status), (DEAD_REASON_REFUSED_AT_INTAKE, 0));
        assert!(note.words.starts_with("profile: profile team-b"), "{}", note.words);
    }
}

#[test]
fn a_refused_event_of_a_key_is_kept_with_the_profile_that_has_the_key() {
    let none = tokio::sync::watch::channel(None).1;
    let (_held, key) = tokio::sync::watch::channel(Some(Secret::new("hak_team")));
    let profiles = vec![("default".into(), none), ("team-a".into(), key)];
    let door = Door::new(Arc::new(Tenants::new(profiles, None, Vec::<&str>::new())));
    let kept_under = |key: &[u8]| {
        let turned = door.admit(b"{}", &Identity::Body, Some(&fingerprint(key)), &MINTED).unwrap_err();
        turned.letter.unwrap().lane.profile.to_string()
    };
    assert_eq!(kept_under(b"hak_team"), "team-a");
    assert_eq!(kept_under(b"hak_other"), fingerprint(b"hak_other"));
}

#[test]
fn names_that_nobody_configured_make_a_bounded_number_of_lanes() {
    let door = door();
    let lane = |i: usize| {
        let event = with(&format!(r#""profile":"tenant-{i}""#));
        let letter = door.admit(&event, &Identity::Body, None, &MINTED).unwrap_err().letter.unwrap();
        letter.lane.profile.to_string()
    };
    for i in 0..STRANGERS_MAX {
        assert_eq!(lane(i), format!("tenant-{i}"));
    }
    assert_eq!(lane(STRANGERS_MAX), PROFILE_UNUSABLE, "one past the limit");
    assert_eq!(lane(0), "tenant-0", "it has its lane already");
}

#[test]
fn a_refused_event_keeps_its_number_so_that_a_resend_is_not_kept_twice() {
    let producer = Producer::from_bytes([9; 16]);
    let identity = Identity::Numbered { producer, n: 5 };
    let event = with(r#""profile":"no such""#);
    let letter = |random| {
        let minted = Minted { random, ..MINTED };
        door().admit(&event, &identity, None, &minted).unwrap_err().letter.unwrap()
    };
    let (first, second) = (letter([1; 16]), letter([2; 16]));
    assert_eq!(first.number, Some((ProducerId([9; 16]), 5)));
    assert_eq!(first.fingerprint, second.fingerprint);
    assert_ne!(first.key, second.key);
    assert_eq!(&*first.lane.profile, PROFILE_UNUSABLE);
}

#[test]
fn what_is_not_json_is_not_kept() {
    for event in [&b"model=x"[..], b"{\"model\":NaN}", b"{\"model\":\"x\"", b""] {
        let turned = door().admit(event, &Identity::Body, None, &MINTED).unwrap_err();
        assert!(turned.letter.is_none(), "{}", String::from_utf8_lossy(event));
    }
}

#[test]
fn what_is_too_large_is_kept_if_it_is_only_what_came_of_it_that_is() {
    let of_bytes = |bytes: usize| {
        let event = String::from_utf8(with(r#""filler":"""#)).unwrap();
        event.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - event.len()))).into_bytes()
    };
    for (bytes, is_kept) in [(BODY_BYTES_MAX, true), (BODY_BYTES_MAX + 1, false)] {
        let turned = door().admit(&of_bytes(bytes), &Identity::Body, None, &MINTED).unwrap_err();
        assert_eq!(
            (turned.refusal.code, turned.letter.is_some()),
            (RefusalCode::TooLarge, is_kept),
            "{bytes}"
        );
    }
    let passes = vec![r#"{"type":"compaction","input_tokens":1}"#; 65].join(",");
    let call = format!(
        r#"{{"call":{{"id":"m","model":"claude","usage":{{"input_tokens":1,"iterations":[{passes}]}}}}}}"#
    );
    let turned = door().admit(call.as_bytes(), &Identity::Body, None, &MINTED).unwrap_err();
    assert_eq!(turned.refusal.code, RefusalCode::TooLarge);
    assert_eq!(&turned.letter.expect("it is billed once it is mended").body[..], call.as_bytes());
}
