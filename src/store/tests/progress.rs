//! How far opening and following have come is told as it is.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use revenium_store::{IndexStage, Progress, Store};
use support::{append, fast_dir, record, remove_index, small};

const LONG: Duration = Duration::from_secs(60);
const RECORDS: u32 = 2_000;

/// Bytes of every segment but its first 128, for as far as chunks lie in it.
fn log_bytes(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let segments = entries.filter(|e| e.file_name().to_string_lossy().starts_with("seg-"));
    segments.map(|e| std::fs::read(e.path()).unwrap()).map(|bytes| used(&bytes).saturating_sub(128)).sum()
}

fn used(segment: &[u8]) -> u64 {
    segment.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

#[test]
fn opening_passes_what_it_reads_and_making_an_index_the_whole_log() {
    let dir = fast_dir();
    let options = small(dir.path(), None);
    let store = Store::open(options.clone()).unwrap();
    assert!(store.wait_ready(LONG));
    for i in 0..RECORDS {
        append(&store, vec![record(0, &i.to_string(), "body")]).unwrap();
    }
    assert!(store.wait_followed(LONG));
    assert_eq!((store.index_stage(), store.stats().index_lag_bytes), (IndexStage::Ready, 0));
    store.close();
    drop(store);
    let log_bytes = log_bytes(dir.path());
    let mut seen = Vec::new();
    let deadline = Instant::now() + LONG;
    // Whoever looks may miss all of it: then once more.
    while !seen.iter().any(|at: &Progress| at.done_bytes > 0) {
        assert!(Instant::now() < deadline, "never seen half done: {seen:?}");
        remove_index(dir.path());
        let store = Store::open(options.clone()).unwrap();
        let opening = options.opening.progress();
        assert_eq!(opening.done_bytes, opening.total_bytes);
        assert!((1..=2 * log_bytes).contains(&opening.done_bytes), "{opening:?} of {log_bytes}");
        seen.clear();
        loop {
            match store.index_stage() {
                IndexStage::Opening => {}
                IndexStage::MakingAnew(progress) => seen.push(progress),
                IndexStage::Following(progress) => panic!("there was no index to go on with: {progress:?}"),
                IndexStage::Ready => break,
            }
        }
        store.close();
    }
    assert!(seen.is_sorted_by_key(|at| at.done_bytes), "{seen:?}");
    // What its last byte is, is not known here; and closing may have appended a checkpoint.
    let total_bytes = seen[0].total_bytes;
    assert!(total_bytes.abs_diff(log_bytes) < log_bytes / 50, "{total_bytes} of {log_bytes}");
    assert!(
        seen.iter().all(|at| at.done_bytes <= at.total_bytes && at.total_bytes >= total_bytes),
        "{seen:?}"
    );
}
