//! Giving out waiting records, and looking at dead letters: the index says where, the log what.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use revenium_migrations::log_v1::LaneName;

use crate::chunk::{Decoded, note_of};
use crate::error::ReadError;
use crate::index::schema::{DeadEntry, lane_name, lane_of};
use crate::index::{Chosen, Doubt, Index, LaneState};
use crate::relocate;
use crate::scan::Until;
use crate::segment::Pos;
use crate::shared::{Shared, lock};
use crate::survey::{LaneBooks, Place};
use crate::types::{DeadLetter, End, Lane, Record, Seq};

/// Decoded chunks, kept because a chunk's records are claimed a few at a time.
#[derive(Default)]
pub(crate) struct ChunkCache {
    chunks: Mutex<VecDeque<(Pos, u64, Arc<Decoded>)>>,
}

const CACHE_BYTES_MAX: usize = 8 << 20;

impl ChunkCache {
    /// The chunk of records at `at`; `None` when it is damaged or its segment is gone.
    fn read(&self, shared: &Shared, at: Pos) -> Result<Option<Arc<Decoded>>, ReadError> {
        let Some(listed) = shared.listed(at.ordinal) else { return Ok(None) };
        let id = listed.segment.id;
        if let Some((_, _, chunk)) = lock(&self.chunks).iter().find(|(pos, of, _)| *pos == at && *of == id) {
            return Ok(Some(chunk.clone()));
        }
        let limit = match listed.until {
            Until::Sealed(end) => end,
            Until::AtLeast(_) | Until::Unknown => listed.segment.bytes,
        };
        let read = Decoded::read(&listed.segment, at.offset, limit);
        let Some(chunk) = read.map_err(|e| ReadError::Disk(e.to_string()))? else { return Ok(None) };
        let chunk = Arc::new(chunk);
        let mut chunks = lock(&self.chunks);
        chunks.push_front((at, id, chunk.clone()));
        while chunks.len() > 1
            && chunks.iter().map(|(_, _, c)| c.memory_bytes()).sum::<usize>() > CACHE_BYTES_MAX
        {
            chunks.pop_back();
        }
        Ok(Some(chunk))
    }

    /// Forgets everything: a log that ran empty needs no memory.
    fn clear(&self) {
        lock(&self.chunks).clear();
    }
}

/// Where a lane's next claim from the oldest end begins: nothing before it is free, but for what
/// became due since `set_at`. Without it every claim would look at all that is claimed already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    base: u64,
    set_at: Instant,
}

/// How late a postponed record may be noticed.
const CURSOR_AGE_MAX: Duration = Duration::from_millis(500);

/// Chunks that moved or proved damaged while they were claimed from, before a claim gives up.
const TRIES_MAX: usize = 64;

pub(crate) fn claim(
    shared: &Shared,
    cache: &ChunkCache,
    lane: &Lane,
    end: End,
    records_max: usize,
    now_ms: u64,
) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    if shared.inbox.lock().notes_waiting() >= shared.options.notes_waiting_max {
        return Ok(records);
    }
    let name = lane_name(lane);
    for _ in 0..TRIES_MAX {
        let chosen: Vec<Chosen> = with_index(shared, |index| {
            let mut claims = lock(&shared.claims);
            let mut cursors = lock(&shared.cursors);
            let losses = lock(&shared.losses);
            let from = cursors.get(&name).filter(|c| c.set_at.elapsed() < CURSOR_AGE_MAX).copied();
            let place = (end, from.map_or(0, |c| c.base));
            let is_free = |seq| !claims.contains_key(&seq) && !losses.contains(&seq);
            let (chosen, base) = index.choose(&name, place, records_max, now_ms, is_free)?;
            if end == End::Oldest {
                let set_at = from.map_or_else(Instant::now, |c| c.set_at);
                cursors.insert(name.clone(), Cursor { base, set_at });
            }
            claims.extend(chosen.iter().flat_map(|c| &c.seqs).map(|seq| (*seq, name.clone())));
            Ok(chosen)
        })?;
        if chosen.is_empty() {
            // Not for an empty lane that is looked at between the claims of a busy one.
            if lock(&shared.lanes).iter().all(|lane| lane.waiting == 0) {
                cache.clear();
            }
            break;
        }
        let read = read_chosen(shared, cache, &name, &chosen, &mut records);
        read.inspect_err(|_| chosen.iter().for_each(|c| release(shared, &c.seqs)))?;
        if !records.is_empty() {
            break;
        }
    }
    let known = add_history(shared, &mut records);
    known.inspect_err(|_| records.iter().for_each(|r| release(shared, &[r.seq.0])))?;
    Ok(records)
}

