//! Tests of receipts: their lines and ids, and looking them up.

use std::path::Path;

use super::folder::{FILE_BYTES_MAX, Folder};
use super::*;

fn receipt(seq: u64) -> Receipt {
    Receipt {
        seq,
        transaction: format!("msg_{seq}"),
        key: format!("key-{seq}"),
        id: Some(format!("rev-{seq}")),
        profile: "default".to_owned(),
        kind: "completion".to_owned(),
        received_ms: 1_795_867_200_000 + seq,
        delivered_ms: 1_795_867_200_500 + seq,
        attempts: 1,
    }
}

fn write(dir: &Path, receipts: &[Receipt], more: &str) {
    let mut lines = Vec::new();
    receipts.iter().for_each(|receipt| receipt.write(&mut lines));
    lines.extend(more.bytes());
    Folder::new(dir.to_owned(), 0).append(&lines, receipts[0].delivered_ms).expect("written");
}

fn seqs(dir: &Path, id: &str) -> Vec<u64> {
    search(dir, Id::new(id), 100).expect("read").receipts.iter().map(|receipt| receipt.seq).collect()
}

#[test]
fn a_receipt_is_found_by_each_of_its_ids_and_by_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), &[receipt(1), receipt(11)], "");
    write(dir.path(), &[receipt(2)], "");
    for id in ["msg_1", "key-1", "rev-1"] {
        assert_eq!(seqs(dir.path(), id), [1], "{id}");
    }
    for id in ["msg_", "sg_1", "default", "completion", "1", "msg_3", "\"", "msg_1\",\"key\":\"key-1"] {
        assert_eq!(seqs(dir.path(), id), [0; 0], "{id}");
    }
    let found = search(dir.path(), Id::new("msg_2"), 100).expect("read");
    let since_ms = Some(receipt(1).delivered_ms);
    assert_eq!(found, Found { receipts: vec![receipt(2)], has_more: false, since_ms });
}

#[test]
fn all_that_have_an_id_are_found_and_of_too_many_the_newest() {
    let dir = tempfile::tempdir().expect("a folder");
    let same = |seq| Receipt { transaction: "msg_1".to_owned(), ..receipt(seq) };
    write(dir.path(), &(1..=5).map(same).collect::<Vec<_>>(), "");
    // On the next day, in a file of its own.
    let later = Receipt { delivered_ms: receipt(6).delivered_ms + 24 * 3600 * 1000, ..same(6) };
    write(dir.path(), &[later], "");
    assert_eq!(seqs(dir.path(), "msg_1"), [6, 5, 4, 3, 2, 1]);
    for (max, expected, has_more) in [(6, &[6, 5, 4, 3, 2, 1][..], false), (5, &[6, 5, 4, 3, 2], true)] {
        let found = search(dir.path(), Id::new("msg_1"), max).expect("read");
        let seqs: Vec<u64> = found.receipts.iter().map(|receipt| receipt.seq).collect();
        assert_eq!((&seqs[..], found.has_more), (expected, has_more));
    }
}

#[test]
fn a_call_s_passes_are_found_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let named = |seq, transaction: &str| Receipt { transaction: transaction.to_owned(), ..receipt(seq) };
    let others = ["msg_1-iteration-", "msg_1-iteration-x", "msg_1-iterations-1", "xmsg_1-iteration-1"];
    let others: Vec<Receipt> = others.iter().zip(10..).map(|(id, seq)| named(seq, id)).collect();
    write(dir.path(), &[&[receipt(1), named(2, "msg_1-iteration-0")][..], &others].concat(), "");
    assert_eq!(seqs(dir.path(), "msg_1"), [2, 1]);
    assert_eq!(seqs(dir.path(), "msg_1-iteration-0"), [2]);
}

#[test]
fn lines_that_were_cut_off_hide_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), &[receipt(1)], "{\"seq\":2,\"transaction\":\"msg_1\",\"key\":\"k");
    write(dir.path(), &[receipt(3)], "\n\nno JSON, with msg_3 in it\n\0\0\0msg_3");
    assert_eq!(seqs(dir.path(), "msg_1"), [1]);
    assert_eq!(seqs(dir.path(), "msg_3"), [3]);
    assert_eq!(search(&dir.path().join("none"), Id::new("x"), 1).expect("none"), Found::default());
}

#[test]
fn ids_are_kept_and_looked_for_up_to_a_length() {
    let dir = tempfile::tempdir().expect("a folder");
    let (longest, longer) = ("x".repeat(255), "x".repeat(256));
    let umlaut = "ä".repeat(128);
    assert_eq!((cut(&longest), cut(&longer), cut(&umlaut).len()), (&*longest, &*longest, 254));
    write(dir.path(), &[Receipt { transaction: cut(&longer).to_owned(), ..receipt(1) }], "");
    for (id, expected) in [(&longest[..], &[1][..]), (&longer, &[1]), (&longest[1..], &[])] {
        assert_eq!(seqs(dir.path(), id), expected, "{}", id.len());
    }
    // Escaped in its line.
    write(dir.path(), &[Receipt { transaction: "a\"\\\u{1}ä".to_owned(), ..receipt(2) }], "");
    assert_eq!(seqs(dir.path(), "a\"\\\u{1}ä"), [2]);
}

#[test]
fn as_many_receipts_as_are_written_at_once_fit_a_file() {
    let worst = "\u{1}".repeat(ID_BYTES_MAX);
    let receipt = Receipt {
        seq: u64::MAX,
        transaction: worst.clone(),
        key: worst.clone(),
        id: Some(worst),
        profile: "p".repeat(revenium_event::limits::PROFILE_BYTES_MAX),
        kind: "api-response".to_owned(),
        received_ms: u64::MAX,
        delivered_ms: u64::MAX,
        attempts: u32::MAX,
    };
    let mut line = Vec::new();
    receipt.write(&mut line);
    // With the end of a line that a crash cut off.
    assert!((line.len() * keep::WRITTEN_AT_ONCE_MAX + 1) as u64 <= FILE_BYTES_MAX, "{}", line.len());
}

#[test]
fn the_id_of_an_answer_is_a_text_or_a_number() {
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(300));
    for (body, id) in [
        (r#"{"id":"rev_1","label":"x"}"#, Some("rev_1")),
        (r#"{"label":{"id":"inner"},"id":"a\u0062"}"#, Some("ab")),
        (r#"{"id":42}"#, Some("42")),
        (r#"{"id":""}"#, None),
        (r#"{"id":null}"#, None),
        (r#"{"id":true}"#, None),
        (r#"{"id":{"x":1}}"#, None),
        (r#"{"ok":1}"#, None),
        (r#"{"id":"rev_1""#, None),
        ("", None),
        (&long, Some(&"x".repeat(255)[..])),
    ] {
        assert_eq!(given_id(body.as_bytes()).as_deref(), id, "{body}");
    }
}
