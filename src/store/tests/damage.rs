//! Damage and sick disks: what was acknowledged and can be read is kept, what cannot is counted
//! exactly, and the evidence stays.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use revenium_store::{AppendError, Appended, End, Settlement, Store};
use support::{CrashDisk, append, fast_dir, lane, newest_index, record, remove_index, small, text};

const LONG: Duration = Duration::from_secs(20);

fn open(dir: &Path) -> Store {
    let store = Store::open(small(dir, None)).unwrap();
    assert!(store.wait_ready(LONG));
    store
}

fn bodies(store: &Store) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    loop {
        let some = store.claim(&lane(0), End::Oldest, 50, 0).unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some.iter().map(text));
    }
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

/// A closed store with `n` records, each in a chunk of its own, its index deleted if asked.
fn filled(n: usize, without_index: bool) -> tempfile::TempDir {
    let dir = fast_dir();
    let store = open(dir.path());
    for i in 0..n {
        append(&store, vec![record(0, &format!("k{i}"), &body(i))]).unwrap();
    }
    store.close();
    drop(store);
    if without_index {
        remove_index(dir.path());
    }
    dir
}

/// Nothing else in a segment can look like it.
fn body(i: usize) -> String {
    format!("the body of record {i}.")
}

fn lost(store: &Store) -> u64 {
    assert!(store.wait_settled(LONG));
    store.stats().lanes.iter().map(|l| l.ledger.lost).sum()
}

/// Where the chunk that holds `needle` begins.
fn chunk_with(bytes: &[u8], needle: &str) -> usize {
    let at = bytes.windows(needle.len()).position(|w| w == needle.as_bytes()).unwrap();
    bytes[..at].windows(4).rposition(|w| w == b"RVCK").unwrap()
}

/// Where chunks begin.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.windows(4).enumerate().filter(|(_, w)| *w == b"RVCK").map(|(at, _)| at)
}

fn checkpoints(dir: &Path) -> usize {
    let in_one = |path| {
        let bytes = std::fs::read(path).unwrap();
        chunks(&bytes).filter(|at| bytes[at + 5] == 4).count()
    };
    segments(dir).into_iter().map(in_one).sum()
}

#[test]
fn a_flipped_byte_anywhere_in_a_chunk_costs_that_chunk_and_is_counted() {
    for (without_index, of) in [(false, 7), (true, 7), (true, 0)] {
        for what in 0..4 {
            let dir = filled(20, without_index);
            let path = &segments(dir.path())[0];
            let mut bytes = std::fs::read(path).unwrap();
            let begin = chunk_with(&bytes, &body(of));
            let end = chunks(&bytes).find(|at| *at > begin).unwrap();
            let at = [begin, begin + 20, begin + 70, end - 1][what];
            bytes[at] ^= 0x10;
            std::fs::write(path, bytes).unwrap();
            let store = open(dir.path());
            let left = bodies(&store);
            let expected: BTreeSet<String> = (0..20).filter(|i| *i != of).map(body).collect();
            assert_eq!(left, expected, "byte {what} of {of}, without index: {without_index}");
            assert_eq!(lost(&store), 1, "byte {what} of {of}, without index: {without_index}");
            assert_eq!(store.stats().imbalance, 0, "byte {what} of {of}, without index: {without_index}");
            assert!(store.stats().quarantine_bytes > 0);
            drop(store);
            let store = open(dir.path());
            assert_eq!((lost(&store), bodies(&store).len()), (1, 19), "it is counted once");
            drop(store);
            remove_index(dir.path());
            let store = open(dir.path());
            assert_eq!((lost(&store), bodies(&store).len()), (1, 19), "and in an index made anew");
            assert_eq!(store.stats().imbalance, 0);
        }
    }
}

#[test]
fn a_damaged_segment_header_costs_nothing() {
    for without_index in [false, true] {
        let dir = filled(20, without_index);
        let path = &segments(dir.path())[0];
        let mut bytes = std::fs::read(path).unwrap();
        bytes[..128].fill(0xAA);
        std::fs::write(path, bytes).unwrap();
        let store = open(dir.path());
        assert_eq!((bodies(&store).len(), lost(&store)), (20, 0));
        append(&store, vec![record(0, "k", "after")]).unwrap();
        drop(store);
        assert_eq!(bodies(&open(dir.path())).len(), 21);
    }
}

