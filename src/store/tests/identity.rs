//! Who a record is: what is stored once, what is a conflict, and what is another event.
#![allow(missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use revenium_store::{AppendError, Appended, DeadLetter, End, NewRecord, Options, ProducerId, Seq, Store};
use support::{CrashDisk, append, fast_dir, lane, record, small, text};

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

/// One thing of the sender's, numbered 7, and two parts of it.
fn in_parts(fingerprint: u64) -> Vec<NewRecord> {
    let mut records: Vec<_> =
        ["w", "p1", "p2"].map(|key| record(0, key, &format!("{key}-{fingerprint}"))).into();
    for r in &mut records {
        (r.key_is_identity, r.fingerprint, r.is_part) = (true, fingerprint, true);
    }
    (records[0].number, records[0].is_part) = (Some((ProducerId([1; 16]), 7)), false);
    records
}

#[test]
fn parts_of_a_resend_are_resends_though_their_keys_are_forgotten() {
    let dir = fast_dir();
    let options = || Options { recent_keys_max: 2, ..small(dir.path(), None) };
    let store = open_with(options());
    append(&store, in_parts(1)).unwrap();
    for key in ["a", "b", "c"] {
        let mut other = record(0, key, "b");
        other.key_is_identity = true;
        append(&store, vec![other]).unwrap();
    }
    assert_eq!(append(&store, in_parts(1)).unwrap(), [Appended::Duplicate; 3]);
    drop(store);
    assert_eq!(append(&open_with(options()), in_parts(1)).unwrap(), [Appended::Duplicate; 3]);
}

/// A part that the first one did not have would be billed although its sender is told of a conflict.
#[test]
fn parts_of_a_conflict_are_dead_letters_once() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, in_parts(1)[..2].to_vec()).unwrap();
    let answers = append(&store, in_parts(2)).unwrap();
    assert!(answers.iter().all(|a| matches!(a, Appended::Conflict(seq) if seq.0 > 0)), "{answers:?}");
    assert_eq!(append(&store, in_parts(2)).unwrap(), [Appended::Conflict(Seq(0)); 3], "they are kept");
    assert_eq!(append(&store, in_parts(1)[..2].to_vec()).unwrap(), [Appended::Duplicate; 2]);
    assert!(store.wait_followed(Duration::from_secs(20)));
    let dead = store.dead_letters(Seq(0), 9).unwrap();
    let dead: Vec<_> = dead.iter().map(|DeadLetter { record, .. }| text(record)).collect();
    let waits = store.claim(&lane(0), End::Oldest, 9, u64::MAX).unwrap();
    assert_eq!(dead, ["w-2", "p1-2", "p2-2"]);
    assert_eq!(waits.iter().map(text).collect::<Vec<_>>(), ["w-1", "p1-1"]);
}

#[test]
fn a_crash_leaves_all_parts_or_none() {
    let mut met = [false; 2];
    for sectors in 0..12 {
        let dir = fast_dir();
        let disk = Arc::new(CrashDisk::default());
        let options =
            |disk| Options { chunk_records_max: 1, compress_bytes_min: u64::MAX, ..small(dir.path(), disk) };
        let store = open_with(options(Some(disk.clone())));
        append(&store, vec![record(0, "before", "b")]).unwrap();
        let mut records = in_parts(1);
        records.iter_mut().for_each(|r| r.body = vec![b'x'; 1000].into());
        disk.die_in(1);
        assert!(append(&store, records).is_err(), "the flush fails");
        drop(store);
        let mut written = 0;
        disk.lose_unflushed(|| {
            written += 1;
            written > sectors
        });
        let store = open_with(options(None));
        let waits = store.claim(&lane(0), End::Oldest, 9, u64::MAX).unwrap().len();
        assert!(waits == 1 || waits == 4, "{waits} with {sectors} sectors");
        met[usize::from(waits == 4)] = true;
    }
    assert_eq!(met, [true; 2], "neither is all there is");
}
