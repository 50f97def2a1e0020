//! The books of a log, counted by reading it: what came in and what became of it.
//!
//! Received, delivered, discarded and lost are the latest checkpoint's counts and what the log says since;
//! what waits and what is dead is counted record by record. So a record that vanished is missing on one side.

use std::path::Path;

use super::tally::Tally;
use super::{Place, Survey, SurveyError};
use crate::progress::Progress;
use crate::stats::Ledger;
use crate::types::Lane;

/// What a log holds, by lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    /// Every lane that ever held a record. What damage took without a trace of its lane is in one without a
    /// name.
    pub lanes: Vec<LaneBooks>,
    /// Numbers of records that are not there although nothing in the log says that they ended: ranges of
    /// (first, first after).
    pub missing: Vec<(u64, u64)>,
    /// Segments that should be there.
    pub missing_segments: Vec<u64>,
    /// Places at which the log is damaged, whether or not that was met and counted before.
    pub damaged: u64,
}

/// One lane's side of the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneBooks {
    /// Which lane.
    pub lane: Lane,
    /// Records that wait.
    pub waiting: u64,
    /// The others.
    pub ledger: Ledger,
}

impl Books {
    /// Counts the log in `dir` up to `until`, or to its end.
    ///
    /// # Errors
    /// [`SurveyError`]; `Restless` only beside an agent that runs.
    pub fn of_log(dir: &Path, until: Option<&Place>) -> Result<Self, SurveyError> {
        Self::of_log_telling(dir, until, |_| ())
    }

    /// As [`Books::of_log`]; tells after each place of the log how far it is.
    ///
    /// # Errors
    /// As there.
    pub fn of_log_telling(
        dir: &Path,
        until: Option<&Place>,
        mut tell: impl FnMut(Progress),
    ) -> Result<Self, SurveyError> {
        let survey = Survey::open(dir, until)?;
        let mut tally = Tally::begin(survey.latest.as_ref());
        let mut so_far = Progress { done_bytes: 0, total_bytes: survey.bytes() };
        survey.walk(|_, met| {
            so_far.done_bytes += met.bytes();
            tally.take(met);
            tell(so_far);
            Ok(())
        })?;
        if survey.table.segments.is_empty()
            && let Some(mark) = survey.mark
        {
            tally.miss_all(mark.next_seq);
        }
        let (lanes, missing, damaged) = tally.end();
        Ok(Self { lanes, missing, missing_segments: survey.table.vanished.into_iter().collect(), damaged })
    }

    /// Records on the one side that are not on the other.
    #[must_use]
    pub fn imbalance(&self) -> u64 {
        let received: u64 = self.lanes.iter().map(|lane| lane.ledger.received).sum();
        received.abs_diff(self.lanes.iter().map(LaneBooks::accounted).sum())
    }

    /// Whether every record is accounted for.
    #[must_use]
    pub fn balance(&self) -> bool {
        self.imbalance() == 0 && self.missing.is_empty()
    }
}

impl LaneBooks {
    /// Records of which it is known what became of them.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        let Ledger { delivered, dead, discarded, lost, .. } = self.ledger;
        delivered + self.waiting + dead + discarded + lost
    }
}
