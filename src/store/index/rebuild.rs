//! What following the log from its beginning needs to know, and what was found missing.

use std::collections::{HashMap, HashSet};

use revenium_migrations::log_v1::{self as v1, Dead, Note};

use super::{Doubt, Index, schema};
use crate::chunk::{Chain, ChunkAt};
use crate::ranges::Ranges;
use crate::scan::FIRST_CHUNK;
use crate::segment::Pos;

/// The state of a rebuild.
#[derive(Default)]
pub(crate) struct Rebuild {
    /// Chunks before this place are counted in the checkpoint that the rebuild began with.
    pub(crate) count_from: Pos,
    /// What vanished held numbers below this one only; 0 if nothing did.
    pub(crate) vanished_before: u64,
    /// Of those, so many at most had not been counted.
    pub(crate) vanished_uncounted: u64,
    /// The first segment's header is lost: where the log begins, its first chunk says.
    pub(crate) begins_blind: bool,
    /// Where the last chunk that was met ends.
    pub(crate) met_to: Pos,
    /// Where the segment before the one that is followed now was left.
    pub(crate) left_at: Pos,
    /// Missing numbers around `count_from`: the first of them had been counted, the others had not.
    pub(crate) straddles: Option<(u64, u64)>,
    /// First numbers of the chunks met, so that a moved record is told from a settled one.
    pub(crate) seen: HashSet<u64>,
    /// Numbers whose end was met before their record: a moved copy of one stays ended.
    pub(crate) ended: Ranges,
    /// The same for dead letters.
    pub(crate) died: HashMap<u64, Dead>,
    /// Segments that the checkpoint knew and nothing retired since: their absence is damage.
    pub(crate) expected: HashSet<u64>,
    /// The last segment that may have been retired. A checkpoint goes with every retirement, so what is absent
    /// behind the last one is damage.
    pub(crate) retired_to: u64,
    /// Whether any link between two chunks was broken: what was between them is gone, notes too.
    pub(crate) is_damaged: bool,
}

/// Numbers from the first of the two up to the other, which is not one of them.
type Range = (u64, u64);

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

impl Rebuild {
    /// Numbers are missing before `at`. Whether all of them had been counted.
    pub(crate) fn meets_gap(&mut self, first: u64, after: u64, at: Pos) -> bool {
        self.is_damaged = true;
        // A segment's end and the beginning of the next are the same place of the log.
        let is_first = at.offset == FIRST_CHUNK;
        let ends_there = is_first && self.left_at == self.count_from && self.met_to < self.count_from;
        let counted = at <= self.count_from || ends_there;
        if !counted && self.met_to < self.count_from {
            self.straddles = Some((first, after));
        }
        counted
    }
}

impl Index {
    /// What lay before `at` is gone, with numbers up to `next_seq`, and nothing says where it began. Most of them
    /// ended long ago; at the end it is known how many did not.
    pub(crate) fn vanished(&mut self, next_seq: u64, at: Pos) {
        let Some(rebuild) = &mut self.rebuild else { return };
        let numbers = next_seq.saturating_sub(1);
        rebuild.is_damaged |= numbers > 0;
        rebuild.vanished_before = next_seq;
        if rebuild.count_from < at {
            // More than were lost only if numbers were left out: for a retry, or after a failed commit.
            let counted: u64 = self.lanes.values().map(|lane| lane.counts.received).sum();
            rebuild.vanished_uncounted = numbers.saturating_sub(counted);
        }
        self.gaps.add(1, next_seq, true);
    }

    /// The first chunk of a log whose beginning is lost.
    pub(crate) fn begins_with(&mut self, at: &ChunkAt) {
        if self.rebuild.as_mut().is_some_and(|rebuild| std::mem::take(&mut rebuild.begins_blind)) {
            self.vanished(at.header.prev_next_seq, at.pos);
        }
    }

    /// What is missing now that the end of the log is reached: notes to be written.
    pub(crate) fn take_missing(&mut self) -> Vec<Note> {
        let rebuild = self.rebuild.as_ref();
        let before = rebuild.map_or(0, |r| r.vanished_before);
        let vanished_uncounted = rebuild.map_or(0, |r| r.vanished_uncounted);
        let straddles = rebuild.and_then(|r| r.straddles);
        let vanished = self.gaps.take_before(before);
        let (mut counted, uncounted) = (self.gaps.take(true), self.gaps.take(false));
        let unaccounted = self.unaccounted().saturating_sub(sum(&counted));
        let is_within =
            |range: &Range| straddles.is_some_and(|(first, after)| first <= range.0 && range.1 <= after);
        let (around, mut uncounted): (Vec<_>, Vec<_>) = uncounted.into_iter().partition(is_within);
        let (low, high) = split(around, unaccounted);
        let unaccounted = unaccounted - sum(&low);
        counted.extend(low);
        uncounted.extend(high);
        let (low, high) = split(highest(vanished, unaccounted + vanished_uncounted), unaccounted);
        counted.extend(low);
        uncounted.extend(high);
        let notes =
            [(uncounted, false), (counted, true)].into_iter().filter(|(ranges, _)| !ranges.is_empty());
        notes.map(|(ranges, counted)| Note::Missing { ranges, counted }).collect()
    }

