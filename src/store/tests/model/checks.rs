//! What the store holds, looked at in every way that there is, against what may be true.

use std::collections::BTreeMap;

use revenium_store::{
    Books, End, Fate, LaneBooks, Ledger, Record, Seq, Settlement, SurveyError, Tracing, export, trace,
};

use super::LANES;
use super::support::{lane, text};
use super::world::{State, World};

impl World {
    /// Looks at everything that the store holds and holds it against the model, which then knows.
    pub(crate) fn check(&mut self) {
        let mut seen: BTreeMap<String, State> = BTreeMap::new();
        let mut claimed = Vec::new();
        for of in 0..LANES {
            loop {
                let some = self.store().claim(&lane(of), End::Oldest, 50, u64::MAX).unwrap();
                if some.is_empty() {
                    break;
                }
                for r in some {
                    self.check_record(&r);
                    assert_eq!(seen.insert(text(&r), State::Waiting), None, "{} waits twice", text(&r));
                    claimed.push(r.seq);
                }
            }
        }
        for letter in self.store().dead_letters(Seq(0), 100_000).unwrap() {
            self.check_record(&letter.record);
            let body = text(&letter.record);
            assert_eq!(seen.insert(body.clone(), State::Dead), None, "{body} waits and is dead");
        }
        for (body, known) in &mut self.known {
            let is = seen.get(body).copied();
            let fits = |state: State| match state {
                State::Waiting | State::Dead => is == Some(state),
                State::Ended | State::Absent => is.is_none(),
            };
            assert!(fits(known.now) || known.before.is_some_and(fits), "{body} is {is:?}, known {known:?}");
            known.now = is.unwrap_or(State::Ended);
            known.before = None;
            known.acknowledged |= is.is_some();
        }
        let stats = self.store().stats();
        let waiting: u64 = stats.lanes.iter().map(|l| l.waiting).sum();
        let lost: u64 = stats.lanes.iter().map(|l| l.ledger.lost).sum();
        assert_eq!(waiting, seen.values().filter(|s| **s == State::Waiting).count() as u64);
        assert_eq!((stats.imbalance, lost), (0, 0), "{stats:#?}");
        for stats in &stats.lanes {
            let l = &stats.ledger;
            let ended = l.delivered + stats.waiting + l.dead + l.discarded;
            assert_eq!(l.received, ended, "the ledger of one lane: {stats:#?}");
        }
        self.check_books();
        self.check_export(&seen);
        self.check_trace(&seen);
        for seq in claimed {
            self.store().settle(seq, Settlement::Released);
        }
    }

    /// Counted by reading the log, beside the store that writes it, the books are what the index says.
    fn check_books(&self) {
        for _ in 0..100 {
            let (place, mut counted) = self.store().books().unwrap();
            let read = match Books::of_log(self.dir.path(), Some(&place)) {
                Err(SurveyError::Restless) => continue,
                read => read.unwrap(),
            };
            if !read.missing_segments.is_empty() {
                continue; // retired since
            }
            let held = |lane: &LaneBooks| lane.waiting > 0 || lane.ledger != Ledger::default();
            counted.retain(held);
            counted.sort_by(|a, b| a.lane.cmp(&b.lane));
            let of_log: Vec<LaneBooks> = read.lanes.iter().filter(|lane| held(lane)).cloned().collect();
            assert_eq!((of_log, read.imbalance(), &read.missing), (counted, 0, &vec![]), "at {place:?}");
            return;
        }
        panic!("the log never rests");
    }

    /// What is handed out of the log is each record once, and what waits and what is dead is among it.
    fn check_export(&self, seen: &BTreeMap<String, State>) {
        let mut fates = BTreeMap::new();
        let take = |record: &Record, fate| {
            self.check_record(record);
            assert_eq!(fates.insert(text(record), fate), None, "{} is handed out twice", text(record));
            Ok(())
        };
        export(self.dir.path(), take).unwrap();
        assert_fit(&fates, seen);
    }

    /// What is looked for in the log is found once, with what became of it; of too many the newest.
    fn check_trace(&self, seen: &BTreeMap<String, State>) {
        let tracing = trace(self.dir.path(), usize::MAX, |_, _, _| true).unwrap();
        let mut found = BTreeMap::new();
        for traced in &tracing.found {
            self.check_record(&traced.record);
            let body = text(&traced.record);
            assert_eq!(found.insert(body.clone(), traced.fate), None, "{body} is found twice");
            assert!(traced.fate != Fate::Dead || traced.dead.is_some(), "{body} died of nothing");
        }
        assert_fit(&found, seen);
        let newest = trace(self.dir.path(), 1, |_, _, _| true).unwrap();
        let seqs = |tracing: &Tracing| tracing.found.last().map(|traced| traced.record.seq);
        assert_eq!((newest.found.len() <= 1, seqs(&newest)), (true, seqs(&tracing)));
    }

    pub(crate) fn check_record(&self, r: &Record) {
        let body = text(r);
        let known = self.known.get(&body).unwrap_or_else(|| panic!("{body} was never appended"));
        assert_eq!(known.key, *r.key, "{body}");
        assert_eq!(lane(known.lane), r.lane, "{body}");
        if let Some(seq) = known.seq {
            assert_eq!(seq, r.seq, "{body}");
        }
    }
}

/// What waits and what is dead is so in the log as well, and nothing else there is.
fn assert_fit(fates: &BTreeMap<String, Fate>, seen: &BTreeMap<String, State>) {
    for (body, state) in seen {
        let fate = if *state == State::Dead { Fate::Dead } else { Fate::Waiting };
        assert_eq!(fates.get(body), Some(&fate), "{body}");
    }
    for (body, fate) in fates {
        let is_over = !matches!(fate, Fate::Waiting | Fate::Dead);
        assert_eq!(is_over, !seen.contains_key(body), "{body} is {fate:?}");
    }
}
