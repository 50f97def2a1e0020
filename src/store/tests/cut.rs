//! What a power cut leaves behind the end of the log. How the log survives cuts at all is `tests/power`'s.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use revenium_store::{End, Settlement, Store};
use support::{CrashDisk, append, fast_dir, lane, record, remove_index, small, text};

const LONG: Duration = Duration::from_secs(20);

fn waiting(store: &Store) -> BTreeSet<String> {
    store.claim(&lane(0), End::Oldest, 50, 0).unwrap().iter().map(text).collect()
}

/// The power goes while a record and, behind it, the end of another are written: the end arrives whole, the
/// record does not. So the end counts for nothing, and goes on counting for nothing when the record comes again,
/// the same as before, to the same place.
#[test]
fn what_a_cut_left_behind_the_end_of_the_log_is_never_read_again() {
    let dir = fast_dir();
    let disk = Arc::<CrashDisk>::default();
    let opened = || {
        let store = Store::open(small(dir.path(), Some(disk.clone()))).unwrap();
        assert!(store.wait_ready(LONG));
        store
    };
    let torn = "torn ".repeat(150);
    let store = opened();
    append(&store, vec![record(0, "k0", "ends")]).unwrap();
    assert!(store.wait_settled(LONG));
    let waits = store.claim(&lane(0), End::Oldest, 1, 0).unwrap();
    let mark = std::fs::read(dir.path().join("watermark")).unwrap();
    append(&store, vec![record(0, "k1", &torn)]).unwrap();
    store.settle(waits[0].seq, Settlement::Delivered);
    assert!(store.wait_settled(LONG));
    disk.die();
    drop(store);
    disk.lose_unflushed(|| false);
    remove_index(dir.path());
    std::fs::write(dir.path().join("watermark"), mark).unwrap();
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|x| x == "log"));
    let path = &logs.min().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(torn.len()).position(|w| w == torn.as_bytes()).unwrap();
    bytes[at..at + torn.len()].fill(0);
    std::fs::write(path, bytes).unwrap();

    let store = opened();
    assert_eq!(waiting(&store), BTreeSet::from(["ends".to_owned()]), "the end counts for nothing");
    append(&store, vec![record(0, "k1", &torn)]).unwrap();
    disk.die();
    drop(store);
    disk.lose_unflushed(|| false);
    assert_eq!(waiting(&opened()), BTreeSet::from(["ends".to_owned(), torn]), "and so it does for ever");
}
