//! A set of numbers that mostly follow one another, kept as ranges.

/// Ranges of (first, last), ascending, apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    pub(crate) fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Index of the first range that ends at or after `n`.
    fn position(&self, n: u64) -> usize {
        self.0.partition_point(|(_, last)| *last < n)
    }

    pub(crate) fn contains(&self, n: u64) -> bool {
        self.0.get(self.position(n)).is_some_and(|(first, _)| *first <= n)
    }

    /// Adds `n`, unless that would make more than `ranges_max` ranges; then false.
    pub(crate) fn insert(&mut self, n: u64, ranges_max: usize) -> bool {
        if self.contains(n) {
            return true;
        }
        let i = self.position(n);
        let joins_before = i > 0 && self.0[i - 1].1 + 1 == n;
        let joins_after = i < self.0.len() && n + 1 == self.0[i].0;
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[i - 1].1 = self.0[i].1;
                self.0.remove(i);
            }
            (true, false) => self.0[i - 1].1 = n,
            (false, true) => self.0[i].0 = n,
            (false, false) if self.0.len() >= ranges_max => return false,
            (false, false) => self.0.insert(i, (n, n)),
        }
        true
    }

    pub(crate) fn remove(&mut self, n: u64) {
        let i = self.position(n);
        let Some(&(first, last)) = self.0.get(i) else { return };
        if first > n {
            return;
        }
        self.0.remove(i);
        if n < last {
            self.0.insert(i, (n + 1, last));
        }
        if first < n {
            self.0.insert(i, (first, n - 1));
        }
    }

    pub(crate) fn merge(&mut self, (mut first, mut last): (u64, u64)) {
        self.0.retain(|&(f, l)| {
            let apart = l.saturating_add(1) < first || last.saturating_add(1) < f;
            if !apart {
                first = first.min(f);
                last = last.max(l);
            }
            apart
        });
        let i = self.0.partition_point(|(f, _)| *f < first);
        self.0.insert(i, (first, last));
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
                prop_assert!(ranges.0.windows(2).all(|w| w[0].1 + 1 < w[1].0));
            }
            let mut merged = Ranges::default();
            ranges.0.iter().rev().for_each(|r| merged.merge(*r));
            prop_assert_eq!(merged, ranges);
        }
    }
}
