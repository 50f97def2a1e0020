//! Moving the survivors of a mostly settled segment to the head of the log.
//!
//! Records that wait long (a paused profile, long retries) and dead letters would pin whole
//! segments. They are appended again, with their numbers and keys, and are durable there before
//! the old segment can go. What ended while they moved stays ended: the note of its end is kept
//! for as long as any copy of it exists (`retire`), and a rebuild heeds it in either order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use revenium_migrations::log_v1::{CHUNK_HEADER_BYTES, Dead, Gone, LaneName, Relocation};

use crate::chunk::{Decoded, ProfileTable};
use crate::index::{Doubt, Index};
use crate::maintainer::{self, Maintainer};
use crate::quarantine;
use crate::restate;
use crate::scan::{self, FIRST_CHUNK, Step};
use crate::segment::Pos;
use crate::shared::{JobChunk, Listed, Pending, Shared, lock};
use crate::types::Seq;

/// A segment is sparse when at most one in this many of its records survives.
const SPARSE: u64 = 4;
/// When room is short, more is worth moving.
const SPARSE_WHEN_SHORT_PERCENT: u64 = 60;
/// How long to wait for the index to follow a move.
const FOLLOW_WAIT_MAX: Duration = Duration::from_secs(30);

/// The segment whose survivors should move next, if any.
pub(crate) fn candidate(shared: &Shared) -> Option<Listed> {
    let short = shared.space.lock().exhausted.is_some();
    let kept = shared.options.kept_segments;
    let guard = lock(&shared.index);
    let index = guard.as_ref()?;
    let sparse = |(ordinal, listed): &(u64, Listed)| {
        if !index.has_followed(*ordinal) {
            return false;
        }
        let Some(s) = index.segment(*ordinal) else { return false };
        let enough_gone = s.live * SPARSE <= s.entry.records
            || (short && s.live * 100 <= s.entry.records * SPARSE_WHEN_SHORT_PERCENT);
        s.live > 0 && (listed.suspect || enough_gone)
    };
    let by_need = |(ordinal, listed): &(u64, Listed)| {
        (!listed.suspect, index.segment(*ordinal).map_or(0, |s| s.live * 1000 / s.entry.records.max(1)))
    };
    let all = maintainer::followed_segments(shared, kept).into_iter();
    all.filter(sparse).min_by_key(by_need).map(|(_, listed)| listed)
}

/// A survivor: its place in the chunk, its lane, and its note if it is a dead letter.
struct Survivor {
    i: usize,
    seq: u64,
    lane: LaneName,
    dead: Option<Dead>,
}

/// Moves everything in the segment that still waits or is dead.
pub(crate) fn survivors_of(maintainer: &mut Maintainer, listed: &Listed) {
    if let Some(job) = draft_of(maintainer, listed) {
        job.finish(maintainer);
    }
}

/// The last moves of the segment; those that do not fit one commit with them are made.
pub(crate) fn draft_of(maintainer: &mut Maintainer, listed: &Listed) -> Option<Job> {
    let mut job = Job::default();
    let mut offset = FIRST_CHUNK;
    loop {
        match scan::step(&listed.segment, offset, listed.until, None) {
            Ok(Step::Chunk(at, directory)) => {
                if crate::chunk::numbered(&at, &directory).is_some() {
                    move_chunk(maintainer, listed, at.pos, at.end(), &mut job)?;
                }
                offset = at.end();
            }
            Ok(Step::Hole(to)) => {
                lose_hole(maintainer, listed, offset, to)?;
                offset = to;
            }
            Ok(Step::End) => return Some(job),
            Err(error) => {
                tracing::warn!(%error, "cannot read a segment whose survivors are to move");
                return None;
            }
        }
    }
}

/// Moves gathered for one commit.
#[derive(Default)]
pub(crate) struct Job {
    chunks: Vec<JobChunk>,
    bytes: u64,
}

fn move_chunk(maintainer: &mut Maintainer, listed: &Listed, at: Pos, end: u64, job: &mut Job) -> Option<()> {
    let shared = maintainer.shared.clone();
    let read = Decoded::read(&listed.segment, at.offset, end);
    let chunk = match read {
        Ok(Some(chunk)) => chunk,
        Ok(None) => {
            lose(&shared, at);
            return Some(());
        }
        Err(error) => {
            tracing::warn!(%error, "cannot read a chunk whose survivors are to move");
            return None;
        }
    };
    let base = chunk.base;
    let survivors = {
        let guard = lock(&shared.index);
        let index = guard.as_ref().filter(|i| i.has_followed(at.ordinal))?;
        survivors(index, &chunk, base, at).ok()?
    };
    if survivors.is_empty() {
        return Some(());
    }
    let (moved, bodies) = draft(&chunk, &survivors);
    let bytes: u64 = bodies.iter().map(|b| b.len() as u64 + 256).sum();
    if job.bytes + bytes > shared.options.group_bytes_max() / 4 && !job.chunks.is_empty() {
        std::mem::take(job).finish(maintainer)?;
    }
    job.bytes += bytes;
    job.chunks.push(JobChunk::Relocation { base, moved, bodies });
    Some(())
}

