//! Handing out every record that a log still holds, with what became of it.
//!
//! In two readings: how records ended stands behind them. A log that an agent shortens meanwhile is read again,
//! and what was handed out is not handed out twice.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use revenium_migrations::log_v1::{self as v1, ChunkKind, Gone, Note, Notes};

use super::{Met, Survey, SurveyError, until_at_rest};
use crate::chunk::{self, Decoded};
use crate::ranges::Ranges;
use crate::types::Record;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It waits.
    Waiting,
    /// It is a dead letter.
    Dead,
    /// The upstream confirmed it.
    Delivered,
    /// A person gave it up.
    Discarded,
    /// Damage took it, or seemed to.
    Lost,
    /// Another record took its place; or that it ended is known, and how is not any more.
    Ended,
}

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

/// What the log says of all records together.
#[derive(Default)]
struct Fates {
    gone: BTreeMap<Gone, Ranges>,
    dead: Ranges,
}

impl Fates {
    fn heed(&mut self, met: &Met<'_>) {
        let Met::Chunk(at, directory, _) = met else { return };
        if let Some((seqs, records)) = chunk::numbered(at, directory) {
            for (seq, meta) in seqs.iter().zip(&records.metas) {
                if meta.dead.is_some() {
                    self.dead.insert(*seq, usize::MAX);
                }
                if let Some(old) = meta.replaces.filter(|_| at.header.kind == ChunkKind::Records) {
                    self.gone.entry(Gone::Replaced).or_default().insert(old, usize::MAX);
                }
            }
        }
        let notes = if at.header.kind == ChunkKind::Notes { v1::decode::<Notes>(directory) } else { return };
        for note in notes.unwrap_or_default().notes {
            match note {
                Note::Gone(how, _, ranges) => {
                    let of_kind = self.gone.entry(how).or_default();
                    ranges.iter().filter(|(_, n)| *n > 0).for_each(|(first, n)| {
                        of_kind.merge((*first, first + u64::from(*n) - 1));
                    });
                }
                Note::Dead(_, seq, _) => {
                    self.dead.insert(seq, usize::MAX);
                }
                Note::Postponed { .. } | Note::State(..) | Note::Retired(_) | Note::Missing { .. } => {}
            }
        }
    }

    fn of(&self, seq: u64) -> Fate {
        let is = |how| self.gone.get(&how).is_some_and(|ranges| ranges.contains(seq));
        match () {
            () if is(Gone::Delivered) => Fate::Delivered,
            () if is(Gone::Discarded) => Fate::Discarded,
            () if is(Gone::Lost) => Fate::Lost,
            () if is(Gone::Replaced) => Fate::Ended,
            () if self.dead.contains(seq) => Fate::Dead,
            () => Fate::Waiting,
        }
    }
}
