//! What is settled is durable when it is said to be, and what cannot become durable is bounded.
#![allow(missing_docs)]

mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use revenium_store::{End, Options, Settlement, Store, Tap};
use support::{CrashDisk, append, fast_dir, lane, record, small};

const LONG: Duration = Duration::from_secs(20);

/// A device whose flush takes longer than the index needs to follow.
struct Slow(Arc<CrashDisk>);

impl Tap for Slow {
    fn write(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(path, offset, bytes)
    }

    fn flush(&self, path: &Path) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(20));
        self.0.flush(path)
    }

    fn flushed(&self, path: &Path) {
        self.0.flushed(path);
    }

    fn renamed(&self, from: &Path, to: &Path) {
        self.0.renamed(from, to);
    }
}

/// One commit takes a part of these notes: the last ones were on their way when the first were durable.
#[test]
fn what_is_told_to_be_settled_survives_a_crash_at_once() {
    const NOTES: u32 = 200;
    for _ in 0..10 {
        let dir = fast_dir();
        let disk = Arc::<CrashDisk>::default();
        let tap: Arc<dyn Tap> = Arc::new(Slow(disk.clone()));
        let store = Store::open(Options { tap: Some(tap), ..small(dir.path(), None) }).unwrap();
        assert!(store.wait_ready(LONG));
        for i in 0..NOTES {
            store.put_state("s", &i.to_le_bytes());
        }
        assert!(store.wait_settled(LONG));
        disk.die();
        drop(store);
        disk.lose_unflushed(|| true);
        let store = Store::open(small(dir.path(), None)).unwrap();
        assert_eq!(store.state("s"), Some((NOTES - 1).to_le_bytes().to_vec()));
    }
}

#[test]
fn no_more_is_given_out_than_may_wait_for_a_disk_to_settle_it() {
    const WAITING_MAX: usize = 10;
    const EACH: usize = 4;
    let dir = fast_dir();
    let disk = Arc::<CrashDisk>::default();
    let options = Options { notes_waiting_max: WAITING_MAX, ..small(dir.path(), Some(disk.clone())) };
    let store = Store::open(options).unwrap();
    assert!(store.wait_ready(LONG));
    append(&store, (0..30).map(|i| record(0, &format!("k{i}"), "body")).collect()).unwrap();
    assert!(store.wait_settled(LONG));
    let deliver = || {
        let claimed = store.claim(&lane(0), End::Oldest, EACH, 0).unwrap();
        claimed.iter().for_each(|r| store.settle(r.seq, Settlement::Delivered));
        claimed.len()
    };
    disk.fail_flushes(u32::MAX);
    let mut delivered = 0;
    let deadline = Instant::now() + LONG;
    // Through commits that fail, which take them and give them back.
    while store.stats().disk_errors < 20 || delivered < WAITING_MAX {
        delivered += deliver();
        assert!(Instant::now() < deadline, "{delivered} delivered");
    }
    assert!(delivered < WAITING_MAX + EACH, "{delivered}");
    disk.fail_flushes(0);
    while delivered < 30 {
        delivered += deliver();
        assert!(Instant::now() < deadline, "{delivered} delivered");
    }
    assert!(store.wait_settled(LONG));
    assert_eq!(store.stats().lanes[0].ledger.delivered, 30);
}

/// More notes than a commit takes are due at once, but not those that a failed one gave back; and the maintainer, whose
/// own commits fail as well, is not woken by what comes of that.
#[test]
fn a_disk_that_fails_every_flush_is_not_asked_in_a_loop() {
    const RECORDS: usize = 5000;
    const ERRORS: u64 = 40;
    /// Several times more than there are.
    const EACH_AT_LEAST: Duration = Duration::from_millis(3);
    let dir = fast_dir();
    let disk = Arc::<CrashDisk>::default();
    let options =
        Options { settle_within: Duration::from_millis(100), ..small(dir.path(), Some(disk.clone())) };
    let store = Store::open(options).unwrap();
    assert!(store.wait_ready(LONG));
    for first in (0..RECORDS).step_by(20) {
        append(&store, (first..first + 20).map(|i| record(0, &format!("k{i}"), "body")).collect()).unwrap();
    }
    assert!(store.wait_settled(LONG));
    let claimed = store.claim(&lane(0), End::Oldest, RECORDS, 0).unwrap();
    assert_eq!(claimed.len(), RECORDS);
    disk.fail_flushes(u32::MAX);
    let (before, began) = (store.stats().disk_errors, Instant::now());
    claimed.iter().for_each(|r| store.settle(r.seq, Settlement::Delivered));
    while store.stats().disk_errors < before + ERRORS {
        assert!(began.elapsed() < LONG, "{} errors", store.stats().disk_errors);
        std::thread::sleep(Duration::from_millis(1));
    }
    let errors = u32::try_from(store.stats().disk_errors - before).unwrap();
    assert!(began.elapsed() >= EACH_AT_LEAST * errors, "{errors} errors in {:?}", began.elapsed());
    disk.fail_flushes(0);
    assert!(store.wait_settled(LONG));
    assert_eq!(store.stats().lanes[0].ledger.delivered, RECORDS as u64);
}
