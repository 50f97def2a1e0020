//! How far a command about many letters is: a bar on a terminal, else a line each few seconds.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Agent, letters};
use crate::admin::Status;
use crate::desk::Filter;
use crate::exit::Failure;
use crate::progress::{Progress, Teller, line};

/// Shows one command. Its bar goes with it.
pub(super) struct Shown {
    doing: &'static str,
    total: Option<u64>,
    done: u64,
    began: Instant,
    teller: Teller,
}

impl Shown {
    /// `doing` is a word such as `retrying`.
    pub(super) fn new(doing: &'static str, agent: &Agent, filter: &Filter) -> Result<Self, Failure> {
        let total = total(filter, &agent.status()?);
        Ok(Self { doing, total, done: 0, began: Instant::now(), teller: Teller::begin() })
    }

    /// So many more were looked at, whatever became of them.
    pub(super) fn add(&mut self, more: u64) {
        self.done += more;
        let Self { doing, done, .. } = *self;
        let took = self.began.elapsed();
        // Some may have died since they were counted.
        let progress = self.total.map(|total| Progress { done, total: total.max(done), took });
        let words = progress.map_or_else(|| letters(done), |progress| progress.of("letters"));
        let line = format!("{doing}: {words}");
        let bar = |columns| match progress {
            Some(progress) => progress.bar(doing, &words, columns),
            None => line.chars().take(columns).collect(),
        };
        if self.teller.tell(took, bar) {
            line::say(&line);
        }
    }
}

/// How many letters a filter is about, where that is known without looking at each.
fn total(filter: &Filter, status: &Status) -> Option<u64> {
    let seqs: BTreeSet<u64> = filter.seqs.iter().copied().collect();
    let Filter { profile, kind: None, reason: None, since_ms: None, until_ms: None, .. } = filter else {
        return None;
    };
    if !seqs.is_empty() {
        return profile.is_none().then_some(seqs.len() as u64);
    }
    // Until the index has followed the log, not all are counted.
    if !status.waiting_for.is_empty() {
        return None;
    }
    let meant = status.profiles.iter().filter(|of| profile.as_ref().is_none_or(|name| *name == of.name));
    Some(meant.map(|profile| profile.dead).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ProfileStatus;

    #[test]
    fn the_total_is_told_only_where_it_is_known() {
        let mut status = crate::admin::tests::healthy();
        let profile =
            |name: &str, dead| ProfileStatus { name: name.to_owned(), dead, ..ProfileStatus::default() };
        status.profiles = vec![profile("a", 3), profile("b", 4)];
        let all = Filter::default();
        let of = |name: &str| Some(name.to_owned());
        for (filter, letters) in [
            (all.clone(), Some(7)),
            (Filter { profile: of("b"), ..all.clone() }, Some(4)),
            (Filter { profile: of("c"), ..all.clone() }, Some(0)),
            (Filter { seqs: vec![5, 9, 5], ..all.clone() }, Some(2)),
            (Filter { seqs: vec![5], profile: of("a"), ..all.clone() }, None),
            (Filter { kind: of("tool"), ..all.clone() }, None),
            (Filter { since_ms: Some(0), ..all.clone() }, None),
        ] {
            assert_eq!(total(&filter, &status), letters, "{filter:?}");
        }
        status.waiting_for = vec!["index: being made anew: 41 % of 1.2 GiB".to_owned()];
        assert_eq!(total(&all, &status), None);
    }
}
