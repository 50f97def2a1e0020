//! Recycling segments whose records have all ended.
//!
//! Before a file is used again everything in it that the log still needs is said again at the
//! log's head, and flushed: the ends of records that lie in segments which stay or go after it (else
//! a rebuild would send them once more), notes on dead letters and on retries, and a checkpoint
//! that counts everything up to the segment's end. A `Retired` note makes its absence no damage.
//! Files go in the order of their ordinals, each durably before the next, so a kill leaves the
//! last ones of a round. While the ledger does not balance, no segment goes.

use std::io;

use revenium_migrations::log_v1::{self as v1, ChunkKind, Gone, Note, Notes};

use crate::checkpoint;
use crate::chunk::{self, ChunkAt};
use crate::index::{Doubt, Index};
use crate::maintainer::{self, Maintainer};
use crate::prepare;
use crate::restate;
use crate::scan::{self, FIRST_CHUNK, Step};
use crate::segment::{self, Pos};
use crate::shared::{JobChunk, Listed, Shared, get, lock};
use crate::types::Seq;

/// Segments retired in one go.
const AT_ONCE_MAX: usize = 4;

/// Retires some segments that nothing needs any more.
pub(crate) fn settled_segments(maintainer: &mut Maintainer) {
    if !nothing_is_left_behind(maintainer) {
        return;
    }
    forget_what_is_gone(&maintainer.shared);
    let shared = maintainer.shared.clone();
    let candidates = maintainer::followed_segments(&shared, shared.options.kept_segments);
    let settled: Vec<(u64, Listed)> = {
        let guard = lock(&shared.index);
        let Some(index) = guard.as_ref().filter(|i| i.at() >= maintainer.moved_to) else { return };
        let is_settled = |o: u64| {
            index.has_followed(o)
                && index.segment(o).is_none_or(|s| s.live == 0)
                && !maintainer.unsaid.contains(&o)
        };
        candidates.into_iter().filter(|(o, _)| is_settled(*o)).take(AT_ONCE_MAX).collect()
    };
    if settled.is_empty() || !ledger_allows(maintainer) {
        return;
    }
    let going: Vec<u64> = settled.iter().map(|(o, _)| *o).collect();
    let mut needed = Vec::new();
    let mut damaged = Vec::new();
    for (ordinal, listed) in &settled {
        match still_needed(maintainer, listed, &going) {
            Ok((notes, is_whole)) => {
                needed.extend(split(&shared, notes));
                damaged.extend((!is_whole).then_some(*ordinal));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read a segment that is to be retired");
                return;
            }
        }
    }
    // What they cannot say any more cannot be carried on: only the index knows it.
    if !damaged.is_empty() && !restate::after_damage(maintainer) {
        maintainer.unsaid.extend(damaged);
        return;
    }
    // What a kill would make the index follow again must not be among what goes.
    maintainer.flush_index();
    let Some(checkpoint) = checkpoint::of_index(&shared) else { return };
    let covered = Pos { ordinal: checkpoint.ordinal, offset: checkpoint.offset };
    if going.iter().any(|o| *o >= covered.ordinal) {
        return;
    }
    let mut job = vec![JobChunk::Checkpoint(checkpoint)];
    job.extend(needed);
    job.push(JobChunk::Notes(Notes { carried: true, notes: vec![Note::Retired(going)] }));
    if run_in_parts(&shared, job).is_none() {
        return;
    }
    for (ordinal, listed) in settled {
        lock(&shared.table).segments.remove(&ordinal);
        if let Err(error) = reuse(&shared, &listed) {
            tracing::warn!(%error, segment = ordinal, "cannot recycle a segment");
            maintainer.left_behind = Some(listed);
            break;
        }
    }
    shared.wake_preparer();
}

/// Removes what a failed retirement left. The segments after it may hold the ends of its records,
/// said nowhere else: were they gone first, a rebuild would send those records once more.
fn nothing_is_left_behind(maintainer: &mut Maintainer) -> bool {
    let Some(listed) = &maintainer.left_behind else { return true };
    let removed = match std::fs::remove_file(listed.segment.file.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => crate::file::flush_dir(&maintainer.shared.options.dir),
    };
    if removed.is_ok() {
        maintainer.left_behind = None;
    }
    removed.is_ok()
}

/// What a segment held is known until its file is gone, which the `Retired` note does not say yet.
fn forget_what_is_gone(shared: &Shared) {
    let mut guard = lock(&shared.index);
    let Some(index) = guard.as_mut() else { return };
    let table = lock(&shared.table);
    if let Err(doubt) = index.forget_segments(|ordinal| table.segments.contains_key(&ordinal)) {
        tracing::warn!(%doubt, "the index cannot forget a segment");
    }
}

/// Gives the file a new life, or its bytes back.
fn reuse(shared: &Shared, listed: &Listed) -> io::Result<()> {
    let options = &shared.options;
    let path = listed.segment.file.path();
    let fits = !listed.suspect && listed.segment.bytes == options.segment_bytes;
    if fits && prepare::wants_more(shared) {
        prepare::add(shared, |ordinal| segment::put_in_place(options, path, ordinal))
    } else {
        std::fs::remove_file(path).and_then(|()| crate::file::flush_dir(&options.dir))
    }
}

