//! A set of numbers that mostly follow one another, kept as ranges.

use std::collections::BTreeMap;

/// Ranges, the last number of each by its first: ascending, apart. What is done with one number is quick however
/// many ranges there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Ranges of (first, last), ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    /// The last range that begins at `n` or before.
    fn at_or_before(&self, n: u64) -> Option<(u64, u64)> {
        self.0.range(..=n).next_back().map(|(first, last)| (*first, *last))
    }

    pub(crate) fn contains(&self, n: u64) -> bool {
        self.at_or_before(n).is_some_and(|(_, last)| n <= last)
    }

    /// Adds `n`, unless that would make more than `ranges_max` ranges; then false.
    pub(crate) fn insert(&mut self, n: u64, ranges_max: usize) -> bool {
        let before = self.at_or_before(n);
        if before.is_some_and(|(_, last)| n <= last) {
            return true;
        }
        let joined = before.filter(|(_, last)| last + 1 == n);
        let after = n.checked_add(1).and_then(|next| self.0.remove(&next));
        if joined.is_none() && after.is_none() && self.0.len() >= ranges_max {
            return false;
        }
        self.0.insert(joined.map_or(n, |(first, _)| first), after.unwrap_or(n));
        true
    }

    pub(crate) fn remove(&mut self, n: u64) {
        let Some((first, last)) = self.at_or_before(n).filter(|(_, last)| n <= *last) else { return };
        if first < n {
            self.0.insert(first, n - 1);
        } else {
            self.0.remove(&first);
        }
        if n < last {
            self.0.insert(n + 1, last);
        }
    }

    pub(crate) fn merge(&mut self, (mut first, mut last): (u64, u64)) {
        // Those that it meets or touches, from the last on.
        while let Some((f, l)) = self.at_or_before(last.saturating_add(1)) {
            if l.saturating_add(1) < first {
                break;
            }
            self.0.remove(&f);
            first = first.min(f);
            last = last.max(l);
        }
        self.0.insert(first, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_behave_as_a_set(ops in prop::collection::vec((any::<bool>(), 0u64..40), 0..200)) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (insert, n) in ops {
                if insert {
                    prop_assert!(ranges.insert(n, 100));
                    set.insert(n);
                } else {
                    ranges.remove(n);
                    set.remove(&n);
                }
                for k in 0..41 {
                    prop_assert_eq!(ranges.contains(k), set.contains(&k));
                }
                let all: Vec<_> = ranges.iter().collect();
                prop_assert!(all.windows(2).all(|w| w[0].1 + 1 < w[1].0));
            }
            let mut merged = Ranges::default();
            ranges.0.iter().rev().for_each(|(first, last)| merged.merge((*first, *last)));
            prop_assert_eq!(merged, ranges);
        }
    }
}
