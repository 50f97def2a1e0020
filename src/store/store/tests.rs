//! What only a test that sees into the store can bring about.

use std::io;
use std::path::Path;

use tokio::sync::oneshot;

use super::*;
use crate::Tap;
use crate::index::schema::lane_name;
use crate::shared::{Job, JobChunk, Submission};
use crate::types::End;

fn small(dir: &Path) -> Options {
    Options { segment_bytes: 64 << 10, record_bytes_max: 2 << 10, free_reserve_bytes: 0, ..Options::new(dir) }
}

fn lane(profile: &str) -> Lane {
    Lane { profile: profile.into(), route: 0 }
}

fn record(n: u64, profile: &str) -> NewRecord {
    NewRecord {
        lane: lane(profile),
        key: format!("k{n}").into(),
        number: None,
        key_is_identity: false,
        fingerprint: n,
        received_at_ms: 1,
        body: "b".into(),
        dead: None,
        replaces: None,
        is_part: false,
    }
}

fn append(store: &Store, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.append(records))
}

#[test]
fn a_thread_that_panics_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(Options::new(dir.path())).expect("opens");
    let shared = &store.inner.shared;
    join(spawn(shared, "store-test", || panic!("as it was told")).expect("a thread"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert_eq!(runtime.block_on(store.broken()), "store-test");
}

/// A review's finding: a checkpoint that shared a commit with a full log kept the refused numbers, and
/// after the next start they were acknowledged as resends of what was never stored.
#[test]
fn a_checkpoint_does_not_know_numbers_that_were_refused_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = |segments: u64| Options { capacity_bytes: segments * (64u64 << 10), ..small(dir.path()) };
    let numbered = |n: u64| NewRecord {
        number: Some((crate::ProducerId([1; 16]), n)),
        body: vec![b'x'; 2 << 10].into(),
        ..record(n, "p")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Store::open(options(5)).unwrap();
    let mut n = 0;
    while append(&store, vec![numbered(n)]).is_ok() {
        n += 1;
    }
    let (done, answer) = oneshot::channel();
    let (job_done, job_result) = std::sync::mpsc::channel();
    store.inner.shared.inbox.change(|inbox| {
        let records = vec![numbered(n)];
        inbox.appends.push_back(Submission { records, bytes: 2 << 10, done, _permit: None });
        let chunks = vec![JobChunk::Checkpoint(revenium_migrations::log_v1::Checkpoint::default())];
        inbox.jobs.push_back(Job { chunks, done: job_done });
    });
    assert!(matches!(runtime.block_on(answer).unwrap(), Err(AppendError::Full { .. })));
    job_result.recv().unwrap().expect("the checkpoint has its reserve");
    store.close();
    drop(store);
    let store = Store::open(options(50)).unwrap();
    let again = append(&store, vec![numbered(n)]).unwrap();
    assert!(matches!(again[0], Appended::Stored(_)), "acknowledged and never stored: {again:?}");
}

#[test]
fn a_claim_outlives_an_index_that_is_made_anew_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(Options { settle_within: Duration::from_millis(2), ..small(dir.path()) }).unwrap();
    let lane = lane("p");
    append(&store, vec![record(1, "p")]).unwrap();
    let long = Duration::from_secs(20);
    assert!(store.wait_settled(long));
    let seq = store.claim(&lane, End::Oldest, 1, 1).unwrap()[0].seq;
    store.settle(seq, Settlement::Postponed { not_before_ms: 0, attempts: 1, first_attempt_at_ms: 1 });
    assert!(store.wait_settled(long));
    assert_eq!(store.claim(&lane, End::Oldest, 1, 1).unwrap()[0].attempts, 1);
    // Its second try is under way when the index is found wanting.
    let rebuilds = store.stats().index_rebuilds;
    *lock(&store.inner.shared.index) = None;
    let began = Instant::now();
    while store.stats().index_rebuilds == rebuilds || !store.is_ready() {
        assert!(began.elapsed() < long);
        std::thread::yield_now();
    }
    assert!(store.claim(&lane, End::Oldest, 1, 1).unwrap().is_empty(), "it is claimed");
    store.settle(seq, Settlement::Delivered);
    assert!(store.wait_settled(long));
    assert_eq!(store.lanes()[0].ledger.delivered, 1);
}

/// A disk that takes nothing for the log while it is shut.
#[derive(Default)]
struct Gate(std::sync::Mutex<()>);

impl Tap for Gate {
    fn write(&self, path: &Path, _: u64, _: &[u8]) -> io::Result<()> {
        if path.extension().is_some_and(|extension| extension == "log") {
            drop(lock(&self.0));
        }
        Ok(())
    }

    fn flush(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn flushed(&self, _: &Path) {}
    fn renamed(&self, _: &Path, _: &Path) {}
}

#[test]
fn what_damage_took_is_noted_once_whoever_meets_it() {
    let gate = Arc::<Gate>::default();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options { tap: Some(gate.clone()), ..small(dir.path()) }).unwrap();
    let shared = &store.inner.shared;
    append(&store, vec![record(1, "a"), record(2, "a"), record(3, "b")]).unwrap();
    assert!(store.wait_settled(Duration::from_secs(20)));
    let at = lock(&shared.index).as_ref().unwrap().place_of(&lane_name(&lane("a")), 1).unwrap().unwrap();
    let path = shared.listed(at.ordinal).unwrap().segment.file.path().to_path_buf();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(at.offset).unwrap() + 20] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let shut = lock(&gate.0);
    for profile in ["a", "b", "a"] {
        assert!(store.claim(&lane(profile), End::Oldest, 1, 1).unwrap().is_empty());
        assert_eq!(shared.inbox.lock().notes_waiting(), 3, "after a claim of {profile}");
    }
    assert_eq!(store.lanes().iter().map(|lane| lane.claimed).sum::<u64>(), 1, "who met it first has it");
    drop(shut);
    assert!(store.wait_settled(Duration::from_secs(20)));
    assert_eq!(
        store.lanes().iter().map(|lane| (lane.claimed, lane.ledger.lost)).collect::<Vec<_>>(),
        [(0, 2), (0, 1)]
    );
    assert!(lock(&shared.losses).is_empty());
}
