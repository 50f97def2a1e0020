//! Saying again what damage took from the log and the index still knows.
//!
//! Damaged bytes may have held notes of ends. The index followed them when they were whole and needs them no
//! more, but one made anew from the log would let those records wait again, or take those whose bytes are gone
//! too for lost. So once damage is met, a checkpoint is appended that counts everything up to where the index
//! stands, and behind it the ends that no note in the log speaks of any more. What was lost itself is noted
//! by who met the damage (`relocate::lose`).

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use revenium_migrations::log_v1::{self as v1, Checkpoint, ChunkKind, Gone, LaneName, Meta, Note, Notes};

use crate::checkpoint;
use crate::chunk::{self, Chain, ChunkAt};
use crate::index::{Doubt, Index};
use crate::maintainer::Maintainer;
use crate::quarantine;
use crate::ranges::Ranges;
use crate::retire;
use crate::scan::{self, FIRST_CHUNK, Step};
use crate::segment::{Begins, Pos, Segment};
use crate::shared::{JobChunk, Shared, lock};
use crate::types::Seq;

/// Ranges of numbers in one note.
const RANGES_PER_NOTE: usize = 256;
/// Between two tries, as each reads the log's headers and directories.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// So long a store that closes waits for it at most.
const CLOSING_WAIT_MAX: Duration = Duration::from_secs(2);

/// Damage was met in a segment that the index has followed: the bytes are kept, and what they said may have to
/// be said again.
pub(crate) fn met(shared: &Shared, segment: &Segment, from: u64, to: u64) {
    if !quarantine::keep(shared, segment, from, to) {
        return;
    }
    if let Some(index) = lock(&shared.index).as_mut() {
        index.count_damage();
    }
    shared.is_damaged.store(true, Ordering::Release);
}

/// Says again what damage took, if any was met since the last time.
pub(crate) fn after_damage(maintainer: &mut Maintainer) {
    let shared = &maintainer.shared;
    let is_too_soon = maintainer.restate_failed.is_some_and(|at| at.elapsed() < RETRY_AFTER);
    if is_too_soon || !shared.is_damaged.swap(false, Ordering::AcqRel) {
        return;
    }
    maintainer.restate_failed = None;
    // The checkpoint first: what ends from here on is counted by its own note.
    let Some(checkpoint) = checkpoint::of_index(shared) else {
        shared.is_damaged.store(true, Ordering::Release);
        return;
    };
    if let Err(doubt) = say_again(shared, checkpoint) {
        tracing::warn!(%doubt, "cannot say again what damage took from the log");
        shared.is_damaged.store(true, Ordering::Release);
        maintainer.restate_failed = Some(Instant::now());
    }
}

fn say_again(shared: &Shared, checkpoint: Checkpoint) -> Result<(), Doubt> {
    let unsaid = unsaid(shared, Pos { ordinal: checkpoint.ordinal, offset: checkpoint.offset })?;
    let notes = unsaid.notes(shared)?;
    tracing::info!(notes = notes.len(), "what damage took from the log is said again");
    let mut job = vec![JobChunk::Checkpoint(checkpoint)];
    job.extend(retire::split(shared, notes));
    let appended = retire::run_in_parts(shared, job).map(|_| ());
    appended.ok_or_else(|| Doubt::Mismatch("the log takes nothing".into()))
}

/// Numbers of whose end or death the index knows and no note in the log says it any more.
#[derive(Default)]
struct Unsaid {
    ended: Ranges,
    dead: Ranges,
}

/// Follows the log up to `until`, past damage.
fn unsaid(shared: &Shared, until: Pos) -> Result<Unsaid, Doubt> {
    let mut unsaid = Unsaid::default();
    let mut chain: Option<Chain> = None;
    let mut before = 0;
    let began = Instant::now();
    let ordinals: Vec<u64> = lock(&shared.table).segments.range(..=until.ordinal).map(|(o, _)| *o).collect();
    for ordinal in ordinals {
        let Some(listed) = shared.listed(ordinal) else { continue };
        if ordinal != before + 1 {
            // Those between were retired.
            chain = link(&listed.segment)?;
        }
        before = ordinal;
        let mut at = Pos { ordinal, offset: FIRST_CHUNK };
        while at < until {
            if shared.is_closing() && began.elapsed() > CLOSING_WAIT_MAX {
                return Err(Doubt::Mismatch("the store closes before the log is read".into()));
            }
            match scan::step(&listed.segment, at.offset, listed.until, None).map_err(Doubt::Log)? {
                Step::Chunk(found, directory) => {
                    if let Some(chain) = chain.filter(|chain| chain.crc != found.header.prev_crc) {
                        unsaid.add(shared, chain.next_seq..found.header.prev_next_seq)?;
                    }
                    unsaid.follow(shared, &found, &directory)?;
                    chain = Some(found.chain());
                    at.offset = found.end();
                }
                Step::Hole(to) => at.offset = to,
                Step::End => break,
            }
        }
    }
    Ok(unsaid)
}

