//! Any order of appends, ends, moves and retirements, each retirement stopped after every one of its
//! removals. A tenth of `REVENIUM_MODEL_CASES` is how many cases are run, `PROPTEST_RNG_SEED` which; the
//! seed and the shortest order that fails are printed.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::world::{Index, LANES, World, refused};
use crate::types::{End, Settlement};

#[derive(Debug, Clone)]
enum Op {
    Meanwhile(Meanwhile),
    /// The survivors of a segment, chosen, and written when other things have happened.
    Move {
        which: u8,
        meanwhile: Vec<Meanwhile>,
    },
    Checkpoint,
    /// Chunks of which no record is needed where they lie are damaged while the store is closed, and then it is
    /// said again what they said.
    Damage {
        first: u8,
        n: u8,
    },
    /// A round, in which one file may be impossible to remove; the process may be killed after some of its
    /// removals.
    Retire {
        stays: Option<u8>,
        killed_after: Option<u8>,
        index: Index,
    },
}

/// What other threads do while the maintainer is at work.
#[derive(Debug, Clone)]
enum Meanwhile {
    Append { lane: u8, n: u8 },
    AppendTwice { lane: u8, n: u8 },
    Settle { lane: u8, newest: bool, n: u8, how: How },
    RetryDead { lane: u8 },
    DiscardDead,
    Fill,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Delivered,
    Dead,
    Discarded,
}

#[derive(Default)]
struct Counts {
    moves: Cell<usize>,
    rounds: Cell<usize>,
    stops: Cell<usize>,
    kills: Cell<usize>,
    damaged: Cell<usize>,
}

fn count(counter: &Cell<usize>, n: usize) {
    counter.set(counter.get() + n);
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let meanwhile = || {
        let how = prop_oneof![4 => Just(How::Delivered), 1 => Just(How::Dead), 1 => Just(How::Discarded)];
        prop_oneof![
            4 => (0..LANES, 1u8..4).prop_map(|(lane, n)| Meanwhile::Append { lane, n }),
            1 => (0..LANES, 1u8..4).prop_map(|(lane, n)| Meanwhile::AppendTwice { lane, n }),
            6 => (0..LANES, any::<bool>(), 1u8..30, how)
                .prop_map(|(lane, newest, n, how)| Meanwhile::Settle { lane, newest, n, how }),
            1 => (0..LANES).prop_map(|lane| Meanwhile::RetryDead { lane }),
            1 => Just(Meanwhile::DiscardDead),
            5 => Just(Meanwhile::Fill),
        ]
    };
    let stays = prop::option::weighted(0.2, any::<u8>());
    let killed_after = prop::option::of(any::<u8>());
    let index = prop_oneof![Just(Index::Kept), Just(Index::Lost), Just(Index::Old)];
    let op = prop_oneof![
        8 => meanwhile().prop_map(Op::Meanwhile),
        4 => (any::<u8>(), prop::collection::vec(meanwhile(), 0..6))
            .prop_map(|(which, meanwhile)| Op::Move { which, meanwhile }),
        1 => Just(Op::Checkpoint),
        1 => (any::<u8>(), 1u8..4).prop_map(|(first, n)| Op::Damage { first, n }),
        3 => (stays, killed_after, index)
            .prop_map(|(stays, killed_after, index)| Op::Retire { stays, killed_after, index }),
    ];
    prop::collection::vec(op, 10..80)
}

impl World {
    fn run(&mut self, op: &Op, counts: &Counts) {
        match op {
            Op::Meanwhile(meanwhile) => self.run_meanwhile(meanwhile),
            Op::Move { which, meanwhile } => {
                let Some(drafted) = self.draft((*which).into()) else { return };
                meanwhile.iter().for_each(|op| self.run_meanwhile(op));
                self.finish(drafted);
                count(&counts.moves, 1);
            }
            Op::Damage { first, n } => {
                let mut hit = self.spent_chunks();
                let first = usize::from(*first).checked_rem(hit.len()).unwrap_or_default();
                hit.truncate(first + usize::from(*n));
                let hit = hit.split_off(first);
                self.damage(&hit);
                self.meet(&hit);
                self.heed_damage();
                count(&counts.damaged, 1);
            }
            Op::Checkpoint => drop(self.maintainer().write_checkpoint().unwrap()),
            Op::Retire { stays, killed_after, index } => {
                let stays = stays.map(|which| self.keep_from_removal(which.into()));
                let round = self.retire();
                let n = round.went.len();
                if n == 0 && stays.is_none() {
                    return;
                }
                if let Some(stays) = stays {
                    stays.put_back();
                }
                (0..=n).for_each(|removed| self.check_stopped(&round, removed));
                count(&counts.rounds, 1);
                count(&counts.stops, n + 1);
                if let Some(after) = killed_after {
                    self.reopen(Some((&round, usize::from(*after) % (n + 1))), *index);
                    count(&counts.kills, 1);
                }
            }
        }
    }

    fn run_meanwhile(&mut self, op: &Meanwhile) {
        match *op {
            Meanwhile::Append { lane, n } => self.append(lane, n),
            Meanwhile::AppendTwice { lane, n } => self.append_twice(lane, n),
            Meanwhile::Settle { lane, newest, n, how } => {
                let end = if newest { End::Newest } else { End::Oldest };
                let how = match how {
                    How::Delivered => Settlement::Delivered,
                    How::Dead => refused(),
                    How::Discarded => Settlement::Discarded,
                };
                self.settle(lane, end, n, &how);
            }
            Meanwhile::RetryDead { lane } => self.retry_dead(lane),
            Meanwhile::DiscardDead => self.discard_dead(),
            Meanwhile::Fill => self.fill(),
        }
    }
}

#[test]
fn a_retirement_stopped_anywhere_loses_nothing_and_brings_nothing_back() {
    let cases = std::env::var("REVENIUM_MODEL_CASES").map_or(100, |n| n.parse::<u32>().unwrap() / 10);
    let counts = Counts::default();
    let mut config = Config { cases, failure_persistence: None, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(uuid::Uuid::new_v4().as_u64_pair().0);
    }
    let seed = config.rng_seed;
    let mut runner = TestRunner::new(config);
    let result = runner.run(&(0usize..2, ops()), |(kept_segments, ops)| {
        let mut world = World::new(kept_segments);
        ops.iter().for_each(|op| world.run(op, &counts));
        world.reopen(None, Index::Kept);
        world.reopen(None, Index::Lost);
        Ok(())
    });
    println!(
        "retire: {cases} cases of {seed:?}, {} moves, {} rounds stopped in {} places, {} kills, damaged {} times",
        counts.moves.get(),
        counts.rounds.get(),
        counts.stops.get(),
        counts.kills.get(),
        counts.damaged.get()
    );
    result.unwrap();
    assert!(counts.moves.get() > 0 && counts.stops.get() > counts.rounds.get() && counts.kills.get() > 0);
}
