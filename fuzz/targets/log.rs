//! A log in which bytes were changed: it opens, what can be read is as it was stored, and the books balance.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use revenium_store::{DeadNote, End, Lane, NewRecord, Options, Seq, Settlement, Store};

const LONG: Duration = Duration::from_secs(20);
const RECORDS: u64 = 24;
/// Bytes of one change: where, and what is there then.
const CHANGE_BYTES: usize = 4;

/// The files of a small store, by name.
static WHOLE: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let whole = WHOLE.get_or_init(make);
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    for (name, of) in whole {
        let mut of = of.clone();
        // The log's beginning, where everything lies; the rest of it is zeros.
        let used = of.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 64).min(of.len());
        for change in bytes.chunks_exact(CHANGE_BYTES).take(64) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % used;
            match change[3] % 4 {
                0 => of[at] ^= change[2].max(1),
                1 => of[at] = change[2],
                2 => of[at..used.min(at + 64)].fill(change[2]),
                _ => {
                    of.copy_within(at..used.min(at + 64), usize::from(change[2]) % (used - used.min(64) + 1))
                }
            }
        }
        std::fs::write(dir.path().join(name), of).expect("it is written");
    }
    // A format from the future is refused, and a damaged header may look like one.
    let Ok(store) = Store::open(options(dir.path())) else { return };
    assert!(store.wait_ready(LONG), "the index is made");
    let mut held = 0;
    loop {
        let some = store.claim(&lane(), End::Oldest, 100, u64::MAX).expect("it is read");
        if some.is_empty() {
            break;
        }
        for record in some {
            assert_eq!(record.body, body(record.seq.0), "{} is not what it was", record.seq);
            held += 1;
        }
    }
    for letter in store.dead_letters(Seq(0), 1000).expect("they are read") {
        assert_eq!(letter.record.body, body(letter.record.seq.0));
    }
    assert!(store.wait_settled(LONG));
    let stats = store.stats();
    assert_eq!(stats.imbalance, 0, "{stats:?}");
    let lost: u64 = stats.lanes.iter().map(|lane| lane.ledger.lost).sum();
    assert!(held + lost <= RECORDS, "{held} are there and {lost} are lost of {RECORDS}");
});

fn options(dir: &Path) -> Options {
    Options {
        segment_bytes: 32 << 10,
        capacity_bytes: 64 << 20,
        free_reserve_bytes: 0,
        record_bytes_max: 1 << 10,
        chunk_records_max: 4,
        index_cache_bytes: 1 << 20,
        ballast_bytes: 4 << 10,
        settle_within: Duration::from_millis(1),
        follow_when_quiet: Duration::ZERO,
        ..Options::new(dir)
    }
}

fn lane() -> Lane {
    Lane { profile: "default".into(), route: 0 }
}

fn body(seq: u64) -> Vec<u8> {
    format!("{{\"n\":{seq},\"of\":\"{}\"}}", "x".repeat(seq as usize * 7)).into_bytes()
}

/// Some wait, some have ended each in its way. The index is left out: it is made from the log.
fn make() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let store = Store::open(options(dir.path())).expect("it opens");
    assert!(store.wait_ready(LONG));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for n in 1..=RECORDS {
        let record = NewRecord {
            lane: lane(),
            key: format!("key-{n}").as_str().into(),
            number: None,
            key_is_identity: true,
            fingerprint: n,
            received_at_ms: n,
            body: body(n).into(),
            dead: None,
            replaces: None,
            is_part: false,
        };
        runtime.block_on(store.append(vec![record])).expect("it is stored");
    }
    assert!(store.wait_settled(LONG));
    for record in store.claim(&lane(), End::Oldest, 9, 0).expect("it is read") {
        let note = DeadNote { reason: 3, status: 400, words: "no".into(), at_ms: 1 };
        let how = if record.seq.0 % 3 == 0 { Settlement::Dead(note) } else { Settlement::Delivered };
        store.settle(record.seq, how);
    }
    assert!(store.wait_settled(LONG));
    store.close();
    let files =
        std::fs::read_dir(dir.path()).expect("it is listed").map(|entry| entry.expect("is there").path());
    let logs =
        files.filter(|path| path.extension().is_some_and(|x| x == "log") || path.ends_with("watermark"));
    logs.map(|path| (path.file_name().expect("a name").into(), std::fs::read(&path).expect("it is read")))
        .collect()
}