fn link(segment: &Segment) -> Result<Option<Chain>, Doubt> {
    Ok(match segment.begins().map_err(Doubt::Log)? {
        Begins::With(header) => Some(Chain { next_seq: header.first_seq, crc: header.prev_crc }),
        Begins::TooNew(_) | Begins::WithoutHeader => None,
    })
}

impl Unsaid {
    fn follow(&mut self, shared: &Shared, at: &ChunkAt, directory: &[u8]) -> Result<(), Doubt> {
        if let Some((seqs, records)) = chunk::numbered(at, directory) {
            records.metas.iter().filter_map(|meta| meta.replaces).for_each(|old| self.ended.remove(old));
            let said_dead = |(seq, meta): (&u64, &Meta)| meta.dead.as_ref().map(|_| *seq);
            let dead: Vec<u64> = seqs.iter().zip(&records.metas).filter_map(said_dead).collect();
            self.add(shared, seqs)?;
            dead.into_iter().for_each(|seq| self.dead.remove(seq));
        }
        if at.header.kind == ChunkKind::Notes {
            let said: Notes = v1::decode(directory).map_err(|_| Doubt::Value)?;
            for note in said.notes {
                match note {
                    Note::Gone(_, _, ranges) => {
                        let each = ranges.into_iter().flat_map(|(first, n)| first..first + u64::from(n));
                        each.for_each(|seq| self.ended.remove(seq));
                    }
                    Note::Dead(_, seq, _) => self.dead.remove(seq),
                    Note::Postponed { .. } | Note::State(..) | Note::Retired(_) | Note::Missing { .. } => {}
                }
            }
        }
        Ok(())
    }

    /// The log speaks of these numbers: what the index does not hold has ended.
    fn add(&mut self, shared: &Shared, seqs: impl IntoIterator<Item = u64>) -> Result<(), Doubt> {
        let guard = lock(&shared.index);
        let index = sound(&guard)?;
        for seq in seqs {
            if index.dead_entry(Seq(seq))?.is_some() {
                self.dead.insert(seq, usize::MAX);
            } else if !index.waits(seq)? {
                self.ended.insert(seq, usize::MAX);
            }
        }
        Ok(())
    }

    /// Carried notes: the checkpoint has counted these ends, and how each came about nobody needs any more.
    fn notes(&self, shared: &Shared) -> Result<Vec<Note>, Doubt> {
        let nowhere = LaneName { profile: String::new(), route: u8::MAX };
        let mut ranges: Vec<(u64, u32)> = Vec::new();
        for (mut first, last) in self.ended.as_slice().iter().copied() {
            while first <= last {
                let n = u32::try_from(last - first + 1).unwrap_or(u32::MAX);
                ranges.push((first, n));
                first += u64::from(n);
            }
        }
        let parts = ranges.chunks(RANGES_PER_NOTE);
        let mut notes: Vec<Note> =
            parts.map(|part| Note::Gone(Gone::Replaced, nowhere.clone(), part.to_vec())).collect();
        let guard = lock(&shared.index);
        let index = sound(&guard)?;
        for seq in self.dead.as_slice().iter().flat_map(|(first, last)| *first..=*last) {
            if let Some(dead) = index.dead_entry(Seq(seq))? {
                notes.push(Note::Dead(dead.lane, seq, dead.note));
            }
        }
        Ok(notes)
    }
}

fn sound<'a>(guard: &'a MutexGuard<'_, Option<Index>>) -> Result<&'a Index, Doubt> {
    let index = guard.as_ref().filter(|index| index.has_followed(0));
    index.ok_or_else(|| Doubt::Mismatch("it was set aside meanwhile".into()))
}