    /// Damage took notes of ends that a checkpoint had counted. Their records wait again, or are among the
    /// `missing` that are about to be counted, so those ends count no more. Gives how many; none without
    /// damage, as it would be a fault of ours that the ledger is off.
    pub(crate) fn take_back_ends(&mut self, missing: u64) -> Result<u64, Doubt> {
        if !self.rebuild.as_ref().is_some_and(|rebuild| rebuild.is_damaged) {
            return Ok(0);
        }
        let (received, accounted) = self.sums();
        let excess = (accounted + missing).saturating_sub(received);
        let mut left = excess;
        // From lanes that are over themselves; then, as the missing have no lane, from any.
        for of_its_own in [true, false] {
            for state in self.lanes.values_mut() {
                let l = state.ledger();
                let over =
                    (l.delivered + l.discarded + l.dead + l.lost + state.waiting).saturating_sub(l.received);
                let mut some = if of_its_own { over.min(left) } else { left };
                for count in [&mut state.counts.delivered, &mut state.counts.discarded] {
                    let taken = some.min(*count);
                    *count -= taken;
                    some -= taken;
                    left -= taken;
                }
            }
        }
        for (lane, state) in self.lanes.iter().filter(|_| excess > 0) {
            self.db.insert(schema::counts_key(lane), v1::encode(&state.counts))?;
        }
        Ok(excess - left)
    }

    /// Begins a rebuild of an empty index from `first`, given what its segment's header says of the
    /// chunk before, whether a log whose files were all gone begins anew there, and what the latest
    /// checkpoint says.
    pub(crate) fn begin_rebuild(
        &mut self,
        first: Pos,
        link: Option<Chain>,
        begins_anew: bool,
        (retired_to, checkpoint): (u64, Option<v1::Checkpoint>),
    ) -> Result<(), Doubt> {
        let checkpoint = checkpoint.unwrap_or_default();
        let count_from = Pos { ordinal: checkpoint.ordinal, offset: checkpoint.offset };
        let has_vanished = checkpoint.segments.iter().any(|(ordinal, _)| *ordinal < first.ordinal);
        self.meta.rebuilding = true;
        self.meta.damaged_regions = checkpoint.damaged_regions;
        self.go_to(first);
        self.rebuild = Some(Rebuild {
            count_from,
            // The first log of all begins with the first number.
            begins_blind: link.is_none() && (first.ordinal == 1 || count_from != Pos::default()),
            retired_to,
            expected: checkpoint.segments.into_iter().map(|(ordinal, _)| ordinal).collect(),
            ..Rebuild::default()
        });
        for (lane, counts) in checkpoint.lanes {
            self.db.insert(schema::counts_key(&lane), v1::encode(&counts))?;
            self.lanes.entry(lane).or_default().counts = counts;
        }
        if let Some(link) = link {
            self.set_chain(link);
            if has_vanished || begins_anew {
                self.vanished(link.next_seq, first);
            }
        }
        self.db.insert(schema::META, v1::encode(&self.meta))?;
        Ok(())
    }

    /// Segments between these two are not there. True if they were retired, false if that is
    /// damage; an index that has not followed them all cannot go on.
    pub(crate) fn segments_are_absent(&self, from: u64, to: u64) -> Result<bool, Doubt> {
        match &self.rebuild {
            Some(rebuild) => {
                let is_expected = rebuild.expected.iter().any(|o| from < *o && *o < to);
                Ok(!is_expected && to - 1 <= rebuild.retired_to)
            }
            None => Err(Doubt::Mismatch("segments went before it had followed them".into())),
        }
    }

    pub(crate) fn is_rebuilding(&self) -> bool {
        self.rebuild.is_some()
    }

    /// The log is followed to its end: an index like any other from now on.
    pub(crate) fn end_rebuild(&mut self) -> Result<(), Doubt> {
        if self.rebuild.take().is_some() {
            self.meta.rebuilding = false;
            self.db.insert(schema::META, v1::encode(&self.meta))?;
        }
        Ok(())
    }
}

fn sum(ranges: &[Range]) -> u64 {
    ranges.iter().map(|(first, after)| after - first).sum()
}

/// The lowest `n` numbers of ranges, and the others.
fn split(mut ranges: Vec<Range>, mut n: u64) -> (Vec<Range>, Vec<Range>) {
    ranges.sort_unstable();
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for (first, after) in ranges {
        let at = first + n.min(after - first);
        n -= at - first;
        low.push((first, at));
        high.push((at, after));
    }
    low.retain(|(first, after)| first < after);
    high.retain(|(first, after)| first < after);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_numbers_of_ranges_are_split_off() {
        let ranges = || vec![(10, 12), (1, 4)];
        assert_eq!(split(ranges(), 0), (vec![], vec![(1, 4), (10, 12)]));
        assert_eq!(split(ranges(), 2), (vec![(1, 3)], vec![(3, 4), (10, 12)]));
        assert_eq!(split(ranges(), 4), (vec![(1, 4), (10, 11)], vec![(11, 12)]));
        assert_eq!(split(ranges(), 9), (vec![(1, 4), (10, 12)], vec![]));
    }

    #[test]
    fn what_is_missing_at_the_end_of_a_segment_was_counted_and_what_is_missing_behind_it_was_not() {
        let place = |ordinal, offset| Pos { ordinal, offset };
        let (left_at, met_to) = (place(1, 500), place(1, 300));
        let rebuild = || Rebuild { count_from: left_at, left_at, met_to, ..Rebuild::default() };
        assert!(rebuild().meets_gap(5, 7, place(2, FIRST_CHUNK)));
        let mut beyond = rebuild();
        assert!(!beyond.meets_gap(5, 9, place(2, FIRST_CHUNK + 80)));
        assert_eq!(beyond.straddles, Some((5, 9)));
    }

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
