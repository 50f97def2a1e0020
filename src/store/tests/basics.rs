//! A store as its caller sees it: appended, claimed, settled, reopened.
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use revenium_store::{
    AppendError, Appended, DeadNote, End, LaneStats, OpenError, Options, ProducerId, ReadError, Record, Seq,
    Settlement, Store,
};
use support::{append, fast_dir, lane, record, remove_index, small, text};

const LONG: Duration = Duration::from_secs(20);

fn open(dir: &std::path::Path) -> Store {
    let store = Store::open(small(dir, None)).unwrap();
    assert!(store.wait_ready(LONG));
    store
}

fn claim_all(store: &Store, of: u8, end: End) -> Vec<Record> {
    assert!(store.wait_settled(LONG));
    let mut all = Vec::new();
    loop {
        let some = store.claim(&lane(of), end, 7, 2_000).unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

fn dead(words: &str) -> DeadNote {
    DeadNote { reason: 3, status: 400, words: words.into(), at_ms: 5 }
}

#[test]
fn what_was_appended_comes_back_with_its_bytes_and_keys_oldest_or_newest_first() {
    let dir = fast_dir();
    let store = open(dir.path());
    for i in 0..40 {
        append(&store, vec![record(0, &format!("k{i}"), &format!("b{i}")), record(1, "x", "y")]).unwrap();
    }
    assert!(store.wait_settled(LONG));
    let newest = store.claim(&lane(0), End::Newest, 2, 0).unwrap();
    assert_eq!(newest.iter().map(text).collect::<Vec<_>>(), ["b39", "b38"]);
    let rest = claim_all(&store, 0, End::Oldest);
    let expected: Vec<_> = (0..38).map(|i| format!("b{i}")).collect();
    assert_eq!(rest.iter().map(text).collect::<Vec<_>>(), expected);
    assert_eq!(&*rest[3].key, "k3");
    assert_eq!(claim_all(&store, 1, End::Oldest).len(), 40);
}

#[test]
fn a_settled_record_is_gone_after_a_restart_and_an_unsettled_one_is_not() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, (0..10).map(|i| record(0, &format!("k{i}"), &format!("b{i}"))).collect()).unwrap();
    for r in claim_all(&store, 0, End::Oldest).iter().take(4) {
        store.settle(r.seq, Settlement::Delivered);
    }
    store.close();
    drop(store);
    let store = open(dir.path());
    let left: Vec<_> = claim_all(&store, 0, End::Oldest).iter().map(text).collect();
    assert_eq!(left, ["b4", "b5", "b6", "b7", "b8", "b9"]);
    let ledger = store.lanes()[0].ledger;
    assert_eq!((ledger.received, ledger.delivered, store.lanes()[0].waiting), (10, 4, 6));
    assert_eq!(store.stats().imbalance, 0);
}

#[test]
fn an_index_that_was_deleted_is_made_anew_with_nothing_lost_and_nothing_twice() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, (0..10).map(|i| record(0, &format!("k{i}"), &format!("b{i}"))).collect()).unwrap();
    let claimed = claim_all(&store, 0, End::Oldest);
    store.settle(claimed[0].seq, Settlement::Delivered);
    store.settle(claimed[1].seq, Settlement::Dead(dead("no")));
    store.settle(
        claimed[2].seq,
        Settlement::Postponed { not_before_ms: 1_500, attempts: 3, first_attempt_at_ms: 7 },
    );
    store.close();
    drop(store);
    remove_index(dir.path());
    let store = open(dir.path());
    let left = claim_all(&store, 0, End::Oldest);
    assert_eq!(left.len(), 8);
    assert_eq!((left[0].attempts, left[0].first_attempt_at_ms), (3, 7));
    let letters = store.dead_letters(Seq(0), 10).unwrap();
    assert_eq!((letters.len(), text(&letters[0].record)), (1, "b1".into()));
    assert_eq!(letters[0].note, dead("no"));
    assert_eq!((store.stats().imbalance, store.stats().index_rebuilds), (0, 1));
}

