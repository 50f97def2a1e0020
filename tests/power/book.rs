//! What is known of every record that was handed to a store, from outside of it.
//!
//! What was stored has to be there, until it was about to end; from then on it may be there or not,
//! until that was durable; then it may not come back. What was handed over and never answered may be
//! there or not, and stays as it was found. Nothing else may be there.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Identity, identity};
use crate::said::{Said, State};

#[derive(Debug, Default)]
pub(crate) struct Book {
    known: BTreeMap<u64, Known>,
    /// What a store tells that it holds, until it has told all.
    held: BTreeMap<u64, State>,
    /// Retries in doubt, by the dead letter that each takes the place of.
    retries: BTreeMap<u64, u64>,
    /// What must not be, in words.
    pub(crate) complaints: Vec<String>,
    /// How often a store was held against the book.
    pub(crate) looks: u64,
}

#[derive(Debug)]
struct Known {
    now: State,
    /// What else it may be.
    may_be: BTreeSet<State>,
    /// Nobody knows whether it was stored.
    in_doubt: bool,
    seq: Option<u64>,
}

impl Book {
    /// A number that no record has.
    pub(crate) fn next(&self) -> u64 {
        self.known.last_key_value().map_or(1, |(n, _)| n + 1)
    }

    pub(crate) fn records(&self) -> u64 {
        self.known.len() as u64
    }

    /// Records that a sender would hand over again.
    pub(crate) fn again(&self) -> Vec<u64> {
        let in_doubt =
            self.known.iter().filter(|(n, known)| known.in_doubt && identity(**n) != Identity::None);
        in_doubt.map(|(n, _)| *n).collect()
    }

    /// Numbered records that were stored, from `from` on.
    pub(crate) fn stored_from(&self, from: u64) -> impl Iterator<Item = u64> {
        let all = self.known.range(from..).filter(|(n, k)| !k.in_doubt && identity(**n) == Identity::Number);
        all.map(|(n, _)| *n)
    }

    pub(crate) fn hear(&mut self, said: Said) {
        match said {
            Said::Holds(n, seq, state) => self.holds(n, seq, state),
            Said::HoldsNoMore => self.compare(),
            Said::Hands(n) => {
                // Again, if it is known.
                self.known.entry(n).or_insert_with(Known::handed).may_be.insert(State::Waiting);
            }
            Said::HandsFor(n, old) => {
                self.known.insert(n, Known::handed());
                self.changes(old, State::Gone);
                self.retries.insert(old, n);
            }
            Said::Stored(n, seq) => self.stored(n, seq),
            Said::Ends(n, state) => self.changes(n, state),
            Said::Settled => self.known.values_mut().filter(|known| !known.in_doubt).for_each(Known::is_sure),
            Said::Wrong(what) => self.complaints.push(what),
        }
    }

    /// The power went, perhaps while a store told what it holds.
    pub(crate) fn power_went(&mut self) {
        self.held.clear();
    }

    fn stored(&mut self, n: u64, seq: Option<u64>) {
        let Some(known) = self.known.get_mut(&n) else { return };
        known.in_doubt = false;
        known.now = State::Waiting;
        known.may_be.clear();
        known.seq = seq.or(known.seq);
        let old = self.retries.iter().find(|(_, retry)| **retry == n).map(|(old, _)| *old);
        if let Some(old) = old {
            self.retries.remove(&old);
            self.known.get_mut(&old).into_iter().for_each(Known::is_sure);
        }
    }

    fn changes(&mut self, n: u64, to: State) {
        let Some(known) = self.known.get_mut(&n) else { return };
        known.may_be.insert(known.now);
        known.now = to;
    }

    fn holds(&mut self, n: u64, seq: u64, state: State) {
        if self.held.insert(n, state).is_some() {
            self.complaints.push(format!("{n} is there twice"));
        }
        match self.known.get_mut(&n) {
            None => self.complaints.push(format!("{n} was never handed over")),
            Some(known) if known.seq.is_some_and(|s| s != seq) => {
                self.complaints.push(format!("{n} had another number, {:?}, and has {seq}", known.seq));
            }
            Some(known) => known.seq = Some(seq),
        }
    }

    fn compare(&mut self) {
        self.looks += 1;
        let held = std::mem::take(&mut self.held);
        let is = |n: &u64| held.get(n).copied().unwrap_or(State::Gone);
        for (n, known) in &mut self.known {
            if known.now != is(n) && !known.may_be.contains(&is(n)) {
                let lost = if is(n) == State::Gone { "LOST: " } else { "" };
                self.complaints.push(format!("{n}: {lost}it is {:?}, known is {known:?}", is(n)));
            }
            known.now = is(n);
            known.may_be.clear();
            // It is as it was found; nobody can ask again.
            known.in_doubt &= identity(*n) != Identity::None;
        }
        for (old, retry) in std::mem::take(&mut self.retries) {
            if (is(&old) == State::Dead) == (is(&retry) == State::Waiting) {
                let (is_old, is_retry) = (is(&old), is(&retry));
                self.complaints.push(format!("{old} is {is_old:?} and its retry, {retry}, is {is_retry:?}"));
            }
        }
    }
}

impl Known {
    fn handed() -> Self {
        Self { now: State::Waiting, may_be: [State::Gone].into(), in_doubt: true, seq: None }
    }

    fn is_sure(&mut self) {
        self.may_be.clear();
    }
}
