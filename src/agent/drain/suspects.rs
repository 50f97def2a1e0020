//! Records that fail alone: each try of theirs fails while others of their lane pass.
//!
//! A record that meets `Blocked` alone for an hour, or that draws failures alone for a day, is a dead
//! letter: it would be tried for ever, and it is for a person to see. A try counts
//! only if others passed since the one before, so that no outage and no wrong key can condemn a
//! backlog; and the two are counted apart, so that a few failures don't hasten the other verdict.
//! Kept in memory and bounded; after a restart the tries (not the day) count anew. The time is measured by the clock
//! that nobody sets, so that a system's clock set forward by a day condemns nothing.

use std::collections::HashMap;
use std::time::Duration;

use revenium_store::Seq;
use tokio::time::Instant;

/// Tries alone, and the time since the first try, after which one that meets `Blocked` is condemned: an
/// upstream of which one node of two refuses for some minutes must not make dead letters.
const BLOCKED_TRIES: u32 = 5;
const BLOCKED_AGE: Duration = Duration::from_secs(3600);
/// Tries alone, and the time since the first try, after which one that draws failures is condemned.
const FAILED_TRIES: u32 = 20;
const FAILED_AGE: Duration = Duration::from_secs(24 * 3600);
/// More suspects than this at once are no suspects: something else is wrong.
const SUSPECTS_MAX: usize = 1024;
/// A suspect that was not tried for so long has ended otherwise. Longer than any backoff.
const STALE: Duration = Duration::from_secs(4 * 3600);

#[derive(Debug, Default)]
pub(super) struct Suspects {
    blocked: Tried,
    failed: Tried,
}

impl Suspects {
    /// `seq`, first tried `before` this drain began, met `Blocked` when `passed` records of its lane had
    /// passed. How often it did, or nothing if it is condemned.
    pub(super) fn blocked(&mut self, seq: Seq, passed: u64, before: Duration, now: Instant) -> Option<u32> {
        let tries = self.blocked.note(seq, passed, before, now);
        (tries.alone < BLOCKED_TRIES || tries.age < BLOCKED_AGE).then_some(tries.all)
    }

    /// `seq`, first tried `before` this drain began, drew a failure. True if it is condemned.
    pub(super) fn failed(&mut self, seq: Seq, passed: u64, before: Duration, now: Instant) -> bool {
        let tries = self.failed.note(seq, passed, before, now);
        tries.alone >= FAILED_TRIES && tries.age >= FAILED_AGE
    }

    /// `seq` has ended.
    pub(super) fn forget(&mut self, seq: Seq) {
        self.blocked.forget(seq);
        self.failed.forget(seq);
    }
}

/// Tries that ended in the same way.
#[derive(Debug, Default)]
struct Tried {
    of: HashMap<Seq, Suspect>,
}

#[derive(Debug)]
struct Suspect {
    all: u32,
    alone: u32,
    /// How old its first try was when this drain began.
    before: Duration,
    first_at: Instant,
    /// Records that had passed in its lane when it was last tried.
    passed: u64,
    tried_at: Instant,
}

/// How often a record was tried, how often of these alone, and for how long.
#[derive(Debug, Clone, Copy)]
struct Tries {
    all: u32,
    alone: u32,
    age: Duration,
}

impl Tried {
    fn note(&mut self, seq: Seq, passed: u64, before: Duration, now: Instant) -> Tries {
        if let Some(suspect) = self.of.get_mut(&seq) {
            suspect.all = suspect.all.saturating_add(1);
            suspect.alone += u32::from(passed > suspect.passed);
            suspect.passed = passed;
            suspect.tried_at = now;
            let age = suspect.before.saturating_add(now.saturating_duration_since(suspect.first_at));
            return Tries { all: suspect.all, alone: suspect.alone, age };
        }
        if self.of.len() >= SUSPECTS_MAX {
            self.of.retain(|_, suspect| now.saturating_duration_since(suspect.tried_at) < STALE);
        }
        if self.of.len() < SUSPECTS_MAX {
            let first = Suspect { all: 1, alone: 1, before, first_at: now, passed, tried_at: now };
            self.of.insert(seq, first);
        }
        Tries { all: 1, alone: 1, age: before }
    }

    fn forget(&mut self, seq: Seq) {
        if !self.of.is_empty() {
            self.of.remove(&seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = FAILED_AGE;

    #[test]
    fn a_record_is_condemned_only_if_others_passed_between_its_tries() {
        let now = Instant::now();
        let mut suspects = Suspects::default();
        let alone: Vec<_> = (0..5).map(|passed| suspects.blocked(Seq(1), passed, BLOCKED_AGE, now)).collect();
        assert_eq!(alone, [Some(1), Some(2), Some(3), Some(4), None]);
        let together: Vec<_> = (1..=99).map(|_| suspects.blocked(Seq(2), 9, BLOCKED_AGE, now)).collect();
        assert_eq!(together, (1..=99).map(Some).collect::<Vec<_>>());
        suspects.forget(Seq(1));
        assert_eq!(suspects.blocked(Seq(1), 99, BLOCKED_AGE, now), Some(1));
        let young = BLOCKED_AGE - Duration::from_secs(1);
        let early: Vec<_> = (0..20).map(|passed| suspects.blocked(Seq(3), passed, young, now)).collect();
        assert_eq!(early, (1..=20).map(Some).collect::<Vec<_>>(), "within the hour");
    }

    #[test]
    fn failures_condemn_after_a_day_of_tries_alone() {
        let now = Instant::now();
        let mut suspects = Suspects::default();
        let mut condemned = |seq, others_pass: bool, age| {
            (1..=40u64).find(|n| suspects.failed(Seq(seq), if others_pass { *n } else { 0 }, age, now))
        };
        assert_eq!(condemned(1, true, DAY), Some(20));
        assert_eq!(condemned(2, true, DAY - Duration::from_secs(1)), None);
        assert_eq!(condemned(3, false, DAY * 9), None);
    }

    #[test]
    fn failures_and_blocks_are_counted_apart() {
        let now = Instant::now();
        let mut suspects = Suspects::default();
        for passed in 0..50 {
            assert!(!suspects.failed(Seq(1), passed, Duration::ZERO, now));
        }
        assert_eq!(suspects.blocked(Seq(1), 99, DAY, now), Some(1), "its first");
        assert!(suspects.failed(Seq(1), 99, Duration::ZERO, now + DAY));
    }

    #[test]
    fn suspects_are_bounded_and_stale_ones_make_room() {
        let now = Instant::now();
        let mut suspects = Suspects::default();
        for seq in 0..2 * SUSPECTS_MAX as u64 {
            assert_eq!(suspects.blocked(Seq(seq), 0, DAY, now), Some(1));
        }
        assert_eq!(suspects.blocked.of.len(), SUSPECTS_MAX);
        suspects.blocked(Seq(u64::MAX), 0, DAY, now + STALE);
        assert_eq!(suspects.blocked.of.len(), 1);
    }
}