#[test]
fn resends_are_stored_once_and_conflicts_are_kept_as_dead_letters() {
    let dir = fast_dir();
    let numbered = |n: u64, fingerprint: u64| {
        let mut r = record(0, &format!("00000000-0000-4000-8000-0000000000{n:02}"), "b");
        r.number = Some((ProducerId([1; 16]), n));
        r.fingerprint = fingerprint;
        r
    };
    let store = open(dir.path());
    let first = append(&store, vec![numbered(1, 5), numbered(1, 5), numbered(2, 5)]).unwrap();
    assert_eq!(first, [Appended::Stored(Seq(1)), Appended::Duplicate, Appended::Stored(Seq(2))]);
    drop(store);
    let store = open(dir.path());
    let again = append(&store, vec![numbered(2, 5), numbered(1, 6), numbered(1, 6)]).unwrap();
    assert_eq!(again, [Appended::Duplicate, Appended::Conflict(Seq(3)), Appended::Conflict(Seq(0))]);
    assert_eq!(claim_all(&store, 0, End::Oldest).len(), 2);
    assert_eq!(store.dead_letters(Seq(0), 10).unwrap().len(), 1);
    assert_eq!(store.stats().imbalance, 0);
}

#[test]
fn a_retried_dead_letter_waits_again_and_is_counted_once() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, vec![record(0, "k", "b")]).unwrap();
    let seq = claim_all(&store, 0, End::Oldest)[0].seq;
    store.settle(seq, Settlement::Dead(dead("no")));
    assert!(store.wait_settled(LONG));
    let mut again = record(0, "k2", "b mended");
    again.replaces = Some(seq);
    append(&store, vec![again]).unwrap();
    assert_eq!(claim_all(&store, 0, End::Oldest).iter().map(text).collect::<Vec<_>>(), ["b mended"]);
    assert!(store.dead_letters(Seq(0), 10).unwrap().is_empty());
    assert!(!store.discard_dead(seq).unwrap());
    let lanes = store.lanes();
    assert_eq!((lanes[0].ledger.received, lanes[0].waiting, store.stats().imbalance), (1, 1, 0));
}

#[test]
fn a_dead_letter_that_is_sent_elsewhere_is_discarded_here_and_received_there() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, vec![record(0, "k", "b"), record(0, "j", "b2")]).unwrap();
    let seq = claim_all(&store, 0, End::Oldest)[0].seq;
    store.settle(seq, Settlement::Dead(dead("no")));
    assert!(store.wait_settled(LONG));
    let mut again = record(1, "k2", "b");
    again.replaces = Some(seq);
    append(&store, vec![again]).unwrap();
    assert!(store.wait_followed(LONG));
    let check = |store: &Store| {
        assert!(store.dead_letters(Seq(0), 10).unwrap().is_empty());
        let counts = |l: &LaneStats| (l.ledger.received, l.waiting, l.ledger.dead, l.ledger.discarded);
        assert_eq!(store.lanes().iter().map(counts).collect::<Vec<_>>(), [(2, 1, 0, 1), (1, 1, 0, 0)]);
        assert_eq!(store.stats().imbalance, 0);
    };
    check(&store);
    drop(store);
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("index-") {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let store = open(dir.path());
    check(&store);
}

#[test]
fn what_waited_at_a_moment_is_told_from_what_came_after() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, vec![record(0, "a", "1"), record(1, "b", "2")]).unwrap();
    append(&store, vec![record(0, "c", "3")]).unwrap();
    assert!(store.wait_followed(LONG));
    let mark = store.followed_to().unwrap();
    append(&store, vec![record(0, "d", "4"), record(2, "e", "5")]).unwrap();
    assert!(store.wait_followed(LONG));
    assert_eq!(store.waiting_before(mark).unwrap(), [(lane(0), 2), (lane(1), 1)]);
    for of in [0, 1, 2] {
        for r in claim_all(&store, of, End::Oldest).iter().filter(|r| r.seq < mark) {
            store.settle(r.seq, Settlement::Delivered);
        }
    }
    assert!(store.wait_settled(LONG));
    assert_eq!(store.waiting_before(mark).unwrap(), []);
    assert_eq!(store.waiting_before(store.followed_to().unwrap()).unwrap(), [(lane(0), 1), (lane(2), 1)]);
}