#[test]
fn a_lost_tail_is_noticed_by_the_watermark_and_counted() {
    for without_index in [false, true] {
        let dir = filled(20, without_index);
        let path = &segments(dir.path())[0];
        let mut bytes = std::fs::read(path).unwrap();
        let from = chunk_with(&bytes, &body(15));
        bytes[from..].fill(0);
        std::fs::write(path, bytes).unwrap();
        let store = open(dir.path());
        let newest = append(&store, vec![record(0, "k", "after")]).unwrap();
        assert!(
            matches!(newest[0], Appended::Stored(seq) if seq.0 == 21),
            "no number is used twice: {newest:?}"
        );
        assert!(store.wait_settled(LONG));
        assert_eq!(bodies(&store).len(), 16);
        assert_eq!(lost(&store), 5, "without index: {without_index}");
        assert_eq!(store.stats().imbalance, 0);
        drop(store);
        let store = open(dir.path());
        assert_eq!((lost(&store), bodies(&store).len()), (5, 16));
        drop(store);
        remove_index(dir.path());
        let store = open(dir.path());
        assert_eq!((lost(&store), bodies(&store).len(), store.stats().imbalance), (5, 16, 0));
    }
}

#[test]
fn segment_files_that_vanished_are_counted_record_by_record() {
    for (without_index, of_the_oldest) in [(false, true), (true, true), (true, false)] {
        let dir = fast_dir();
        let store = open(dir.path());
        let put = |store: &Store, i| {
            append(store, vec![record(0, "k", &format!("<{i}>{}", "x".repeat(900)))]).unwrap();
        };
        let deliver = |store: &Store, n| {
            assert_eq!(lost(store), 0);
            for r in store.claim(&lane(0), End::Oldest, n, 0).unwrap() {
                store.settle(r.seq, Settlement::Delivered);
            }
            assert_eq!(lost(store), 0);
        };
        // Numbers that ended long ago, and what said so is gone.
        let mut delivered = 0;
        while segments(dir.path())[0].file_name().unwrap().to_str() < Some("seg-0000000000000005") {
            (0..20).for_each(|_| put(&store, 1000));
            deliver(&store, 20);
            delivered += 20;
        }
        (0..200).for_each(|i| put(&store, i));
        deliver(&store, 10);
        drop(store);
        let before = checkpoints(dir.path());
        let store = open(dir.path());
        let began = std::time::Instant::now();
        while checkpoints(dir.path()) == before {
            assert!(began.elapsed() < LONG, "a checkpoint counts all of it");
            std::thread::yield_now();
        }
        deliver(&store, 10);
        drop(store);
        let holds = |path: &PathBuf| std::fs::read(path).unwrap().windows(5).any(|w| w == b"<100>");
        let with_100 = segments(dir.path()).iter().position(holds).unwrap();
        let gone = if of_the_oldest { 0..=with_100 } else { with_100..=with_100 };
        segments(dir.path()).drain(gone).for_each(|path| std::fs::remove_file(path).unwrap());
        for again in [false, true] {
            if without_index || again {
                remove_index(dir.path());
            }
            let store = open(dir.path());
            let (lost, left) = (lost(&store), bodies(&store).len() as u64);
            assert!(lost > 20 && left > 20, "{lost} lost, {left} left");
            let noted: u64 = store.lanes().iter().map(|l| l.ledger.delivered).sum();
            assert_eq!(
                (lost + left, noted, store.stats().imbalance),
                (180, delivered + 20, 0),
                "of the oldest: {of_the_oldest}, without index: {without_index}, again: {again}"
            );
        }
    }
}

#[test]
fn a_failed_flush_seals_the_file_and_nothing_acknowledged_is_lost() {
    let dir = fast_dir();
    let disk = Arc::new(CrashDisk::default());
    let store = Store::open(small(dir.path(), Some(disk.clone()))).unwrap();
    assert!(store.wait_ready(LONG));
    append(&store, vec![record(0, "k0", "before")]).unwrap();
    let first = segments(dir.path())[0].clone();
    disk.fail_flushes(1);
    append(&store, vec![record(0, "k1", "during")]).unwrap();
    assert_eq!((disk.failed(), store.stats().disk_errors), (1, 1));
    // All of them, as what survived of the sealed file is being moved just now, with flushes of its own.
    disk.fail_flushes(u32::MAX);
    let refused = append(&store, vec![record(0, "k2", "refused")]);
    disk.fail_flushes(0);
    assert!(matches!(refused, Err(AppendError::Disk(_))), "{refused:?}");
    append(&store, vec![record(0, "k3", "after")]).unwrap();
    // The survivors of the sealed file move, then it goes.
    let began = std::time::Instant::now();
    while first.exists() {
        assert!(began.elapsed() < LONG);
        std::thread::yield_now();
    }
    assert!(store.wait_settled(LONG));
    store.close();
    drop(store);
    disk.lose_unflushed(|| true);
    let store = open(dir.path());
    assert_eq!(bodies(&store), ["after", "before", "during"].map(String::from).into());
    assert_eq!((store.stats().imbalance, lost(&store)), (0, 0));
}

