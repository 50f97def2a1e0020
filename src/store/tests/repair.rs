//! Damage that nobody has met yet, met all at once: as `log repair` does it.
#![allow(missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use revenium_store::{End, Settlement, Store};
use support::{CrashDisk, append, fast_dir, lane, record, remove_index, small};

const LONG: Duration = Duration::from_secs(20);
const RECORDS: usize = 600;
const DELIVERED: usize = 12;
const CHUNK_OF_NOTES: u8 = 3;

fn open(dir: &Path, disk: Option<Arc<CrashDisk>>) -> Store {
    let store = Store::open(small(dir, disk)).unwrap();
    assert!(store.wait_ready(LONG) && store.wait_settled(LONG));
    store
}

fn waiting(store: &Store) -> u64 {
    store.lanes().iter().map(|lane| lane.waiting).sum()
}

/// The notes of some ends are damaged, in a segment that an opening does not read. The index alone knows them, and
/// knows them in the log's words again when the wait is over: not even a kill right then costs one.
#[test]
fn what_only_the_index_knows_is_in_the_log_once_the_wait_for_it_is_over() {
    let dir = fast_dir();
    let store = open(dir.path(), None);
    for i in 0..RECORDS {
        append(&store, vec![record(0, &format!("k{i}"), &"x".repeat(700))]).unwrap();
        if i == DELIVERED {
            assert!(store.wait_settled(LONG));
            for found in store.claim(&lane(0), End::Oldest, DELIVERED, 0).unwrap() {
                store.settle(found.seq, Settlement::Delivered);
            }
            assert!(store.wait_settled(LONG));
        }
    }
    assert!(store.wait_settled(LONG));
    store.close();
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let first = files.filter(|path| path.extension().is_some_and(|x| x == "log")).min().unwrap();
    let mut bytes = std::fs::read(&first).unwrap();
    let heads = bytes.windows(6).enumerate();
    let notes: Vec<usize> = heads
        .filter(|(_, head)| head.starts_with(b"RVCK") && head[5] == CHUNK_OF_NOTES)
        .map(|(at, _)| at)
        .collect();
    assert!(!notes.is_empty());
    notes.iter().for_each(|at| bytes[at + 20] ^= 0x10);
    std::fs::write(&first, bytes).unwrap();

    let disk = Arc::<CrashDisk>::default();
    let store = open(dir.path(), Some(disk.clone()));
    store.meet_damage().unwrap();
    assert!(store.wait_restated(LONG));
    disk.die();
    drop(store);
    disk.lose_unflushed(|| true);
    remove_index(dir.path());
    let store = open(dir.path(), None);
    assert_eq!(waiting(&store), (RECORDS - DELIVERED) as u64);
    assert_eq!(store.stats().imbalance, 0);
}
