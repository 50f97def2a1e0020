//! Saying again what damage took from the log and the index still knows.
//!
//! Damaged bytes may have held notes of ends. The index followed them when they were whole and needs them no
//! more, but one made anew from the log would let those records wait again, or take those whose bytes are gone
//! too for lost. So once damage is met, a checkpoint is appended that counts everything up to where the index
//! stands, and behind it the ends that no note in the log speaks of any more. What was lost itself is noted
//! by who met the damage (`relocate::lose`).

use std::collections::BTreeSet;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use revenium_migrations::log_v1::{
    self as v1, Checkpoint, ChunkKind, Gone, LaneName, Meta, Note, Notes, Records,
};

use crate::checkpoint;
use crate::chunk::{self, Chain, ChunkAt};
use crate::index::{Doubt, Index};
use crate::maintainer::Maintainer;
use crate::quarantine;
use crate::ranges::Ranges;
use crate::retire;
use crate::scan::{self, FIRST_CHUNK, Step};
use crate::segment::{Pos, Segment};
use crate::shared::{Listed, Shared, get, lock};
use crate::types::Seq;

/// Numbers that the index is asked for while it is locked.
const NUMBERS_AT_ONCE: u16 = 1024;
/// Ranges of numbers in one note.
const RANGES_PER_NOTE: usize = 256;
/// Between two tries, as each reads the log's headers and directories.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// So long a store that closes waits for it at most.
const CLOSING_WAIT_MAX: Duration = Duration::from_secs(2);

/// Damage was met in a segment that the index has followed: the bytes are kept, and what they said may have to
/// be said again. That their bytes were kept before does not mean that it was: a kill may have come between.
pub(crate) fn met(shared: &Shared, segment: &Segment, from: u64, to: u64) {
    if quarantine::keep(shared, segment, from, to)
        && let Some(index) = lock(&shared.index).as_mut()
    {
        index.count_damage();
    }
    shared.is_damaged.store(true, Ordering::Release);
}

/// Says again what damage took, if any was met since the last time. False if it could not be done yet.
pub(crate) fn after_damage(maintainer: &mut Maintainer) -> bool {
    let shared = &maintainer.shared;
    if !shared.is_damaged.load(Ordering::Acquire) {
        return true;
    }
    if maintainer.restate_failed.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
        return false;
    }
    let Some(begun) = begin(shared) else { return false };
    shared.is_restating.store(true, Ordering::Release);
    shared.is_damaged.store(false, Ordering::Release);
    let said = begun.say_again(shared, maintainer.left_behind.as_ref());
    shared.is_damaged.fetch_or(said.is_err(), Ordering::AcqRel);
    // Whoever waits for it waits where the maintainer is woken.
    shared.space.change(|_| shared.is_restating.store(false, Ordering::Release));
    if let Err(doubt) = said {
        tracing::warn!(%doubt, "cannot say again what damage took from the log");
        maintainer.restate_failed = Some(Instant::now());
        return false;
    }
    maintainer.restate_failed = None;
    maintainer.unsaid.clear();
    true
}

/// What the index knew when it began.
pub(crate) struct Begun {
    checkpoint: Checkpoint,
    /// The last chunk that is counted.
    chain: Option<Chain>,
    /// Of which index: what another one says does not go with it.
    rebuilds: u64,
}

/// `None` while the index cannot be relied on, as then nothing may be concluded from what it does not hold.
pub(crate) fn begin(shared: &Shared) -> Option<Begun> {
    let guard = lock(&shared.index);
    let index = guard.as_ref().filter(|index| index.imbalance() == 0)?;
    let rebuilds = get(&shared.counters.index_rebuilds);
    Some(Begun { checkpoint: checkpoint::of(shared, index)?, chain: index.chain(), rebuilds })
}

