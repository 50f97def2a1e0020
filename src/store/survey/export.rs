//! Handing out every record that a log still holds, with what became of it.
//!
//! In two readings: how records ended stands behind them. A log that an agent shortens meanwhile is read again,
//! and what was handed out is not handed out twice.

use std::io;
use std::path::Path;

use super::fate::{Fate, Fates};
use super::{Met, Survey, SurveyError, until_at_rest};
use crate::chunk::Decoded;
use crate::ranges::Ranges;
use crate::types::Record;

/// What was handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Records.
    pub records: u64,
    /// Damaged places, of which nothing could be handed out.
    pub damaged: u64,
}

/// Hands out every record of the log in `dir` that can be read, once. `attempts` of a record are not known here.
///
/// # Errors
/// [`SurveyError`]; `Taker` with the error of `take`.
pub fn export(
    dir: &Path,
    mut take: impl FnMut(&Record, Fate) -> io::Result<()>,
) -> Result<Exported, SurveyError> {
    let mut done = Ranges::default();
    until_at_rest(|| {
        let survey = Survey::open(dir, None)?;
        let mut fates = Fates::default();
        survey.walk(|_, met| {
            fates.heed(&met);
            Ok(())
        })?;
        let mut damaged = survey.table.vanished.len() as u64;
        survey.walk(|_, met| {
            let (at, directory, bodies) = match met {
                Met::Chunk(at, directory, Some(bodies)) => (at, directory, bodies),
                Met::Chunk(..) | Met::Hole(..) => {
                    damaged += 1;
                    return Ok(());
                }
                Met::Break(..) => return Ok(()),
            };
            let Some(chunk) = Decoded::of(at, directory, &bodies) else { return Ok(()) };
            for (i, seq) in chunk.seqs.iter().enumerate() {
                if done.contains(*seq) {
                    continue;
                }
                if let Some(record) = chunk.record(i) {
                    take(&record, fates.of(*seq)).map_err(SurveyError::Taker)?;
                    done.insert(*seq, usize::MAX);
                }
            }
            Ok(())
        })?;
        let records = done.iter().map(|(first, last)| last - first + 1).sum();
        Ok(Exported { records, damaged })
    })
}
