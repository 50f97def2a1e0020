//! The real binary under `strace`: killed as it enters the N-th call of a kind, or told that this call failed.
//!
//! strace counts the calls of each thread, so "the third rename" is that of the thread that comes to three first.
//! Which call that was is read from the trace afterwards and told by its place in the life of an event (`place`). A
//! first life, in which nothing goes wrong, is the map: it says what there is to strike, and where each place
//! can be expected. Every case begins with a copy of one log (`seed`), in which a segment is about to be moved and
//! recycled, and ends with the oracle of the storm: what was promised is billed once, with the same bytes.
//!
//! What an error adds: a flush that failed may have lost what it was for, and the page cache would hide that. So the bytes
//! that such a flush was to keep are zeroed before the next start.
//!
//! | variable | means | default |
//! |---|---|---|
//! | `REVENIUM_FAULT_ROUNDS` | cases of each of the two tests; `all`: each call of each kind | 20 |
//! | `REVENIUM_FAULT_SEED` | where chance begins; printed by every run | the clock |
//! | `REVENIUM_FAULT_CASE` | this one alone, by the name that a failure gives | |

mod case;
mod life;
mod place;
mod seed;
mod strace;
mod tally;

use std::env;

use case::{Case, What};
use place::{FAILS_AT, KILLED_AT, Place};
use seed::Seed;
use tally::Tally;

use crate::dice::{self, Dice};

const KILLS: usize = 20;
const ERRORS: usize = 20;
/// Tries to strike one place at most: a life may come to it with another call than the map's did, about every fifth time
/// where it is the hardest to hit.
const TRIES: usize = 48;
/// Lives in which nothing goes wrong, at most, until one has come to each place.
const MAPS: usize = 8;

#[test]
fn an_agent_that_is_killed_at_any_call_loses_doubles_and_alters_nothing() {
    let (seed, mut dice) = begin("kills");
    let mut tally = Tally::new("kills");
    if let Some(cases) = named(&["kill"]) {
        cases.iter().for_each(|case| tally.add(case, &life::run(case, &seed)));
        return;
    }
    let all = cases(KILLED_AT, &[What::Kill], &seed, &mut dice);
    strike(KILLED_AT, KILLS, &all, &seed, &mut tally, &mut dice);
}

#[test]
fn a_call_of_the_system_that_fails_loses_doubles_and_alters_nothing() {
    let (seed, mut dice) = begin("errors");
    let mut tally = Tally::new("errors");
    if let Some(cases) = named(&["EIO", "ENOSPC"]) {
        cases.iter().for_each(|case| tally.add(case, &life::run(case, &seed)));
        return;
    }
    let all = cases(FAILS_AT, &[What::Error("EIO"), What::Error("ENOSPC")], &seed, &mut dice);
    strike(FAILS_AT, ERRORS, &all, &seed, &mut tally, &mut dice);
    // Not every flush has something to lose, and few are among those that chance has chosen.
    let flushes = all.iter().filter(|case| case.expected == Place::SegmentFlushed && !tally.has_run(case));
    for case in case::shuffled(flushes, &mut dice).iter().take(TRIES) {
        if tally.bytes_lost() > 0 {
            break;
        }
        tally.add(case, &life::run(case, &seed));
    }
    assert!(tally.bytes_lost() > 0, "no failed flush lost what it was to keep\n{tally}");
}

/// Every case of a life, or of more, as one comes to some of these places only if its timing has it so.
fn cases(places: &[Place], whats: &[What], seed: &Seed, dice: &mut Dice) -> Vec<Case> {
    let mut all = Vec::new();
    for _ in 0..MAPS {
        all.extend(case::every(&life::map(seed), whats, dice));
        if places.iter().all(|place| all.iter().any(|case| case.expected == *place)) {
            break;
        }
    }
    eprintln!("{} cases in all", all.len());
    all
}

/// Each of these places at least once, and so many cases of all in all.
fn strike(places: &[Place], usual: usize, all: &[Case], seed: &Seed, tally: &mut Tally, dice: &mut Dice) {
    for place in places {
        let candidates = case::shuffled(all.iter().filter(|case| case.expected == *place), dice);
        assert!(!candidates.is_empty(), "a life never comes to: {place:?}\n{tally}");
        for case in candidates.iter().cycle().take(TRIES) {
            if tally.has(*place) {
                break;
            }
            tally.add(case, &life::run(case, seed));
        }
    }
    for case in rest(all, usual, tally, dice) {
        tally.add(&case, &life::run(&case, seed));
    }
    tally.print();
    let missed: Vec<&Place> = places.iter().filter(|place| !tally.has(**place)).collect();
    assert!(missed.is_empty(), "never struck: {missed:?}\n{tally}");
}

fn begin(what: &str) -> (Seed, Dice) {
    let seed = dice::seed("REVENIUM_FAULT_SEED");
    eprintln!("faults, {what}: repeat with REVENIUM_FAULT_SEED={seed}");
    let mut dice = Dice::new(seed);
    (Seed::make(&mut dice), dice)
}

/// The case that a person asks for, if it is of this test; no cases if it is of the other.
fn named(whats: &[&str]) -> Option<Vec<Case>> {
    let name = env::var("REVENIUM_FAULT_CASE").ok()?;
    let case =
        Case::parse(&name).unwrap_or_else(|| panic!("REVENIUM_FAULT_CASE: no case is called {name:?}"));
    let is_here = whats.iter().any(|what| name.starts_with(what));
    Some(is_here.then_some(case).into_iter().collect())
}

/// What is left to try, for so many in all.
fn rest(all: &[Case], usual: usize, tally: &Tally, dice: &mut Dice) -> Vec<Case> {
    let rounds = match env::var("REVENIUM_FAULT_ROUNDS") {
        Ok(text) if text == "all" => usize::MAX,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("REVENIUM_FAULT_ROUNDS is no number: {text}")),
        Err(_) => usual,
    };
    let mut left = case::in_turn(all.iter().filter(|case| !tally.has_run(case)), dice);
    left.truncate(rounds.saturating_sub(tally.cases()));
    left
}