#[test]
fn a_postponed_record_is_not_due_before_its_time() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, vec![record(0, "k", "b")]).unwrap();
    let seq = claim_all(&store, 0, End::Oldest)[0].seq;
    let later = Settlement::Postponed { not_before_ms: 9_000, attempts: 1, first_attempt_at_ms: 8_000 };
    store.settle(seq, later);
    assert!(store.wait_settled(LONG));
    assert!(store.claim(&lane(0), End::Oldest, 1, 8_999).unwrap().is_empty());
    assert_eq!(store.claim(&lane(0), End::Oldest, 1, 9_000).unwrap()[0].attempts, 1);
}

#[test]
fn small_values_survive_a_restart_and_recycling() {
    let dir = fast_dir();
    let store = open(dir.path());
    store.put_state("pause/default", b"since 12");
    store.put_state("gone", b"x");
    store.put_state("gone", b"");
    for i in 0..60 {
        append(&store, (0..8).map(|k| record(0, &format!("k{i}-{k}"), &"x".repeat(800))).collect()).unwrap();
        for r in claim_all(&store, 0, End::Oldest) {
            store.settle(r.seq, Settlement::Delivered);
        }
    }
    store.close();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.state("pause/default").as_deref(), Some(&b"since 12"[..]));
    assert_eq!(store.state("gone"), None);
}

#[test]
fn settled_segments_are_recycled_and_survivors_move() {
    let dir = fast_dir();
    let store = open(dir.path());
    let mut kept = Vec::new();
    for i in 0..200 {
        append(&store, (0..8).map(|k| record(0, &format!("k{i}-{k}"), &"x".repeat(800))).collect()).unwrap();
        for (k, r) in claim_all(&store, 0, End::Oldest).into_iter().enumerate() {
            if i % 50 == 0 && k == 0 {
                kept.push(r);
            } else {
                store.settle(r.seq, Settlement::Delivered);
            }
        }
    }
    // 1,600 records of 800 bytes are some 20 segments of 64 KiB.
    let began = std::time::Instant::now();
    while store.stats().log_bytes > 8 * (64 << 10) {
        assert!(began.elapsed() < LONG, "still {} bytes", store.stats().log_bytes);
        std::thread::yield_now();
    }
    assert!(store.wait_settled(LONG));
    assert_eq!(store.lanes()[0].waiting, 4);
    drop(store);
    for index in std::fs::read_dir(dir.path()).unwrap().flatten() {
        if index.file_name().to_string_lossy().starts_with("index-") {
            std::fs::remove_dir_all(index.path()).unwrap();
        }
    }
    let store = open(dir.path());
    let left = claim_all(&store, 0, End::Oldest);
    assert_eq!(
        left.iter().map(|r| r.seq).collect::<Vec<_>>(),
        kept.iter().map(|r| r.seq).collect::<Vec<_>>()
    );
    assert_eq!(
        left.iter().map(|r| &r.key).collect::<Vec<_>>(),
        kept.iter().map(|r| &r.key).collect::<Vec<_>>()
    );
    let ledger = store.lanes()[0].ledger;
    assert_eq!((ledger.received, ledger.delivered, store.stats().imbalance), (1600, 1596, 0));
}

#[test]
fn a_second_opener_is_told_who_holds_the_store() {
    let dir = fast_dir();
    let _store = open(dir.path());
    let refused = Store::open(small(dir.path(), None)).err().unwrap();
    assert!(matches!(refused, OpenError::Locked { .. }));
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
}