fn survivors(index: &Index, chunk: &Decoded, base: u64, at: Pos) -> Result<Vec<Survivor>, Doubt> {
    let mut found = Vec::new();
    for (i, seq) in chunk.seqs.iter().enumerate() {
        let Some(lane) = chunk.lane_name(i) else { continue };
        let waits = index.entry(&lane, base)?.is_some_and(|e| Pos::from(e.at) == at && e.has(seq - base));
        let dead = if waits { None } else { index.dead_entry(Seq(*seq))?.filter(|d| Pos::from(d.at) == at) };
        if waits || dead.is_some() {
            found.push(Survivor { i, seq: *seq, lane, dead: dead.map(|d| d.note) });
        }
    }
    Ok(found)
}

fn draft(chunk: &Decoded, survivors: &[Survivor]) -> (Relocation, Vec<Bytes>) {
    let mut profiles = ProfileTable::default();
    let mut moved = Relocation::default();
    let mut bodies = Vec::new();
    for s in survivors {
        let mut meta = chunk.records.metas[s.i].clone();
        meta.profile = profiles.index(&s.lane.profile.as_str().into());
        meta.dead.clone_from(&s.dead);
        moved.seqs.push(s.seq);
        moved.records.metas.push(meta);
        bodies.push(chunk.body(s.i).clone());
    }
    moved.records.profiles = profiles.names;
    (moved, bodies)
}

impl Job {
    /// Makes the moves durable and lets the index follow, so that nothing moves twice.
    pub(crate) fn finish(self, maintainer: &mut Maintainer) -> Option<()> {
        let shared = &maintainer.shared;
        if self.chunks.is_empty() {
            return Some(());
        }
        let end = match shared.run_job(self.chunks) {
            Ok(end) => end,
            Err(error) => {
                tracing::warn!(%error, "cannot move survivors");
                return None;
            }
        };
        // Should the index not follow in time: no segment retires before it has.
        maintainer.moved_to = end;
        let followed = *shared.followed.wait(FOLLOW_WAIT_MAX, |f| f.at >= end || shared.is_closing());
        (followed.at >= end).then_some(())
    }
}

/// What lies in a hole of the segment cannot move: it is lost, and pins the segment no more. An index that
/// lacks copies made by a move does not know what lies there.
fn lose_hole(maintainer: &Maintainer, listed: &Listed, from: u64, to: u64) -> Option<()> {
    let shared = &maintainer.shared;
    let ordinal = listed.segment.ordinal;
    restate::met(shared, &listed.segment, from, to);
    let knows = |index: &Index| index.has_followed(ordinal) && index.at() >= maintainer.moved_to;
    lose_within(shared, Pos { ordinal, offset: from }, to, knows)
}

/// Loses what lies from `at` to `to` of that segment, as an index says that `knows` enough.
pub(crate) fn lose_within(
    shared: &Shared,
    at: Pos,
    to: u64,
    knows: impl FnOnce(&Index) -> bool,
) -> Option<()> {
    let lost = {
        let guard = lock(&shared.index);
        let index = guard.as_ref().filter(|index| knows(index))?;
        let is_within = |p: Pos| p.ordinal == at.ordinal && (at.offset..to).contains(&p.offset);
        index.records_where(is_within).ok()?
    };
    note_lost(shared, at, lost);
    Some(())
}

/// Notes what is lost and was not noted yet; whether that was anything.
fn note_lost(shared: &Shared, at: Pos, mut lost: Vec<(LaneName, u64)>) -> bool {
    {
        let mut losses = lock(&shared.losses);
        lost.retain(|(_, seq)| losses.insert(*seq));
    }
    if lost.is_empty() {
        return false;
    }
    tracing::error!(
        records = lost.len(),
        segment = at.ordinal,
        offset = at.offset,
        "records are lost to damage"
    );
    shared.note(lost.into_iter().map(|(lane, seq)| Pending::Gone(Gone::Lost, lane, seq)));
    true
}

/// The chunk at `at` cannot be read any more: its survivors are lost, its bytes are kept. Bodies say nothing
/// that would have to be said again.
pub(crate) fn lose(shared: &Shared, at: Pos) {
    let listed = shared.listed(at.ordinal);
    let is_new = listed.as_ref().is_some_and(|listed| {
        let end = match crate::chunk::header_at(&listed.segment, at.offset, listed.segment.bytes) {
            Ok(Some(found)) => found.end(),
            _ => at.offset + CHUNK_HEADER_BYTES as u64,
        };
        quarantine::keep(shared, &listed.segment, at.offset, end)
    });
    let lost = {
        let mut guard = lock(&shared.index);
        if let Some(index) = guard.as_mut().filter(|_| is_new) {
            index.count_damage();
        }
        guard.as_ref().and_then(|index| index.records_where(|place| place == at).ok()).unwrap_or_default()
    };
    let wakes = note_lost(shared, at, lost) || is_new;
    let step = listed.map(|listed| scan::step(&listed.segment, at.offset, listed.until, None));
    if !matches!(step, Some(Ok(Step::Chunk(..)))) {
        shared.is_damaged.store(true, Ordering::Release);
    }
    if wakes {
        shared.wake_maintainer();
    }
}