/// A ledger out of balance may mean that the index lost sight of waiting records. Then it is
/// counted anew and, if that does not mend it, made anew, before any file goes.
fn ledger_allows(maintainer: &mut Maintainer) -> bool {
    let shared = maintainer.shared.clone();
    let mut guard = lock(&shared.index);
    let Some(index) = guard.as_mut() else { return false };
    if index.imbalance() == 0 {
        return true;
    }
    if index.recount().is_ok() && index.imbalance() == 0 {
        return true;
    }
    drop(guard);
    if !maintainer.rebuilt_for_balance {
        maintainer.rebuilt_for_balance = true;
        maintainer::distrust_index(&shared, "the ledger does not balance");
        return false;
    }
    // Made anew from the log itself: what it knows to wait is all that is there.
    get(&shared.counters.index_rebuilds) > 0
}

/// Notes of this segment that speak of records which are still there when it is gone. An index that lacks
/// copies made by a move does not know.
/// And whether the segment is whole.
fn still_needed(maintainer: &Maintainer, listed: &Listed, going: &[u64]) -> io::Result<(Vec<Note>, bool)> {
    let newest = going.iter().max().copied().unwrap_or_default();
    let knows_every_copy = |i: &&Index| i.has_followed(newest) && i.at() >= maintainer.moved_to;
    let mut notes = Vec::new();
    let mut is_whole = true;
    let mut offset = FIRST_CHUNK;
    loop {
        match scan::step(&listed.segment, offset, listed.until, None)? {
            Step::Chunk(at, directory) => {
                let guard = lock(&maintainer.shared.index);
                let Some(index) = guard.as_ref().filter(knows_every_copy) else {
                    return Err(io::Error::other("the index was set aside meanwhile"));
                };
                carry_chunk(index, &at, &directory, going, &mut notes)
                    .map_err(|doubt| io::Error::other(doubt.to_string()))?;
                offset = at.end();
            }
            Step::Hole(to) => {
                restate::met(&maintainer.shared, &listed.segment, offset, to);
                is_whole = false;
                offset = to;
            }
            Step::End => return Ok((notes, is_whole)),
        }
    }
}

fn carry_chunk(
    index: &Index,
    at: &ChunkAt,
    directory: &[u8],
    going: &[u64],
    notes: &mut Vec<Note>,
) -> Result<(), Doubt> {
    let unreadable = || Doubt::Mismatch(format!("a directory at {}:{}", at.pos.ordinal, at.pos.offset));
    // A kill may leave what goes after this segment, and a copy may lie behind the note of its end.
    let goes_no_later = |o: u64| o <= at.pos.ordinal && going.contains(&o);
    let elsewhere = |seq: u64| index.segments().any(|(o, s)| !goes_no_later(o) && s.entry.may_hold(seq));
    match at.header.kind {
        ChunkKind::Records => {
            let (_, records) = chunk::numbered(at, directory).ok_or_else(unreadable)?;
            for meta in &records.metas {
                let Some(old) = meta.replaces.filter(|old| elsewhere(*old)) else { continue };
                let profile = records.profiles.get(usize::from(meta.profile)).cloned().unwrap_or_default();
                let lane = v1::LaneName { profile, route: meta.route };
                notes.push(Note::Gone(Gone::Replaced, lane, vec![(old, 1)]));
            }
        }
        ChunkKind::Notes => {
            let said = v1::decode::<Notes>(directory).map_err(|_| unreadable())?;
            for note in said.notes {
                match note {
                    Note::Gone(how, lane, ranges) => {
                        let each = ranges.iter().flat_map(|(first, n)| *first..*first + u64::from(*n));
                        let needed: Vec<u64> = each.filter(|s| elsewhere(*s)).collect();
                        if !needed.is_empty() {
                            notes.push(Note::Gone(how, lane, crate::committer::ranges(needed)));
                        }
                    }
                    Note::Dead(lane, seq, dead) => {
                        if index.dead_entry(Seq(seq))?.is_some() {
                            notes.push(Note::Dead(lane, seq, dead));
                        }
                    }
                    Note::Postponed { seq, .. } => {
                        if let Some(d) = index.delay(seq) {
                            notes.push(Note::Postponed {
                                lane: d.lane.clone(),
                                seq,
                                not_before_ms: d.not_before_ms,
                                attempts: d.attempts,
                                first_attempt_at_ms: d.first_attempt_at_ms,
                            });
                        }
                    }
                    Note::Missing { ranges, counted } => notes.push(Note::Missing { ranges, counted }),
                    // Both are in the checkpoint that goes with this.
                    Note::State(..) | Note::Retired(_) => {}
                }
            }
        }
        ChunkKind::Relocation | ChunkKind::Checkpoint => {}
    }
    Ok(())
}

/// Notes as chunks that fit a commit.
pub(crate) fn split(shared: &Shared, notes: Vec<Note>) -> Vec<JobChunk> {
    let bytes_max = shared.options.group_bytes_max() / 8;
    let mut chunks = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for note in notes {
        let size = v1::encode(&note).len() as u64;
        if bytes + size > bytes_max && !part.is_empty() {
            chunks.push(JobChunk::Notes(Notes { carried: true, notes: std::mem::take(&mut part) }));
            bytes = 0;
        }
        bytes += size;
        part.push(note);
    }
    if !part.is_empty() {
        chunks.push(JobChunk::Notes(Notes { carried: true, notes: part }));
    }
    chunks
}

/// Appends chunk after chunk; `None` if one could not be made durable.
pub(crate) fn run_in_parts(shared: &Shared, chunks: Vec<JobChunk>) -> Option<Pos> {
    let mut end = None;
    for chunk in chunks {
        match shared.run_job(vec![chunk]) {
            Ok(pos) => end = Some(pos),
            Err(error) => {
                tracing::warn!(%error, "cannot append for the maintainer");
                return None;
            }
        }
    }
    end
}

#[cfg(test)]
mod tests;