impl Begun {
    pub(crate) fn say_again(mut self, shared: &Shared, left_behind: Option<&Listed>) -> Result<(), Doubt> {
        let unsaid = self.unsaid(shared)?;
        let mut notes = self.notes(shared, &unsaid)?;
        tracing::info!(notes = notes.len(), "what damage took from the log is said again");
        let vanished: Vec<u64> = {
            let table = lock(&shared.table);
            // It counts what it counted when this began, but the log went on.
            self.checkpoint.segments = checkpoint::segments_of(&table);
            table.vanished.iter().copied().collect()
        };
        if !vanished.is_empty() {
            notes.push(Note::Retired(vanished.clone()));
        }
        // The checkpoint first: what ends from here on is counted by its own note.
        let mut job = checkpoint::job(self.checkpoint, left_behind);
        job.extend(retire::split(shared, notes));
        if retire::run_in_parts(shared, job).is_none() {
            return Err(Doubt::Mismatch("the log takes nothing".into()));
        }
        lock(&shared.table).vanished.retain(|ordinal| !vanished.contains(ordinal));
        Ok(())
    }

    fn until(&self) -> Pos {
        Pos { ordinal: self.checkpoint.ordinal, offset: self.checkpoint.offset }
    }

    /// The index that it began with, or what that became. One that was opened again may be behind.
    fn index<'a>(
        &self,
        shared: &Shared,
        guard: &'a MutexGuard<'_, Option<Index>>,
    ) -> Result<&'a Index, Doubt> {
        let is_same = get(&shared.counters.index_rebuilds) == self.rebuilds;
        let index = guard.as_ref().filter(|i| is_same && i.has_followed(0) && i.at() >= self.until());
        index.ok_or_else(|| Doubt::Mismatch("it was set aside meanwhile".into()))
    }

    /// Follows the log up to where the checkpoint counts, past damage.
    fn unsaid(&self, shared: &Shared) -> Result<Unsaid, Doubt> {
        let until = self.until();
        let mut unsaid = Unsaid::default();
        let mut chain: Option<Chain> = None;
        let mut before: Option<u64> = None;
        let began = Instant::now();
        let ordinals: Vec<u64> =
            lock(&shared.table).segments.range(..=until.ordinal).map(|(o, _)| *o).collect();
        for ordinal in ordinals {
            let Some(listed) = shared.listed(ordinal) else { continue };
            if before.is_none_or(|before| ordinal != before + 1) {
                // Those between were retired.
                chain = listed.segment.link().map_err(Doubt::Log)?;
            }
            before = Some(ordinal);
            let mut at = Pos { ordinal, offset: FIRST_CHUNK };
            while at < until {
                if shared.is_closing() && began.elapsed() > CLOSING_WAIT_MAX {
                    return Err(Doubt::Mismatch("the store closes before the log is read".into()));
                }
                match scan::step(&listed.segment, at.offset, listed.until, None).map_err(Doubt::Log)? {
                    Step::Chunk(found, directory) => {
                        self.add_missing(shared, &mut unsaid, chain, found.prev())?;
                        self.follow(shared, &mut unsaid, &found, &directory)?;
                        chain = Some(found.chain());
                        at.offset = found.end();
                    }
                    Step::Hole(to) => at.offset = to,
                    Step::End => break,
                }
            }
        }
        if let Some(end) = self.chain {
            self.add_missing(shared, &mut unsaid, chain, end)?;
        }
        Ok(unsaid)
    }

    /// Numbers between a chunk and the one whose link should name it.
    fn add_missing(
        &self,
        shared: &Shared,
        unsaid: &mut Unsaid,
        met: Option<Chain>,
        link: Chain,
    ) -> Result<(), Doubt> {
        let Some(met) = met.filter(|met| met.crc != link.crc) else { return Ok(()) };
        let mut first = met.next_seq;
        while first < link.next_seq {
            let after = link.next_seq.min(first + u64::from(NUMBERS_AT_ONCE));
            let seqs: Vec<u64> = (first..after).collect();
            self.add(shared, unsaid, None, &seqs)?;
            first = after;
        }
        Ok(())
    }

    fn follow(
        &self,
        shared: &Shared,
        unsaid: &mut Unsaid,
        at: &ChunkAt,
        directory: &[u8],
    ) -> Result<(), Doubt> {
        if let Some((seqs, records)) = chunk::numbered(at, directory) {
            let lanes = lanes_of(&records)?;
            for part in seqs.chunks(usize::from(NUMBERS_AT_ONCE)) {
                self.add(shared, unsaid, Some(&lanes), part)?;
            }
            unsaid.heed_records(at.header.kind, &seqs, &records.metas);
        }
        if at.header.kind == ChunkKind::Notes {
            let said: Notes = v1::decode(directory).map_err(|_| Doubt::Value)?;
            unsaid.heed_notes(said);
        }
        Ok(())
    }

    /// The log speaks of these numbers, which ascend: what the index does not hold has ended.
    fn add(
        &self,
        shared: &Shared,
        unsaid: &mut Unsaid,
        lanes: Option<&[LaneName]>,
        seqs: &[u64],
    ) -> Result<(), Doubt> {
        let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else { return Ok(()) };
        let guard = lock(&shared.index);
        let held = self.index(shared, &guard)?.held_within(lanes, *first, last + 1)?;
        drop(guard);
        for seq in seqs {
            if held.dead.contains(seq) {
                unsaid.dead.insert(*seq, usize::MAX);
            } else if !held.waiting.contains(seq) {
                unsaid.ended.insert(*seq, usize::MAX);
            }
        }
        Ok(())
    }

    /// Carried notes: the checkpoint has counted these ends, and how each came about nobody needs any more.
    fn notes(&self, shared: &Shared, unsaid: &Unsaid) -> Result<Vec<Note>, Doubt> {
        let mut notes = unsaid.ends();
        let guard = lock(&shared.index);
        let index = self.index(shared, &guard)?;
        for seq in unsaid.dead.iter().flat_map(|(first, last)| first..=last) {
            if let Some(dead) = index.dead_entry(Seq(seq))? {
                notes.push(Note::Dead(dead.lane, seq, dead.note));
            }
        }
        Ok(notes)
    }
}

