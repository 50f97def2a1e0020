//! What was struck, where, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use super::case::Case;
use super::life::Came;
use super::place::Place;

pub(crate) struct Tally {
    what: &'static str,
    began: Instant,
    run: BTreeSet<String>,
    /// Struck there in the first life, and in the recovery from that.
    places: BTreeMap<Place, (u64, u64)>,
    not_reached: u64,
    injected: u64,
    bytes_lost: u64,
    codes: BTreeMap<Option<i32>, u64>,
    refusals: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            began: Instant::now(),
            run: BTreeSet::new(),
            places: BTreeMap::new(),
            not_reached: 0,
            injected: 0,
            bytes_lost: 0,
            codes: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, case: &Case, came: &Came) {
        // For whoever waits for a long run, and looks for what took long.
        let _ = writeln!(
            io::stderr(),
            "{:4.0?} {case}: {:?}, then {:?}; {:?}",
            self.began.elapsed(),
            came.place,
            came.then,
            came.code
        );
        self.run.insert(case.to_string());
        match came.place {
            Some(place) => self.places.entry(place).or_default().0 += 1,
            None => self.not_reached += 1,
        }
        if let Some(place) = came.then {
            self.places.entry(place).or_default().1 += 1;
        }
        self.injected += came.injected;
        self.bytes_lost += came.bytes_lost;
        *self.codes.entry(came.code).or_default() += 1;
        for (code, count) in &came.refusals {
            *self.refusals.entry(code.clone()).or_default() += count;
        }
    }

    pub(crate) fn has(&self, place: Place) -> bool {
        self.places.get(&place).is_some_and(|(first, _)| *first > 0)
    }

    pub(crate) fn has_run(&self, case: &Case) -> bool {
        self.run.contains(&case.to_string())
    }

    pub(crate) fn cases(&self) -> usize {
        self.run.len()
    }

    /// What failed flushes were to keep, and did not.
    pub(crate) fn bytes_lost(&self) -> u64 {
        self.bytes_lost
    }

    /// On stderr itself, which the test harness doesn't hold back.
    pub(crate) fn print(&self) {
        let _ = write!(io::stderr(), "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cases, took) = (self.run.len(), self.began.elapsed());
        writeln!(f, "faults, {}: {cases} cases in {took:.0?}, {} not reached", self.what, self.not_reached)?;
        for (place, (first, then)) in &self.places {
            writeln!(f, "  {first:4} {then:4} in the recovery  {place:?}")?;
        }
        let codes: Vec<String> = self.codes.iter().map(|(code, n)| format!("{code:?} {n}")).collect();
        writeln!(f, "  lives ended with {}", codes.join(", "))?;
        writeln!(
            f,
            "  {} calls failed, {} bytes lost by flushes, refusals {:?}",
            self.injected, self.bytes_lost, self.refusals
        )
    }
}