#[test]
fn damage_to_sled_in_every_place_of_its_file_costs_no_record() {
    let dir = filled(30, false);
    let store = open(dir.path());
    for r in store.claim(&lane(0), End::Oldest, 10, 0).unwrap() {
        store.settle(r.seq, Settlement::Delivered);
    }
    store.close();
    drop(store);
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let index = newest_index(dir.path()).unwrap();
    let intact = std::fs::read(index.join("db")).unwrap();
    let used = intact.iter().rposition(|b| *b != 0).unwrap();
    let mut damaged = 0;
    for at in (0..used).step_by((used / 60).max(1)) {
        let copy = fast_dir();
        for entry in std::fs::read_dir(dir.path()).unwrap().flatten().filter(|e| e.path().is_file()) {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let damaged_index = copy.path().join("index-0");
        std::fs::create_dir(&damaged_index).unwrap();
        for entry in std::fs::read_dir(&index).unwrap().flatten() {
            let _ = std::fs::copy(entry.path(), damaged_index.join(entry.file_name()));
        }
        let mut bytes = intact.clone();
        bytes[at] ^= 0xFF;
        std::fs::write(damaged_index.join("db"), bytes).unwrap();
        damaged += 1;
        let store = open(copy.path());
        assert_eq!((bodies(&store).len(), lost(&store), store.stats().imbalance), (20, 0, 0), "byte {at}");
    }
    std::panic::set_hook(quiet);
    println!("{damaged} places of sled's file were damaged");
    assert!(damaged > 30);
}

/// sled's threads let go of its files a moment after it was closed, under load after the next open.
#[test]
fn an_index_that_is_still_held_is_made_anew_beside_it() {
    let dir = filled(30, false);
    let first = newest_index(dir.path()).unwrap();
    let held = std::fs::File::open(first.join("db")).unwrap();
    held.lock().unwrap();
    let store = open(dir.path());
    assert_ne!(newest_index(dir.path()), Some(first));
    let stats = store.stats();
    assert_eq!((bodies(&store).len(), lost(&store), stats.imbalance, stats.index_rebuilds), (30, 0, 0, 1));
}

/// A store that was closed and is opened again at once finds its own index held; that is no doubt.
#[test]
fn an_index_that_is_held_for_a_moment_is_waited_for() {
    let dir = filled(30, false);
    let first = newest_index(dir.path()).unwrap();
    let held = std::fs::File::open(first.join("db")).unwrap();
    held.lock().unwrap();
    let store = Store::open(small(dir.path(), None)).unwrap();
    for i in 0..50 {
        append(&store, vec![record(0, &format!("while it is held {i}"), "new")]).unwrap();
    }
    drop(held);
    assert!(store.wait_ready(LONG));
    assert_eq!(newest_index(dir.path()), Some(first));
    assert_eq!((bodies(&store).len(), store.stats().index_rebuilds), (31, 0));
}

/// The notes of the ends are gone, and only the index that had followed them knew.
#[test]
fn what_had_ended_stays_ended_when_the_notes_of_it_are_damaged_and_the_index_is_made_anew() {
    let dir = filled(20, false);
    let store = open(dir.path());
    for record in store.claim(&lane(0), End::Oldest, 12, 0).unwrap() {
        store.settle(record.seq, Settlement::Delivered);
    }
    assert!(store.wait_settled(LONG));
    append(&store, vec![record(0, "after", "what came after the ends")]).unwrap();
    drop(store);
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    let notes: Vec<usize> = chunks(&bytes).filter(|at| bytes[at + 5] == 3).collect();
    notes.iter().for_each(|at| bytes[at + 20] ^= 0x10);
    assert!(!notes.is_empty());
    std::fs::write(path, bytes).unwrap();
    for index_is_there in [true, false, false] {
        if !index_is_there {
            remove_index(dir.path());
        }
        let store = open(dir.path());
        assert_eq!((bodies(&store).len(), lost(&store)), (9, 0), "the index is there: {index_is_there}");
        assert_eq!(store.stats().imbalance, 0);
    }
}

/// Only the watermark knows that there were records, and not which of them had ended: all count as lost.
#[test]
fn a_log_of_which_no_file_is_left_is_lost_and_does_not_look_new() {
    for without_index in [false, true] {
        let dir = filled(20, without_index);
        segments(dir.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let store = open(dir.path());
        assert_eq!((bodies(&store).len(), lost(&store), store.stats().imbalance), (0, 20, 0));
        append(&store, vec![record(0, "k", "after")]).unwrap();
        drop(store);
        for _ in 0..2 {
            let store = open(dir.path());
            assert_eq!(
                (bodies(&store).len(), lost(&store), store.stats().imbalance),
                (1, 20, 0),
                "counted once"
            );
            drop(store);
            remove_index(dir.path());
        }
    }
}
