//! Tests of `where`: what is looked for, and what is said of it.

use revenium_store::{DeadNote, Lane, Record, Seq, Traced};

use super::told::{Told, Whereabouts};
use super::*;
use crate::receipts::Receipt;

fn traced(seq: u64, fate: Fate) -> Told {
    let record = Record {
        seq: Seq(seq),
        lane: Lane { profile: "default".into(), route: 0 },
        key: "key".into(),
        body: br#"{"transactionId":"msg_1"}"#.as_slice().into(),
        received_at_ms: 1_795_867_200_000,
        attempts: 2,
        first_attempt_at_ms: 1_795_867_201_000,
    };
    let note = DeadNote { reason: 3, status: 422, words: "no\u{1b}[2J".to_owned(), at_ms: 1_795_867_202_000 };
    let dead = (fate == Fate::Dead).then_some(note);
    Told::of_log(Traced { record, fate, not_before_ms: 1_795_867_260_000, dead })
}

fn receipt(seq: u64) -> Receipt {
    Receipt {
        seq,
        transaction: "msg_1".to_owned(),
        key: "key".to_owned(),
        id: Some("rev_1".to_owned()),
        profile: "default".to_owned(),
        kind: "completion".to_owned(),
        received_ms: 1_795_867_200_000,
        delivered_ms: 1_795_867_203_000,
        attempts: 3,
    }
}

fn whereabouts(records: Vec<Told>) -> Whereabouts {
    Whereabouts {
        id: "msg_1".to_owned(),
        records,
        has_more: false,
        damaged: 0,
        receipts_since_ms: None,
        data_dir: "data".to_owned(),
    }
}

#[test]
fn it_is_delivered_if_something_is_and_nothing_is_left() {
    use Fate::{Dead, Delivered, Discarded, Ended, Lost, Waiting};
    for (fates, is_delivered) in [
        (&[][..], false),
        (&[Delivered], true),
        (&[Delivered, Delivered], true),
        (&[Ended, Delivered], true),
        (&[Discarded, Delivered], true),
        (&[Waiting], false),
        (&[Waiting, Delivered], false),
        (&[Delivered, Dead], false),
        (&[Delivered, Lost], false),
        (&[Discarded], false),
        (&[Ended], false),
    ] {
        let records = fates.iter().zip(1..).map(|(fate, seq)| traced(seq, *fate)).collect();
        let mut told = whereabouts(records);
        assert_eq!(told.is_delivered(), is_delivered, "{fates:?}");
        // Of what is not told, nothing is known here.
        told.has_more = true;
        assert!(!told.is_delivered(), "{fates:?}");
    }
}

#[test]
fn a_receipt_counts_over_what_the_log_says_of_the_same_record() {
    let mut told = whereabouts(vec![traced(7, Fate::Waiting), traced(8, Fate::Ended)]);
    // The log was read before the end was noted.
    told.add(vec![receipt(7)]);
    assert_eq!(told.records.iter().map(|told| told.fate).collect::<Vec<_>>(), [Fate::Delivered, Fate::Ended]);
    // A log that was begun anew gave the number again.
    told.add(vec![Receipt { received_ms: 5, ..receipt(7) }]);
    assert_eq!(told.records.len(), 3);
}

#[test]
fn the_screen_says_it_first_and_then_of_each_what_is_known() {
    let mut told = whereabouts(vec![traced(7, Fate::Dead), traced(8, Fate::Waiting)]);
    told.add(vec![receipt(6)]);
    told.say_why(None);
    told.damaged = 1;
    assert_eq!(
        told.screen(),
        "NOT ALL OF IT IS DELIVERED: 1 delivered, 1 waiting, 1 dead\n\
         \n\
         record 6 delivered 2026-11-28T12:00:03Z, with 3 attempts\n\
         \x20 event           completion of profile default\n\
         \x20 received        2026-11-28T12:00:00Z\n\
         \x20 transactionId   msg_1\n\
         \x20 Idempotency-Key key\n\
         \x20 Revenium's id   rev_1\n\
         \n\
         record 7 is a dead letter\n\
         \x20 event           completion of profile default\n\
         \x20 received        2026-11-28T12:00:00Z\n\
         \x20 transactionId   msg_1\n\
         \x20 Idempotency-Key key\n\
         \x20 died            2026-11-28T12:00:02Z\n\
         \x20 why             refused-by-upstream (422): no\u{fffd}[2J\n\
         \x20 next            `revenium-agent dlq show 7`\n\
         \n\
         record 8 waits, after 2 attempts\n\
         \x20 event           completion of profile default\n\
         \x20 received        2026-11-28T12:00:00Z\n\
         \x20 transactionId   msg_1\n\
         \x20 Idempotency-Key key\n\
         \x20 why             no agent runs that could be asked\n\
         \x20 not before      2026-11-28T12:01:00Z\n\
         \n\
         the log has 1 damaged place, in which nothing can be looked up: `revenium-agent log verify` says where\n"
    );
}

#[test]
fn a_body_is_meant_by_its_own_id_however_it_is_written_and_by_no_text_in_it() {
    let is_meant = |id: &str, body: &str| Sought::new(Id::new(id)).is_meant("key", 0, body.as_bytes());
    for (id, body, expected) in [
        ("msg_1", r#"{"transactionId":"msg_1"}"#, true),
        ("msg_1", r#"{"a":{"transactionId":"msg_1"},"transactionId":"msg_2"}"#, false),
        ("msg_1", r#"{"systemPrompt":"\"transactionId\":\"msg_1\"","transactionId":"msg_2"}"#, false),
        ("msg_1", r#"{"transactionId":"msg_11"}"#, false),
        ("msg_1", r#"{"transactionId":"msg_1-iteration-3"}"#, true),
        ("a/b", r#"{"transactionId":"a\/b"}"#, true),
        ("ä<", r#"{"transactionId":"\u00e4\u003c"}"#, true),
        ("12", r#"{"transactionId":12}"#, true),
        ("msg_1", r#"{"call":{"id":"msg_1"}}"#, true),
        ("key", "not JSON", true),
        ("JSON", "not JSON", false),
    ] {
        assert_eq!(is_meant(id, body), expected, "{id}: {body}");
    }
}
