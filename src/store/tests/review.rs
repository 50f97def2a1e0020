//! What a review found, one test for each: options that change between runs, a store that stays
//! full for long, notes that are said again, a watermark that is behind.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use revenium_store::{AppendError, DeadNote, End, Options, Record, Settlement, Store};
use support::{append, fast_dir, lane, record, remove_index, small, text};

const LONG: Duration = Duration::from_secs(20);

fn open_with(options: Options) -> Store {
    let store = Store::open(options).unwrap();
    assert!(store.wait_ready(LONG));
    store
}

fn open(dir: &Path) -> Store {
    open_with(small(dir, None))
}

fn claim_all(store: &Store, of: u8) -> Vec<Record> {
    assert!(store.wait_settled(LONG));
    let mut all = Vec::new();
    loop {
        let some = store.claim(&lane(of), End::Oldest, 50, 2_000).unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

fn bodies(store: &Store) -> BTreeSet<String> {
    claim_all(store, 0).iter().map(text).collect()
}

/// Text that does not compress to nothing.
fn noise(seed: u64, bytes: usize) -> String {
    (0..bytes as u64).map(|i| format!("{:x}", (seed + i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60)).collect()
}

fn lost(store: &Store) -> u64 {
    assert!(store.wait_settled(LONG));
    store.stats().lanes.iter().map(|l| l.ledger.lost).sum()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|x| x == "log"))
        .collect();
    found.sort();
    found
}

/// Waits for the preparer, which works in the background.
fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn larger_or_smaller_segments_from_one_run_to_the_next_cost_no_record() {
    for bytes in [128u64 << 10, 32 << 10] {
        let dir = fast_dir();
        let store = open(dir.path());
        append(&store, vec![record(0, "k", "before")]).unwrap();
        wait_for("two are prepared", || segments(dir.path()).len() == 3);
        drop(store);
        let store = open_with(Options { segment_bytes: bytes, ..small(dir.path(), None) });
        let mut expected = BTreeSet::from(["before".to_owned()]);
        for i in 0..400 {
            let body = format!("{i}:{}", "x".repeat(900));
            append(&store, vec![record(0, &format!("k{i}"), &body)]).unwrap();
            expected.insert(body);
        }
        assert_eq!(bodies(&store).len(), expected.len(), "segments of {bytes} bytes");
        assert_eq!(lost(&store), 0, "segments of {bytes} bytes");
        drop(store);
        assert_eq!(bodies(&open(dir.path())), expected);
    }
}

#[test]
fn records_never_take_the_reserve_so_a_full_store_can_always_note_what_was_delivered() {
    let dir = fast_dir();
    let mut options = small(dir.path(), None);
    options.capacity_bytes = 6 * options.segment_bytes;
    let store = open_with(options);
    let fill = |store: &Store, tag: &str| -> u64 {
        let mut stored = 0;
        loop {
            match append(store, vec![record(0, &format!("{tag}{stored}"), &"x".repeat(200))]) {
                Ok(_) => stored += 1,
                Err(AppendError::Full { .. }) => return stored,
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    let mut stored = fill(&store, "a");
    // Notes go on: they fill what is left of the active segment, then take the reserve.
    for i in 0..10u8 {
        store.put_state_if_there_is_room(&format!("s{}", i % 4), &[i; 4000]);
        assert!(store.wait_settled(LONG), "notes go on while the store is full");
        stored += fill(&store, &format!("{i}-"));
    }
    for r in claim_all(&store, 0) {
        store.settle(r.seq, Settlement::Delivered);
    }
    assert!(store.wait_settled(Duration::from_secs(5)), "what was delivered cannot be noted any more");
    assert_eq!(store.stats().lanes[0].ledger.delivered, stored);
    wait_for("it takes in again", || append(&store, vec![record(0, "again", "b")]).is_ok());
}

#[test]
fn a_retry_said_again_does_not_end_the_claim_of_the_next_try() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, vec![record(1, "k", "slow")]).unwrap();
    let slow = claim_all(&store, 1).remove(0);
    let churn = |rounds: u32| {
        for i in 0..rounds {
            // Hashes, so that compression does not make it small.
            let body = |k: u32| {
                (0..100)
                    .map(|n| format!("{:08x}", crc32c::crc32c(&[i, k, n].map(u32::to_le_bytes).concat())))
                    .collect::<String>()
            };
            append(&store, (0..6).map(|k| record(0, &format!("k{i}-{k}"), &body(k))).collect()).unwrap();
            claim_all(&store, 0).iter().for_each(|r| store.settle(r.seq, Settlement::Delivered));
        }
        assert!(store.wait_settled(LONG));
    };
    churn(16); // the note shall lie in another segment than the record
    store.settle(slow.seq, Settlement::Postponed { not_before_ms: 0, attempts: 1, first_attempt_at_ms: 1 });
    assert!(store.wait_settled(LONG));
    let again = claim_all(&store, 1).remove(0);
    assert_eq!((again.seq, again.attempts), (slow.seq, 1));
    for _ in 0..10 {
        churn(16); // retires the segment with the note, which is said again
        std::thread::sleep(Duration::from_millis(30));
        assert!(claim_all(&store, 1).is_empty(), "it is claimed: nobody else may have it");
    }
    store.settle(again.seq, Settlement::Delivered);
    store.close();
    drop(store);
    assert!(claim_all(&open(dir.path()), 1).is_empty(), "it was delivered");
}

#[test]
fn damage_just_before_a_watermark_that_is_behind_costs_only_what_is_damaged() {
    let dir = fast_dir();
    let store = open(dir.path());
    for i in 0..5 {
        append(&store, vec![record(0, &format!("k{i}"), &format!("b{i}"))]).unwrap();
    }
    // What a power cut leaves: the log is flushed with every commit, the watermark every second.
    let behind = std::fs::read(dir.path().join("watermark")).unwrap();
    for i in 5..10 {
        append(&store, vec![record(0, &format!("k{i}"), &format!("b{i}"))]).unwrap();
    }
    store.close();
    drop(store);
    std::fs::write(dir.path().join("watermark"), behind).unwrap();
    remove_index(dir.path());
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(2).position(|w| w == b"b4").unwrap();
    // The header of the last chunk before the watermark.
    let chunk = bytes[..at].windows(4).rposition(|w| w == b"RVCK").unwrap();
    bytes[chunk + 20] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let store = open(dir.path());
    append(&store, vec![record(0, "k", "after")]).unwrap();
    let expected: BTreeSet<String> =
        ["b0", "b1", "b2", "b3", "b5", "b6", "b7", "b8", "b9", "after"].map(String::from).into();
    assert_eq!(bodies(&store), expected);
    assert_eq!((lost(&store), store.stats().imbalance), (1, 0));
}

#[test]
fn two_files_of_one_ordinal_left_by_a_failed_preparation_hide_nothing() {
    let dir = fast_dir();
    let store = open(dir.path());
    append(&store, vec![record(0, "k", "first")]).unwrap();
    wait_for("two are prepared", || segments(dir.path()).len() == 3);
    drop(store);
    // Renamed, then the directory's flush (or opening the file) failed: its ordinal is given again.
    let prepared = segments(dir.path())[1].clone();
    let name = prepared.file_name().unwrap().to_str().unwrap();
    let twin = format!("{}-00000000000000ff.log", name.rsplit_once('-').unwrap().0);
    std::fs::copy(&prepared, dir.path().join(twin)).unwrap();
    let store = open(dir.path());
    let mut expected = BTreeSet::from(["first".to_owned()]);
    for i in 0..300 {
        let body = format!("{i}:{}", "x".repeat(900));
        append(&store, vec![record(0, &format!("k{i}"), &body)]).unwrap();
        expected.insert(body);
    }
    assert_eq!(bodies(&store), expected);
    assert_eq!(lost(&store), 0);
    drop(store);
    assert_eq!(bodies(&open(dir.path())), expected);
}

#[test]
fn records_that_were_refused_are_never_counted_as_lost() {
    let dir = fast_dir();
    let mut options = small(dir.path(), None);
    options.capacity_bytes = 6 * options.segment_bytes;
    let store = open_with(options.clone());
    let mut last = 0;
    while append(&store, vec![record(0, &format!("k{last}"), &format!("<{last}>{}", "x".repeat(2000)))])
        .is_ok()
    {
        last += 1;
    }
    for _ in 0..50 {
        append(&store, vec![record(0, "refused", &"x".repeat(2000))]).unwrap_err();
    }
    let claimed = claim_all(&store, 0);
    for r in &claimed[..claimed.len() - 1] {
        store.settle(r.seq, Settlement::Delivered);
    }
    wait_for("room", || append(&store, vec![record(0, "again", &"x".repeat(2000))]).is_ok());
    store.close();
    drop(store);
    let needle = format!("<{}>", last - 1);
    let mut damaged = 0;
    for path in segments(dir.path()) {
        let mut bytes = std::fs::read(&path).unwrap();
        let Some(at) = bytes.windows(needle.len()).position(|w| w == needle.as_bytes()) else { continue };
        let chunk = bytes[..at].windows(4).rposition(|w| w == b"RVCK").unwrap();
        bytes[chunk + 20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0);
    remove_index(dir.path());
    let store = open_with(options);
    assert_eq!(lost(&store), 1, "one chunk of one record is damaged");
}

#[test]
fn a_settlement_is_durable_within_the_time_that_is_promised() {
    let dir = fast_dir();
    let within = Duration::from_millis(600);
    let store = open_with(Options { settle_within: within, ..small(dir.path(), None) });
    append(&store, vec![record(0, "k", "b")]).unwrap();
    assert!(store.wait_settled(LONG));
    // Once the maintainer has written its first checkpoint, with which notes may ride along.
    std::thread::sleep(Duration::from_millis(700));
    let mut r = store.claim(&lane(0), End::Oldest, 1, 1).unwrap().remove(0);
    let mut longest = Duration::ZERO;
    for after_ms in [100, 130, 160] {
        // The committer has just begun to wait when the note comes.
        std::thread::sleep(Duration::from_millis(after_ms));
        let began = Instant::now();
        store.settle(r.seq, Settlement::Postponed { not_before_ms: 0, attempts: 1, first_attempt_at_ms: 1 });
        wait_for("it is followed", || match store.claim(&lane(0), End::Oldest, 1, 1).unwrap().pop() {
            Some(again) => {
                r = again;
                true
            }
            None => false,
        });
        longest = longest.max(began.elapsed());
    }
    assert!(longest < within + Duration::from_millis(150), "{longest:?}");
}

/// A file was renamed for a new life and then could not be opened: gone for the log, it held nothing
/// back any more. The ends of its records went, and they came back with the file.
#[test]
fn a_segment_that_cannot_be_recycled_keeps_its_name_and_the_notes_of_its_records() {
    let dir = fast_dir();
    let mut options = small(dir.path(), None);
    // Full, so that what is retired is wanted as the next segment.
    options.capacity_bytes = 8 * options.segment_bytes;
    let store = open_with(options);
    let first = segments(dir.path()).remove(0);
    let body = "x".repeat(1000);
    while append(&store, vec![record(0, "k", &body)]).is_ok() {}
    let claimed = claim_all(&store, 0);
    // A directory in its place can be renamed, but neither opened nor removed as a file, not by root either.
    let aside = dir.path().join("aside");
    std::fs::rename(&first, &aside).unwrap();
    std::fs::create_dir(&first).unwrap();
    std::fs::write(first.join("x"), "").unwrap();
    claimed.iter().for_each(|r| store.settle(r.seq, Settlement::Delivered));
    wait_for("it is retired", || append(&store, vec![record(0, "k", &body)]).is_ok());
    // Time for several looks of the maintainer, were it to go on with the segments behind.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        if append(&store, vec![record(0, "k", &body)]).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        claim_all(&store, 0).iter().for_each(|r| store.settle(r.seq, Settlement::Delivered));
    }
    drop(store);
    let kept_its_name = first.is_dir();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        if entry.path().join("x").exists() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    std::fs::rename(&aside, &first).unwrap();
    remove_index(dir.path());
    let came_back = claim_all(&open(dir.path()), 0).len();
    assert_eq!((kept_its_name, came_back), (true, 0));
}

#[test]
fn closing_does_not_wait_for_an_index_that_has_far_to_go() {
    let dir = fast_dir();
    let store = open(dir.path());
    for i in 0..3000 {
        append(&store, vec![record(0, &format!("k{i}"), "b")]).unwrap();
    }
    drop(store);
    remove_index(dir.path());
    drop(Store::open(small(dir.path(), None)).unwrap());
    let store = open(dir.path());
    assert_eq!(store.stats().index_rebuilds, 1, "the close before has waited for the rebuild");
    assert_eq!(claim_all(&store, 0).len(), 3000);
}

/// A drain at work always has something noted: a person's command beside it waited for luck.
#[test]
fn what_was_noted_is_waited_for_and_not_what_comes_meanwhile() {
    let dir = fast_dir();
    let busy: Arc<Mutex<(Option<Store>, u32)>> = Arc::default();
    let noted_in_every_flush = busy.clone();
    let on_flush = move |_| {
        let (store, flushes) = &mut *noted_in_every_flush.lock().unwrap();
        if let Some(store) = store {
            store.put_state("busy", b"x");
            *flushes += 1;
        }
    };
    let options = Options {
        on_flush: Some(Arc::new(on_flush)),
        settle_within: Duration::from_secs(600),
        ..small(dir.path(), None)
    };
    let store = open_with(options);
    busy.lock().unwrap().0 = Some(store.clone());
    store.put_state("mine", b"x");
    let settled = store.wait_settled(LONG);
    let (_, flushes) = std::mem::take(&mut *busy.lock().unwrap());
    assert!(settled && flushes < 20, "{flushes} flushes");
}

#[test]
fn a_letter_that_was_sent_elsewhere_stays_ended_when_only_its_first_place_is_left() {
    let dir = fast_dir();
    let store = open(dir.path());
    // Its neighbours wait, so that its segment stays; all that follows is delivered, and goes.
    for i in 0..100 {
        append(&store, vec![record(0, &format!("k{i}"), &noise(i, 500))]).unwrap();
    }
    let fill = |rounds: std::ops::Range<u64>| {
        for i in rounds {
            let some = (0..7).map(|k| record(1, &format!("n{i}-{k}"), &noise(i * 7 + k, 900)));
            append(&store, some.collect()).unwrap();
            claim_all(&store, 1).iter().for_each(|r| store.settle(r.seq, Settlement::Delivered));
        }
        assert!(store.wait_settled(LONG));
    };
    let claimed = claim_all(&store, 0);
    fill(0..40);
    let note = DeadNote { reason: 3, status: 400, words: "no".into(), at_ms: 5 };
    store.settle(claimed[7].seq, Settlement::Dead(note));
    assert!(store.wait_settled(LONG));
    let mut again = record(1, "again", "elsewhere");
    again.replaces = Some(claimed[7].seq);
    append(&store, vec![again]).unwrap();
    let then = segments(dir.path());
    fill(40..250);
    wait_for("what spoke of it goes", || !then[1..].iter().any(|segment| segment.exists()));
    drop(store);
    remove_index(dir.path());
    let store = open(dir.path());
    assert_eq!((claim_all(&store, 0).len(), claim_all(&store, 1).len()), (99, 0));
    assert_eq!(store.stats().imbalance, 0);
}
