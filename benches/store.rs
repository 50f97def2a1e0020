//! The store alone: durable appends by one caller, 1, 10, 100 and 1000 events a commit.
//!
//! Rounds go in turns: growing floor, prewritten floor, store. Nothing is drained meanwhile, so the
//! store also writes its next segments in advance and its index follows: that is part of its price.
//! `cargo bench --bench store -- 1 10` measures only these. Mark: 0.7 of the prewritten floor at 1, 10 and 100.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use revenium_store::{Appended, Lane, NewRecord, Options, ProducerId, Store};
use support::event::{EVENT_BYTES, Random, events};
use support::floor::Floor;
use support::table::{Table, marked, micros, per_second};
use support::{Mode, folder, median, quantile, rate};

mod support;

/// Events a commit, commits a round, and the mark.
const GROUPS: [(usize, usize, Option<f64>); 4] =
    [(1, 400, Some(0.7)), (10, 400, Some(0.7)), (100, 200, Some(0.7)), (1000, 40, None)];

fn main() {
    let mode = Mode::of_environment();
    let rounds = mode.pick(3, 21);
    println!(
        "\nstore: durable appends by one caller, {EVENT_BYTES}-byte events, medians of {rounds} rounds in turns"
    );
    let mut table = Table::new(&[
        "events/commit",
        "growing/s",
        "prewritten/s",
        "store/s",
        "p50 us",
        "p99 us",
        "floor p50 us",
        "of growing",
        "of prewritten",
    ]);
    let bodies: Vec<Bytes> = events(1, 4096).into_iter().map(Bytes::from).collect();
    let wanted: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    for (group, commits, mark) in GROUPS {
        if !wanted.is_empty() && !wanted.contains(&group) {
            continue;
        }
        let result = measure(group, commits, rounds, &bodies);
        table.row(&[
            group.to_string(),
            per_second(median(&result.growing)),
            per_second(median(&result.prewritten)),
            per_second(median(&result.store)),
            micros(median(&result.took)),
            micros(quantile(&result.took, 0.99)),
            micros(median(&result.floor_took)),
            marked(median(&ratios(&result.store, &result.growing)), None, false),
            marked(median(&ratios(&result.store, &result.prewritten)), mark, false),
        ]);
    }
    table.print();
}

#[derive(Default)]
struct Measured {
    growing: Vec<f64>,
    prewritten: Vec<f64>,
    store: Vec<f64>,
    took: Vec<Duration>,
    floor_took: Vec<Duration>,
}

fn measure(group: usize, commits: usize, rounds: usize, bodies: &[Bytes]) -> Measured {
    let dir = folder("store-");
    let mut floor = Floor::new(dir.path()).expect("the floor's files can be written");
    let store = Store::open(Options::new(dir.path().join("store"))).expect("a new store opens");
    assert!(store.wait_ready(Duration::from_secs(10)), "a new store is ready");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut records = Records { random: Random::new(2), bodies, next: 0 };
    let mut measured = Measured::default();
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        let batches: Vec<Vec<NewRecord>> = (0..commits).map(|_| records.take(group)).collect();
        let bytes: Vec<Vec<u8>> =
            batches.iter().map(|b| b.iter().flat_map(|r| r.body.to_vec()).collect()).collect();
        let growing = floor.growing(&bytes).expect("the disk takes it");
        let prewritten = floor.prewritten(&bytes).expect("the disk takes it");
        let mut took = Vec::with_capacity(commits);
        for batch in batches {
            let began = Instant::now();
            let appended = runtime.block_on(store.append(batch)).expect("there is room");
            took.push(began.elapsed());
            assert!(matches!(appended[0], Appended::Stored(_)), "every event is new");
        }
        if round > 0 {
            let per_second = |took: &[Duration]| rate(group * commits, took.iter().sum());
            measured.growing.push(per_second(&growing));
            measured.prewritten.push(per_second(&prewritten));
            measured.store.push(per_second(&took));
            measured.took.extend(took);
            measured.floor_took.extend(prewritten);
        }
    }
    measured
}

/// Records as the intake makes them of numbered lines.
struct Records<'a> {
    random: Random,
    bodies: &'a [Bytes],
    next: usize,
}

impl Records<'_> {
    fn take(&mut self, count: usize) -> Vec<NewRecord> {
        let lane = Lane { profile: Arc::from("default"), route: 0 };
        let record = |_| {
            self.next += 1;
            let key = uuid::Builder::from_random_bytes(random_bytes(&mut self.random)).into_uuid();
            NewRecord {
                lane: lane.clone(),
                key: key.to_string().into(),
                number: Some((ProducerId([7; 16]), self.next as u64)),
                key_is_identity: true,
                fingerprint: self.random.bits(),
                received_at_ms: 1_795_000_000_000 + self.next as u64,
                body: self.bodies[self.next % self.bodies.len()].clone(),
                dead: None,
                replaces: None,
                is_part: false,
            }
        };
        (0..count).map(record).collect()
    }
}

fn random_bytes(random: &mut Random) -> [u8; 16] {
    let (a, b) = (u128::from(random.bits()), u128::from(random.bits()));
    (a << 64 | b).to_be_bytes()
}

fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}
