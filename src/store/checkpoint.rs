//! Checkpoints: what was counted up to a place in the log, and how its segments ended.
//!
//! A rebuild begins with the latest one. It also says where the log left each segment, for when
//! the next segment, whose header said so first, is gone.

use std::collections::{BTreeSet, HashSet};
use std::io;

use revenium_migrations::log_v1::{self as v1, Checkpoint, ChunkKind, Note, Notes};

use crate::index::{Index, SegmentState};
use crate::scan::{self, FIRST_CHUNK, Step, Until};
use crate::segment::{Begins, Pos};
use crate::shared::{JobChunk, Listed, Shared, Table, lock};

/// What the index can say for a checkpoint; the committer adds producers and states.
pub(crate) fn of_index(shared: &Shared) -> Option<Checkpoint> {
    of(shared, lock(&shared.index).as_ref()?)
}

pub(crate) fn of(shared: &Shared, index: &Index) -> Option<Checkpoint> {
    if !index.has_followed(0) {
        return None;
    }
    let at = index.at();
    let table = lock(&shared.table);
    // Its counts would miss the losses that are noted behind it, in a file that it does not know.
    let has_vanished = |(o, s): (u64, &SegmentState)| s.live > 0 && !table.segments.contains_key(&o);
    if index.segments().any(has_vanished) {
        return None;
    }
    Some(Checkpoint {
        ordinal: at.ordinal,
        offset: at.offset,
        lanes: index.lanes().map(|(name, state)| (name.clone(), state.counts)).collect(),
        damaged_regions: index.damaged_regions(),
        segments: segments_of(&table),
        ..Checkpoint::default()
    })
}

/// The segments that are there, or should be, and where they end.
pub(crate) fn segments_of(table: &Table) -> Vec<(u64, u64)> {
    let end = |listed: &Listed| if listed.segment.ordinal == table.active { 0 } else { end_of(listed) };
    let there = table.segments.iter().map(|(ordinal, listed)| (*ordinal, end(listed)));
    // Missed until what their loss took is said again.
    let vanished = table.vanished.iter().map(|ordinal| (*ordinal, 0));
    there.chain(vanished).collect()
}

/// The checkpoint as it is appended. It has to be known where a file that was left behind ends while it is
/// there, and it may go at any time.
pub(crate) fn job(mut checkpoint: Checkpoint, left_behind: Option<&Listed>) -> Vec<JobChunk> {
    let mut job = Vec::new();
    if let Some(left) = left_behind {
        checkpoint.segments.push((left.segment.ordinal, end_of(left)));
        let notes = vec![Note::Retired(vec![left.segment.ordinal])];
        job.push(JobChunk::Notes(Notes { carried: true, notes }));
    }
    job.push(JobChunk::Checkpoint(checkpoint));
    job
}

/// Where the log left a segment; 0 if that is not known.
pub(crate) fn end_of(listed: &Listed) -> u64 {
    match listed.until {
        Until::Sealed(end) => end,
        Until::AtLeast(_) | Until::Unknown => 0,
    }
}

fn retirements(directory: &[u8]) -> Vec<u64> {
    let said: Notes = v1::decode(directory).unwrap_or_default();
    let retired = said.notes.into_iter().filter_map(|note| match note {
        Note::Retired(ordinals) => Some(ordinals),
        _ => None,
    });
    retired.flatten().collect()
}

/// A checkpoint and where it lies.
pub(crate) struct Found {
    pub(crate) at: Pos,
    pub(crate) checkpoint: Checkpoint,
    /// Segments that were retired since. The file of one may still be there, and end where it says.
    pub(crate) retired: HashSet<u64>,
}

/// The last checkpoint in these segments, given newest first. `passed` is told of bytes as they are passed.
pub(crate) fn latest(
    newest_first: impl Iterator<Item = Listed>,
    mut passed: impl FnMut(u64),
) -> io::Result<Option<Found>> {
    let mut retired = HashSet::new();
    for listed in newest_first {
        let mut latest = None;
        let mut offset = FIRST_CHUNK;
        loop {
            let before = offset;
            match scan::step(&listed.segment, offset, listed.until, None)? {
                Step::Chunk(at, directory) => {
                    match at.header.kind {
                        ChunkKind::Checkpoint => {
                            latest = v1::decode(&directory).ok().map(|found| (at.pos, found)).or(latest);
                        }
                        ChunkKind::Notes => retired.extend(retirements(&directory)),
                        ChunkKind::Records | ChunkKind::Relocation => {}
                    }
                    offset = at.end();
                }
                Step::Hole(to) => offset = to,
                Step::End => break,
            }
            passed(offset - before);
        }
        if let Some((at, checkpoint)) = latest {
            return Ok(Some(Found { at, checkpoint, retired }));
        }
    }
    Ok(None)
}

/// What it says of the segments: those that should be there, and where the others end if nothing else says it.
pub(crate) fn heed(table: &mut Table, latest: Option<&Found>) -> io::Result<()> {
    table.vanished = vanished(table, latest)?;
    for (ordinal, end) in latest.iter().flat_map(|found| &found.checkpoint.segments) {
        if let Some(listed) = table.segments.get_mut(ordinal)
            && listed.until == Until::Unknown
            && *end > 0
        {
            listed.until = Until::Sealed(*end);
        }
    }
    Ok(())
}

/// Segments that the latest checkpoint knew, or that were begun since, that were not retired, and are not there.
fn vanished(table: &Table, latest: Option<&Found>) -> io::Result<BTreeSet<u64>> {
    let mut known: BTreeSet<u64> =
        latest.iter().flat_map(|found| &found.checkpoint.segments).map(|(ordinal, _)| *ordinal).collect();
    known.retain(|ordinal| latest.is_some_and(|found| !found.retired.contains(ordinal)));
    // None goes without a checkpoint.
    let covered = latest.map_or(0, |found| found.at.ordinal);
    for (_, listed) in table.segments.range(covered + 1..) {
        if let Begins::With(header) = listed.segment.begins()? {
            known.extend((header.prev_ordinal > covered).then_some(header.prev_ordinal));
        }
    }
    known.retain(|ordinal| !table.segments.contains_key(ordinal));
    Ok(known)
}
