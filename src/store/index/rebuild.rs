//! What following the log from its beginning needs to know, and what was found missing.

use std::collections::{HashMap, HashSet};

use revenium_migrations::log_v1::Dead;

use crate::ranges::Ranges;
use crate::segment::Pos;

/// The state of a rebuild.
pub(crate) struct Rebuild {
    /// Chunks before this place are counted in the checkpoint that the rebuild began with.
    pub(crate) count_from: Pos,
    /// Segments that vanished held numbers below this one only; 0 if none vanished.
    pub(crate) vanished_before: u64,
    /// First numbers of the chunks met, so that a moved record is told from a settled one.
    pub(crate) seen: HashSet<u64>,
    /// Numbers whose end was met before their record: a moved copy of one stays ended.
    pub(crate) ended: Ranges,
    /// The same for dead letters.
    pub(crate) died: HashMap<u64, Dead>,
    /// Segments that the checkpoint knew and nothing retired since: their absence is damage.
    pub(crate) expected: HashSet<u64>,
}

/// Numbers whose records were not where the chain says, and that nothing else explains (yet).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gaps {
    ranges: Vec<Gap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    first: u64,
    after: u64,
    /// Whether they had been counted as received.
    counted: bool,
}

/// Numbers that are no gap any more, by whether they had been counted as received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Explained {
    pub(crate) counted: u64,
    pub(crate) uncounted: u64,
}

impl Gaps {
    pub(crate) fn add(&mut self, first: u64, after: u64, counted: bool) {
        if first < after {
            self.ranges.push(Gap { first, after, counted });
        }
    }

    /// Something explains these numbers; gives how many were gaps until now.
    pub(crate) fn explain(&mut self, first: u64, after: u64) -> Explained {
        let mut explained = Explained::default();
        if self.ranges.iter().all(|g| after <= g.first || g.after <= first) {
            return explained;
        }
        let mut left = Vec::new();
        for gap in self.ranges.drain(..) {
            let n = gap.after.min(after).saturating_sub(gap.first.max(first));
            *if gap.counted { &mut explained.counted } else { &mut explained.uncounted } += n;
            left.push(Gap { after: gap.after.min(first), ..gap });
            left.push(Gap { first: gap.first.max(after), ..gap });
        }
        left.retain(|g| g.first < g.after);
        left.dedup();
        self.ranges = left;
        explained
    }

    /// The unexplained ranges (first, first after) below `before`, ascending.
    pub(crate) fn take_before(&mut self, before: u64) -> Vec<(u64, u64)> {
        let (below, others): (Vec<Gap>, Vec<Gap>) = self.ranges.drain(..).partition(|g| g.after <= before);
        self.ranges = others;
        let mut taken: Vec<(u64, u64)> = below.iter().map(|g| (g.first, g.after)).collect();
        taken.sort_unstable();
        taken
    }

    /// The unexplained ranges (first, first after): those counted before, or those not.
    pub(crate) fn take(&mut self, counted: bool) -> Vec<(u64, u64)> {
        let taken = self.ranges.iter().filter(|g| g.counted == counted).map(|g| (g.first, g.after)).collect();
        self.ranges.retain(|g| g.counted != counted);
        taken
    }
}

/// The highest `n` numbers of ascending ranges.
pub(crate) fn highest(ranges: Vec<(u64, u64)>, mut n: u64) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for (first, after) in ranges.into_iter().rev() {
        let some = n.min(after - first);
        if some > 0 {
            found.push((after - some, after));
        }
        n -= some;
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explained_numbers_are_no_gap() {
        let mut gaps = Gaps::default();
        gaps.add(10, 20, false);
        gaps.add(30, 31, true);
        gaps.add(5, 5, true);
        assert_eq!(gaps.explain(12, 15), Explained { counted: 0, uncounted: 3 });
        assert_eq!(gaps.explain(19, 30), Explained { counted: 0, uncounted: 1 });
        assert_eq!(gaps.explain(0, 10), Explained::default());
        assert_eq!(gaps.take(false), vec![(10, 12), (15, 19)]);
        assert_eq!(gaps.take(true), vec![(30, 31)]);
        assert_eq!(gaps, Gaps::default());
    }

    #[test]
    fn of_what_vanished_the_highest_numbers_are_missing() {
        let mut gaps = Gaps::default();
        gaps.add(1, 20, true);
        gaps.add(20, 25, false);
        gaps.explain(10, 12);
        let below = gaps.take_before(20);
        assert_eq!(below, vec![(1, 10), (12, 20)]);
        assert_eq!(gaps.take(false), vec![(20, 25)]);
        assert_eq!(highest(below.clone(), 0), vec![]);
        assert_eq!(highest(below.clone(), 8), vec![(12, 20)]);
        assert_eq!(highest(below.clone(), 9), vec![(9, 10), (12, 20)]);
        assert_eq!(highest(below.clone(), 99), below);
    }
}
