//! Who a record is: what is stored once, what is a conflict, and what is another event.
#![allow(missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use revenium_store::{AppendError, Appended, Options, ProducerId, Store};
use support::{CrashDisk, append, fast_dir, record, small};

fn open_with(options: Options) -> Store {
    let store = Store::open(options).unwrap();
    assert!(store.wait_ready(Duration::from_secs(20)));
    store
}

fn open(dir: &Path) -> Store {
    open_with(small(dir, None))
}

#[test]
fn a_number_used_twice_with_other_bytes_is_a_conflict_though_its_key_is_random() {
    let dir = fast_dir();
    let store = open(dir.path());
    // As intake keeps what it refuses: known by its number, its key is random.
    let numbered = |key: &str, fingerprint: u64| {
        let mut r = record(0, key, &format!("b{fingerprint}"));
        r.number = Some((ProducerId([1; 16]), 1));
        r.fingerprint = fingerprint;
        r
    };
    append(&store, vec![numbered("random", 1)]).unwrap();
    assert_eq!(append(&store, vec![numbered("random too", 1)]).unwrap(), [Appended::Duplicate]);
    drop(store);
    let store = open(dir.path());
    let mut mended = numbered("of the number", 2);
    mended.key_is_identity = true;
    let answer = append(&store, vec![mended]).unwrap();
    assert!(matches!(answer[0], Appended::Conflict(_)), "acknowledged and thrown away: {answer:?}");
}

#[test]
fn the_same_key_and_bytes_for_another_profile_are_another_event() {
    let dir = fast_dir();
    let keyed = |lane_of: u8| {
        let mut r = record(lane_of, "k", "b");
        // As intake has it: the profile is part of the fingerprint.
        (r.key_is_identity, r.fingerprint) = (true, u64::from(lane_of));
        r
    };
    let store = open(dir.path());
    for lane_of in [0, 1] {
        let first = append(&store, vec![keyed(lane_of)]).unwrap();
        assert!(matches!(first[0], Appended::Stored(_)), "{first:?}");
    }
    drop(store);
    let store = open(dir.path());
    for lane_of in [0, 1] {
        assert_eq!(append(&store, vec![keyed(lane_of)]).unwrap(), [Appended::Duplicate]);
    }
}

/// Keys count within a profile, numbers do not: taken for a resend it would be acknowledged and thrown away.
#[test]
fn a_number_used_again_for_another_profile_is_a_conflict() {
    let dir = fast_dir();
    let numbered = |lane_of: u8| {
        let mut r = record(lane_of, "of the number", "b");
        r.number = Some((ProducerId([1; 16]), 1));
        (r.key_is_identity, r.fingerprint) = (true, u64::from(lane_of));
        r
    };
    let store = open(dir.path());
    append(&store, vec![numbered(0)]).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(append(&store, vec![numbered(0)]).unwrap(), [Appended::Duplicate]);
    let other = append(&store, vec![numbered(1)]).unwrap();
    assert!(matches!(other[0], Appended::Conflict(seq) if seq.0 > 0), "{other:?}");
}

#[test]
fn numbers_with_too_many_gaps_are_refused_until_the_gaps_close() {
    let dir = fast_dir();
    let store = open_with(Options { producer_ranges_max: 2, ..small(dir.path(), None) });
    let send = |n: u64| {
        let mut r = record(0, &format!("k{n}"), "b");
        r.number = Some((ProducerId([1; 16]), n));
        append(&store, vec![r])
    };
    send(1).unwrap();
    send(3).unwrap();
    assert_eq!(send(5), Err(AppendError::TooManyGaps { runs_max: 2 }), "one past the limit");
    send(2).unwrap();
    assert!(matches!(send(5).unwrap()[0], Appended::Stored(_)), "it was refused, not taken for seen");
}

#[test]
fn a_conflict_that_could_not_be_stored_is_stored_when_it_comes_again() {
    let dir = fast_dir();
    let disk = Arc::new(CrashDisk::default());
    let store = open_with(small(dir.path(), Some(disk.clone())));
    let keyed = |fingerprint: u64| {
        let mut r = record(0, "k", &format!("b{fingerprint}"));
        (r.key_is_identity, r.fingerprint) = (true, fingerprint);
        r
    };
    append(&store, vec![keyed(1)]).unwrap();
    disk.fail_flushes(2);
    assert!(append(&store, vec![keyed(2)]).is_err());
    let answer = append(&store, vec![keyed(2)]).unwrap();
    assert!(matches!(answer[0], Appended::Conflict(seq) if seq.0 > 0), "{answer:?}");
}