/// Reads what was chosen. What cannot be read for now is released; what is lost stays claimed
/// until the note of its loss is followed.
fn read_chosen(
    shared: &Shared,
    cache: &ChunkCache,
    lane: &LaneName,
    chosen: &[Chosen],
    records: &mut Vec<Record>,
) -> Result<(), ReadError> {
    for (i, c) in chosen.iter().enumerate() {
        match cache.read(shared, c.at) {
            Ok(Some(chunk)) => {
                let found = c.seqs.iter().filter_map(|seq| chunk.record(chunk.find(*seq)?));
                records.extend(found);
            }
            // Moved meanwhile, or damaged: only the second is a loss.
            Ok(None) => {
                if with_index(shared, |index| index.place_of(lane, c.seqs[0]))? == Some(c.at) {
                    relocate::lose(shared, c.at);
                } else {
                    release(shared, &c.seqs);
                }
            }
            Err(error) => {
                chosen[i..].iter().for_each(|c| release(shared, &c.seqs));
                if records.is_empty() {
                    return Err(error);
                }
                tracing::error!(%error, "cannot read a chunk; its records stay where they are");
                return Ok(());
            }
        }
    }
    Ok(())
}

fn release(shared: &Shared, seqs: &[u64]) {
    let mut claims = lock(&shared.claims);
    for seq in seqs {
        claims.remove(seq);
    }
    lock(&shared.cursors).clear();
}

/// Adds what is known of earlier attempts.
fn add_history(shared: &Shared, records: &mut [Record]) -> Result<(), ReadError> {
    with_index(shared, |index| {
        for record in &mut *records {
            if let Some(delay) = index.delay(record.seq.0) {
                record.attempts = delay.attempts;
                record.first_attempt_at_ms = delay.first_attempt_at_ms;
            }
        }
        Ok(())
    })
}

pub(crate) fn dead_entry(shared: &Shared, seq: Seq) -> Result<Option<DeadEntry>, ReadError> {
    with_index(shared, |index| index.dead_entry(seq))
}

/// Chunks of one lane that are looked into for an exact count.
const COUNTED_CHUNKS_MAX: usize = 1024;

pub(crate) fn followed_to(shared: &Shared) -> Result<Seq, ReadError> {
    with_index(shared, |index| Ok(Seq(index.next_seq())))
}

pub(crate) fn waiting_before(shared: &Shared, before: Seq) -> Result<Vec<(Lane, u64)>, ReadError> {
    let lanes = with_index(shared, |index| index.waiting_before(before.0, COUNTED_CHUNKS_MAX))?;
    Ok(lanes.into_iter().map(|(name, waiting)| (lane_of(&name), waiting)).collect())
}

pub(crate) fn books(shared: &Shared) -> Result<(Place, Vec<LaneBooks>), ReadError> {
    with_index(shared, |index| {
        let lane = |(name, state): (&LaneName, &LaneState)| {
            let (lane, ledger) = (lane_of(name), state.ledger());
            LaneBooks { lane, waiting: state.waiting, ledger }
        };
        Ok((index.place(), index.lanes().map(lane).collect()))
    })
}

pub(crate) fn dead_letters(
    shared: &Shared,
    cache: &ChunkCache,
    after: Seq,
    records_max: usize,
) -> Result<Vec<DeadLetter>, ReadError> {
    let entries = with_index(shared, |index| index.dead_after(after.0 + 1, records_max))?;
    let mut letters = Vec::new();
    for (seq, entry) in entries {
        letters.extend(letter(shared, cache, Seq(seq), entry)?);
    }
    Ok(letters)
}

/// The dead letter that the index had at this place; `None` if it ended since, or is lost.
pub(crate) fn letter(
    shared: &Shared,
    cache: &ChunkCache,
    seq: Seq,
    mut entry: DeadEntry,
) -> Result<Option<DeadLetter>, ReadError> {
    for _ in 0..TRIES_MAX {
        if let Some(chunk) = cache.read(shared, entry.at.into())? {
            let record = chunk.find(seq.0).and_then(|i| chunk.record(i));
            return Ok(record.map(|record| DeadLetter { record, note: note_of(entry.note) }));
        }
        // Moved meanwhile, or damaged: only the second is a loss.
        let Some(now) = dead_entry(shared, seq)? else { return Ok(None) };
        if now.at == entry.at {
            relocate::lose(shared, entry.at.into());
            return Ok(None);
        }
        entry = now;
    }
    Err(ReadError::IndexNotReady)
}

/// Asks the index, if it is there and can be trusted; a doubt sets it aside.
fn with_index<R>(shared: &Shared, ask: impl FnOnce(&Index) -> Result<R, Doubt>) -> Result<R, ReadError> {
    if shared.is_closing() {
        return Err(ReadError::Closing);
    }
    if !shared.followed.lock().ready {
        return Err(ReadError::IndexNotReady);
    }
    let mut guard = lock(&shared.index);
    let Some(index) = guard.as_ref() else { return Err(ReadError::IndexNotReady) };
    let asked = std::panic::catch_unwind(AssertUnwindSafe(|| ask(index)));
    match asked {
        Ok(Ok(answer)) => Ok(answer),
        doubt => {
            if let Ok(Err(doubt)) = doubt {
                tracing::error!(%doubt, "the index is not trusted any more");
            }
            // The indexer finds it gone and makes a new one.
            *guard = None;
            Err(ReadError::IndexNotReady)
        }
    }
}
