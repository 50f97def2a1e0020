//! Finding records by what they hold, and telling what became of each.
//!
//! In one reading if nothing is found, else in two: what is said of a record may stand before or behind it.

use std::collections::BTreeMap;
use std::path::Path;

use revenium_migrations::log_v1::{self as v1, ChunkKind, Note, Notes};

use super::fate::{Fate, Fates};
use super::{Met, Survey, SurveyError, until_at_rest};
use crate::chunk::{self, Decoded};
use crate::types::{DeadNote, Record};

/// A record that was found.
#[derive(Debug, Clone)]
pub struct Traced {
    /// As it is in the log, with the attempts that were noted.
    pub record: Record,
    /// What became of it.
    pub fate: Fate,
    /// Not to be tried before, milliseconds since 1970; 0 if it was never postponed.
    pub not_before_ms: u64,
    /// Why it is a dead letter, or was one.
    pub dead: Option<DeadNote>,
}

/// What a log says.
#[derive(Debug, Default)]
pub struct Tracing {
    /// The last of them, in the order of acceptance.
    pub found: Vec<Traced>,
    /// Whether there are more.
    pub has_more: bool,
    /// Damaged places, in which nothing could be looked for.
    pub damaged: u64,
}

/// Finds up to `max` records of the log in `dir` whose key, route and body are `meant`.
///
/// # Errors
/// [`SurveyError`].
pub fn trace(
    dir: &Path,
    max: usize,
    meant: impl Fn(&str, u8, &[u8]) -> bool,
) -> Result<Tracing, SurveyError> {
    until_at_rest(|| {
        let survey = Survey::open(dir, None)?;
        let mut tracing = Tracing { damaged: survey.table.vanished.len() as u64, ..Tracing::default() };
        let mut fates = Fates::default();
        // By number: a record that was moved is met more than once.
        let mut found: BTreeMap<u64, Traced> = BTreeMap::new();
        survey.walk(|_, met| {
            fates.heed(&met);
            let (at, directory, bodies) = match met {
                Met::Chunk(at, directory, Some(bodies)) => (at, directory, bodies),
                Met::Chunk(..) | Met::Hole(..) => {
                    tracing.damaged += 1;
                    return Ok(());
                }
                Met::Break(..) => return Ok(()),
            };
            let Some(chunk) = Decoded::of(at, directory, &bodies) else { return Ok(()) };
            for (i, meta) in chunk.records.metas.iter().enumerate() {
                if !meant(&chunk::key_text(&meta.key), meta.route, chunk.body(i)) {
                    continue;
                }
                let Some(record) = chunk.record(i) else { continue };
                let traced = Traced { record, fate: Fate::Waiting, not_before_ms: 0, dead: None };
                found.insert(chunk.seqs[i], traced);
                if found.len() > max {
                    tracing.has_more = true;
                    found.pop_first();
                }
            }
            Ok(())
        })?;
        if !found.is_empty() {
            survey.walk(|_, met| {
                tell(&met, &mut found);
                Ok(())
            })?;
        }
        found.iter_mut().for_each(|(seq, traced)| traced.fate = fates.of(*seq));
        tracing.found = found.into_values().collect();
        Ok(tracing)
    })
}

/// Adds what is said here of those that were found.
fn tell(met: &Met<'_>, found: &mut BTreeMap<u64, Traced>) {
    let Met::Chunk(at, directory, _) = met else { return };
    if let Some((seqs, records)) = chunk::numbered(at, directory) {
        for (seq, meta) in seqs.iter().zip(records.metas) {
            if let (Some(dead), Some(traced)) = (meta.dead, found.get_mut(seq)) {
                traced.dead = Some(chunk::note_of(dead));
            }
        }
    }
    let notes = if at.header.kind == ChunkKind::Notes { v1::decode::<Notes>(directory) } else { return };
    for note in notes.unwrap_or_default().notes {
        match note {
            Note::Dead(_, seq, dead) => {
                if let Some(traced) = found.get_mut(&seq) {
                    traced.dead = Some(chunk::note_of(dead));
                }
            }
            Note::Postponed { seq, not_before_ms, attempts, first_attempt_at_ms, .. } => {
                // Said again when its segment goes, perhaps behind what was said since.
                if let Some(traced) = found.get_mut(&seq).filter(|known| known.record.attempts <= attempts) {
                    traced.record.attempts = attempts;
                    traced.record.first_attempt_at_ms = first_attempt_at_ms;
                    traced.not_before_ms = not_before_ms;
                }
            }
            Note::Gone(..) | Note::State(..) | Note::Retired(_) | Note::Missing { .. } => {}
        }
    }
}
