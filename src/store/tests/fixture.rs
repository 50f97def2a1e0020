//! A log that an earlier release wrote opens and gives its records back.
//!
//! IF THIS TEST FAILS: see `migrations/tests/log_v1.rs`, which has the exact content of the segment.
//! Here it is opened as a store, with nothing beside it: no watermark, no index.
#![allow(missing_docs)]

mod support;

use std::path::Path;
use std::time::Duration;

use revenium_store::{Appended, End, Lane, Ledger, NewRecord, ProducerId, Record, Seq, Store};
use support::{append, fast_dir, small};

const LATER_MS: u64 = 1_795_420_000_000;

fn open_fixture(dir: &Path) -> Store {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/fixtures/log_v1.bin");
    let name = "seg-0000000000000007-0123456789abcdef.log";
    std::fs::copy(fixture, dir.join(name)).expect("the fixture is in the repository");
    let store = Store::open(small(dir, None)).unwrap();
    assert!(store.wait_ready(Duration::from_secs(20)));
    store
}

fn lane(profile: &str, route: u8) -> Lane {
    Lane { profile: profile.into(), route }
}

fn claim(store: &Store, lane: &Lane) -> Vec<Record> {
    store.claim(lane, End::Oldest, 10, LATER_MS).unwrap()
}

fn ledger(store: &Store, lane: &Lane) -> (u64, Ledger) {
    let stats = store.lanes().into_iter().find(|l| l.lane == *lane).expect("the lane is known");
    (stats.waiting, stats.ledger)
}

#[test]
fn a_log_of_format_1_drains() {
    let dir = fast_dir();
    let store = open_fixture(dir.path());

    let waiting = claim(&store, &lane("default", 0));
    assert_eq!(waiting.len(), 1, "of 41 to 44, 41 was delivered, 43 and 44 are dead letters");
    assert_eq!(
        (waiting[0].seq, &*waiting[0].key, &waiting[0].body[..]),
        (Seq(42), "order-42", &b"{\"n\":42}"[..])
    );
    assert_eq!((waiting[0].attempts, waiting[0].received_at_ms), (3, 1_795_419_848_263));

    // Moved, and compressed.
    let moved = claim(&store, &lane("team", 7));
    assert_eq!(moved.len(), 1);
    assert_eq!((moved[0].seq, &*moved[0].key), (Seq(22), "11111111-1111-1111-1111-111111111111"));
    assert_eq!(moved[0].body.len(), 637);
    assert!(moved[0].body.starts_with(b"{\"transactionId\":\"moved-22\""));

    let dead = store.dead_letters(Seq(0), 10).unwrap();
    let said: Vec<_> = dead.iter().map(|d| (d.record.seq.0, d.note.status, d.note.words.as_str())).collect();
    assert_eq!(said, [(25, 409, ""), (43, 0, "no model"), (44, 422, "unprocessable: é")]);

    assert_eq!(store.state("pace/api.revenium.ai"), Some(vec![1, 2, 255]));
}

#[test]
fn what_it_counted_and_whom_it_knew_is_known() {
    let dir = fast_dir();
    let store = open_fixture(dir.path());
    let (waiting, counted) = ledger(&store, &lane("default", 0));
    // 36 by its checkpoint, then 41 and 42. 44 is a retry: it takes the place of 12, which was among the 36.
    assert_eq!((waiting, counted.received, counted.delivered, counted.dead), (1, 38, 31, 1));
    // What lay before the segment is lost. That is noted, and then the ledger balances.
    assert!(store.wait_settled(Duration::from_secs(20)));
    assert_eq!(store.stats().imbalance, 0);

    let resent = |key: &str, number: Option<(ProducerId, u64)>| NewRecord {
        number,
        key_is_identity: number.is_none(),
        fingerprint: 0xfeed,
        ..support::record(0, key, "{\"n\":41}")
    };
    let answers = append(
        &store,
        vec![
            resent("11111111-1111-1111-1111-111111111111", Some((ProducerId([0xa5; 16]), 7))),
            resent("anything", Some((ProducerId([0xa5; 16]), 3))),
            resent("order-42", None),
            resent("new", Some((ProducerId([0xa5; 16]), 6))),
        ],
    );
    let stored = Appended::Stored(Seq(45));
    assert_eq!(answers.unwrap(), [Appended::Duplicate, Appended::Duplicate, Appended::Duplicate, stored]);
}
