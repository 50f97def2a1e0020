//! Group commit, in orders that no clock would bring about: senders, the committer and the end of the store.
//!
//! The real committer on a real file; only who goes on next is the scheduler's, and seeded. It has no clock: a wait
//! that only time would end is found as a deadlock.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shuttle::future::block_on;
use shuttle::scheduler::PctScheduler;
use shuttle::{Config, Runner, thread};

use crate::chunk::Encoded;
use crate::committer::Committer;
use crate::error::AppendError;
use crate::options::{Options, Tap};
use crate::recover::recover;
use crate::scan::{self, FIRST_CHUNK, Step, Until};
use crate::shared::Shared;
use crate::types::{Appended, Lane, NewRecord, ProducerId, Seq};

const SENDERS: u64 = 3;
const EACH: u64 = 2;
const SCHEDULES: usize = 2_000;
/// Changes of priority in one schedule: bugs that need more orders than that to be as they are, are rare.
const DEPTH: usize = 3;

#[test]
fn in_whatever_order_threads_take_turns_what_is_acknowledged_is_flushed_and_everybody_is_answered() {
    let closed = Arc::new(Mutex::new(0));
    let counted = closed.clone();
    let scheduler = PctScheduler::new(DEPTH, SCHEDULES);
    Runner::new(scheduler, Config::default()).run(move || {
        *counted.lock().expect("unpoisoned") += u64::from(once() < SENDERS * EACH);
    });
    let closed = *closed.lock().expect("unpoisoned");
    println!("{SCHEDULES} schedules, in {closed} of which the end came before the last append");
    assert!(closed > 0 && closed < SCHEDULES as u64, "the end always came at the same time");
}

/// How many were acknowledged.
fn once() -> u64 {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let device = Arc::<Device>::default();
    let (shared, committer) = opened(dir.path(), device.clone());
    let committer = thread::spawn(move || committer.run());
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (shared, device) = (shared.clone(), device.clone());
            thread::spawn(move || {
                (0..EACH).filter_map(|n| append(&shared, &device, sender, n)).collect::<Vec<_>>()
            })
        })
        .collect();
    let ending = {
        let shared = shared.clone();
        thread::spawn(move || shared.inbox.change(|inbox| inbox.closing = true))
    };
    let acknowledged: Vec<Seq> = senders.into_iter().flat_map(|s| s.join().expect("no panic")).collect();
    ending.join().expect("no panic");
    committer.join().expect("no panic");
    let once: BTreeSet<Seq> = acknowledged.iter().copied().collect();
    assert_eq!(once.len(), acknowledged.len(), "a number was given twice: {acknowledged:?}");
    acknowledged.len() as u64
}

/// The number that a record got, which is flushed then; `None` if the store ended before.
fn append(shared: &Shared, device: &Device, sender: u64, n: u64) -> Option<Seq> {
    let answer = shared.submit(vec![record(sender, n)], 1_000, None).ok()?;
    match block_on(answer).unwrap_or(Err(AppendError::Closing)) {
        Ok(answers) => {
            let [Appended::Stored(seq)] = answers[..] else { panic!("it is new: {answers:?}") };
            assert!(seq.0 < flushed(shared, device), "{seq} is acknowledged and not in what is flushed");
            Some(seq)
        }
        Err(AppendError::Closing) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The first number that is not in the part of the log that the device has flushed, as its bytes say.
fn flushed(shared: &Shared, device: &Device) -> u64 {
    let ordinal = shared.durable.lock().ordinal;
    let segment = shared.listed(ordinal).expect("the active segment").segment;
    let end = device.flushed_to(segment.file.path());
    let (mut at, mut next) = (FIRST_CHUNK, 1);
    while at < end {
        match scan::step(&segment, at, Until::Sealed(end), None).expect("it is read") {
            Step::Chunk(found, _) => (at, next) = (found.end(), found.header.next_seq),
            Step::Hole(_) | Step::End => panic!("flushed bytes are no chunk"),
        }
    }
    next
}

/// How far each file was written, and how far it was when it was flushed last.
#[derive(Default)]
struct Device(Mutex<BTreeMap<PathBuf, (u64, u64)>>);

impl Device {
    fn flushed_to(&self, path: &Path) -> u64 {
        self.0.lock().expect("unpoisoned").get(path).map_or(0, |(_, flushed)| *flushed)
    }
}

impl Tap for Device {
    fn write(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.0.lock().expect("unpoisoned");
        let (written, _) = files.entry(path.to_owned()).or_default();
        *written = offset + bytes.len() as u64;
        Ok(())
    }

    fn flush(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn flushed(&self, path: &Path) {
        if let Some((written, flushed)) = self.0.lock().expect("unpoisoned").get_mut(path) {
            *flushed = *written;
        }
    }

    fn renamed(&self, from: &Path, to: &Path) {
        let mut files = self.0.lock().expect("unpoisoned");
        files.remove(from);
        // What a file holds from its preparation is no chunk.
        files.insert(to.to_owned(), (0, 0));
    }
}

fn record(sender: u64, n: u64) -> NewRecord {
    NewRecord {
        lane: Lane { profile: "default".into(), route: 0 },
        key: format!("{sender}-{n}").as_str().into(),
        number: Some((ProducerId([u8::try_from(sender).expect("is small"); 16]), n)),
        key_is_identity: false,
        fingerprint: n,
        received_at_ms: 1,
        body: "{}".into(),
        dead: None,
        replaces: None,
        is_part: false,
    }
}

fn opened(dir: &Path, device: Arc<Device>) -> (Arc<Shared>, Committer) {
    let options = Options {
        segment_bytes: 32 << 10,
        free_reserve_bytes: 0,
        ballast_bytes: 4 << 10,
        record_bytes_max: 1 << 10,
        settle_within: Duration::ZERO,
        tap: Some(device),
        ..Options::new(dir)
    };
    let found = recover(&options).expect("it opens");
    let shared = Arc::new(Shared::new(options));
    shared.durable.change(|end| *end = found.tail.0);
    *crate::shared::lock(&shared.table) = found.table;
    let committer = Committer {
        shared: shared.clone(),
        sealed: false,
        active: found.active,
        offset: found.tail.0.offset,
        header: found.header,
        chain: found.tail.1,
        opening: Some(Encoded::opening()),
        dedup: found.dedup,
        watermark: found.watermark,
        watermark_flushed: Instant::now(),
        watermark_dirty: false,
        buf: Vec::new(),
    };
    (shared, committer)
}