/// Numbers of whose end or death the index knows and no note in the log says it any more.
#[derive(Default)]
struct Unsaid {
    ended: Ranges,
    dead: Ranges,
}

impl Unsaid {
    fn heed_records(&mut self, kind: ChunkKind, seqs: &[u64], metas: &[Meta]) {
        let said_dead = seqs.iter().zip(metas).filter(|(_, meta)| meta.dead.is_some());
        said_dead.for_each(|(seq, _)| self.dead.remove(*seq));
        // A copy says nothing of the letter whose place its record took when it was new.
        if kind == ChunkKind::Records {
            metas.iter().filter_map(|meta| meta.replaces).for_each(|old| self.ended.remove(old));
        }
    }

    fn heed_notes(&mut self, said: Notes) {
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

    fn ends(&self) -> Vec<Note> {
        let nowhere = LaneName { profile: String::new(), route: u8::MAX };
        let mut ranges: Vec<(u64, u32)> = Vec::new();
        for (mut first, last) in self.ended.iter() {
            while first <= last {
                let n = u32::try_from(last - first + 1).unwrap_or(u32::MAX);
                ranges.push((first, n));
                first += u64::from(n);
            }
        }
        let parts = ranges.chunks(RANGES_PER_NOTE);
        parts.map(|part| Note::Gone(Gone::Replaced, nowhere.clone(), part.to_vec())).collect()
    }
}

fn lanes_of(records: &Records) -> Result<Vec<LaneName>, Doubt> {
    let of_each: BTreeSet<(u16, u8)> = records.metas.iter().map(|meta| (meta.profile, meta.route)).collect();
    let lane = |(profile, route)| {
        let profile = records.profiles.get(usize::from(profile)).ok_or(Doubt::Value)?.clone();
        Ok(LaneName { profile, route })
    };
    of_each.into_iter().map(lane).collect()
}