#[test]
fn a_store_of_a_newer_format_is_left_alone() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, vec![record(0, "k", "b")]).unwrap();
    drop(store);
    let path = std::fs::read_dir(dir.path())
        .unwrap()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|x| x == "log"))
        .min()
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..124]).to_le_bytes();
    bytes[124..128].copy_from_slice(&crc);
    std::fs::write(&path, &bytes).unwrap();
    let refused = Store::open(small(dir.path(), None)).err().unwrap();
    assert!(refused.to_string().contains("format 9"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn limits_hold_at_the_limit_and_one_past_it() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, vec![record(0, "k", &"x".repeat(2048))]).unwrap();
    let over = append(&store, vec![record(0, "k", &"x".repeat(2049))]);
    assert!(matches!(over, Err(AppendError::OutOfBounds(_))), "{over:?}");
    append(&store, vec![record(0, &"k".repeat(255), "b")]).unwrap();
    assert!(append(&store, vec![record(0, &"k".repeat(256), "b")]).is_err());
    store.close();
    assert_eq!(append(&store, vec![record(0, "k", "b")]), Err(AppendError::Closing));
    assert_eq!(store.claim(&lane(0), End::Oldest, 1, 0).unwrap_err(), ReadError::Closing);
}

#[test]
fn a_full_store_says_so_and_takes_in_again_when_room_was_made() {
    let dir = fast_dir();
    let mut options = small(dir.path(), None);
    options.capacity_bytes = 6 * options.segment_bytes;
    let store = Store::open(options).unwrap();
    assert!(store.wait_ready(LONG));
    let mut stored = 0u64;
    let refused = loop {
        match append(
            &store,
            (0..3).map(|k| record(0, &format!("k{stored}-{k}"), &"x".repeat(2000))).collect(),
        ) {
            Ok(_) => stored += 3,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&refused, AppendError::Full { budget, .. } if budget == "store"), "{refused:?}");
    let claimed = claim_all(&store, 0, End::Oldest);
    assert_eq!(store.stats().lanes[0].ledger.received, stored);
    assert_eq!(claimed.len() as u64, stored, "what was acknowledged before is all there");
    for r in claimed {
        store.settle(r.seq, Settlement::Delivered);
    }
    let began = std::time::Instant::now();
    while append(&store, vec![record(0, "again", &"x".repeat(2000))]).is_err() {
        assert!(began.elapsed() < LONG);
    }
}

#[test]
fn an_index_that_is_being_made_anew_raises_no_alarm() {
    let dir = fast_dir();
    let store = open(dir.path());
    for i in 0..600 {
        append(&store, vec![record(0, &format!("k{i}"), &"b".repeat(500))]).unwrap();
    }
    drop(store);
    // So that a checkpoint has counted what the new index is yet to meet.
    drop(open(dir.path()));
    remove_index(dir.path());
    let store = Store::open(small(dir.path(), None)).unwrap();
    let mut seen = vec![0];
    while !store.is_ready() {
        seen.push(store.stats().imbalance);
    }
    seen.dedup();
    assert_eq!(seen, [0], "nothing is known until the log's end is reached");
    assert_eq!((store.stats().imbalance, store.lanes()[0].waiting), (0, 600));
}

#[test]
fn a_profile_that_has_used_up_its_budget_is_full_while_others_go_on() {
    let dir = fast_dir();
    let store = Store::open(Options { profile_bytes_max: 4_000, ..small(dir.path(), None) }).unwrap();
    assert!(store.wait_ready(LONG));
    let mut stored = 0;
    let full = loop {
        // What is held is known as far as the index has followed.
        assert!(store.wait_settled(LONG));
        match append(&store, vec![record(0, &format!("k{stored}"), &"x".repeat(500))]) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(stored, 8, "at the limit");
    let expected = AppendError::Full { budget: "profile default".into(), bytes: 4_000, bytes_max: 4_000 };
    assert_eq!(full, expected, "one past it");
    append(&store, vec![record(1, "other", "of another profile")]).unwrap();
    assert!(store.wait_settled(LONG));
    for claimed in store.claim(&lane(0), End::Oldest, 1, 2_000).unwrap() {
        store.settle(claimed.seq, Settlement::Delivered);
    }
    assert!(store.wait_settled(LONG));
    append(&store, vec![record(0, "again", &"x".repeat(500))]).unwrap();
}
