//! What became of records, as the notes of a log say it of all of them together.

use std::collections::BTreeMap;

use revenium_migrations::log_v1::{self as v1, ChunkKind, Gone, Note, Notes};

use super::Met;
use crate::chunk;
use crate::ranges::Ranges;

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

impl Fate {
    /// Its name in what is exported.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::Delivered => "delivered",
            Self::Discarded => "discarded",
            Self::Lost => "lost",
            Self::Ended => "ended",
        }
    }
}

/// What the log says of all records together.
#[derive(Default)]
pub(super) struct Fates {
    gone: BTreeMap<Gone, Ranges>,
    dead: Ranges,
}

impl Fates {
    /// Takes in what was met.
    pub(super) fn heed(&mut self, met: &Met<'_>) {
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

    /// What became of one, once all of the log was met.
    pub(super) fn of(&self, seq: u64) -> Fate {
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
