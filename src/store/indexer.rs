//! The thread that makes the index follow the log, off the acknowledgement path.
//!
//! It reads the log as anyone would, from the place the index has reached to the durable end.
//! After an unclean exit that is a replay, after damage to sled a rebuild; live it is a tail.
//! There is one code for all three.
//!
//! sled finds nothing any more once a write of it has failed. So while the disk refuses the log, it is asked to
//! write nothing: what is durable can go on being delivered.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use revenium_migrations::log_v1::{Checkpoint, Gone, Note};

use crate::checkpoint;
use crate::chunk::{Chain, ChunkAt};
use crate::index::{self, Batch, Doubt, Ended, Index};
use crate::progress::Way;
use crate::quarantine;
use crate::scan::{self, FIRST_CHUNK, Step};
use crate::segment::{Begins, Pos};
use crate::shared::{Pending, Shared, add, lock};
use crate::stats::LaneStats;
use crate::{index::schema, space};

/// Chunks applied before others may look at the index.
const CHUNKS_PER_TURN: usize = 64;
/// Between two tries to make a new index.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A log that is never quiet is followed after so many times the quiet that is waited for.
const GATHER_QUIETS_MAX: u32 = 10;
/// How often a wait looks whether the store is closing.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs until the store closes and the index has followed all of the log.
///
/// `tail` is how the chain stood when the store was opened.
pub(crate) fn run(shared: &Arc<Shared>, tail: (Pos, Chain)) {
    let mut anew = false;
    let mut told = tail.0;
    loop {
        let followed = std::panic::catch_unwind(AssertUnwindSafe(|| follow(shared, tail, &mut told, anew)));
        let doubt = match followed {
            Ok(Ok(())) => return,
            Ok(Err(doubt)) => doubt,
            Err(payload) => Doubt::Panic(index::panic_text(&payload)),
        };
        tracing::warn!(%doubt, "the index is not trusted any more");
        *lock(&shared.index) = None;
        shared.followed.change(|f| (f.ready, f.way) = (false, None));
        if let Doubt::Log(_) = doubt {
            // The disk failed a read: sled is not to blame.
            anew = false;
            drop(shared.inbox.wait(RETRY_AFTER, |inbox| inbox.closing));
            if shared.is_closing() {
                return;
            }
            continue;
        }
        if doubt.is_disk_full() {
            space::release_ballast(&shared.options.dir);
        }
        anew = true;
        // Closing needs no index; the next start makes it.
        drop(shared.inbox.wait(RETRY_AFTER, |inbox| inbox.closing));
        if shared.is_closing() {
            return;
        }
    }
}

/// `told` is how far claims were told of their ends. An index that is made anew meets all notes
/// again, and an earlier one must not end a claim that is out now.
fn follow(shared: &Arc<Shared>, tail: (Pos, Chain), told: &mut Pos, anew: bool) -> Result<(), Doubt> {
    open(shared, tail, anew)?;
    let ended = || shared.log_ended.load(Ordering::Acquire);
    let mut turned_at = Instant::now();
    loop {
        while shared.is_disk_failing() && !ended() {
            std::thread::sleep(LOOK_EVERY);
        }
        let caught_up = turn(shared, tail, told)?;
        if !caught_up {
            if shared.is_closing() && !shared.followed.lock().ready {
                // A long way to go: the next start goes on, or begins anew.
                return flush_and_drop(shared);
            }
            continue;
        }
        let at = shared.followed.lock().at;
        let end = *shared.durable.wait(LOOK_EVERY, |end| *end != at || ended());
        if end == at && ended() {
            return flush_and_drop(shared);
        }
        gather(shared, end, turned_at);
        turned_at = Instant::now();
    }
}

/// Lets what comes soon after the last turn gather until the log is quiet: every batch costs sled
/// writes of its own, which the log's flushes would have to wait for.
fn gather(shared: &Shared, mut end: Pos, turned_at: Instant) {
    let quiet = shared.options.follow_when_quiet;
    let at_most = quiet * GATHER_QUIETS_MAX;
    while turned_at.elapsed() < at_most {
        std::thread::sleep(quiet);
        let now = *shared.durable.lock();
        if now == end {
            return;
        }
        end = now;
    }
}

fn flush_and_drop(shared: &Shared) -> Result<(), Doubt> {
    if let Some(index) = lock(&shared.index).take() {
        index.handle().flush()?;
    }
    Ok(())
}

/// Opens the index, and prepares it for a rebuild unless it fits the log.
fn open(shared: &Arc<Shared>, tail: (Pos, Chain), anew: bool) -> Result<(), Doubt> {
    let o = &shared.options;
    let (mut index, doubt) = index::open(&o.dir, o.index_cache_bytes, anew)?;
    if let Some(doubt) = &doubt {
        tracing::warn!(%doubt, "the index did not open");
    }
    let at = index.at();
    let durable = *shared.durable.lock();
    if at != Pos::default() && (at > durable || shared.listed(at.ordinal).is_none()) && !anew {
        drop(index);
        return Err(Doubt::Mismatch("it has followed a log that is not there".into()));
    }
    let mut is_anew = false;
    if at == Pos::default() {
        let listed = lock(&shared.table).segments.values().next().cloned();
        let listed = listed.expect("the active segment is in the table");
        let first = Pos { ordinal: listed.segment.ordinal, offset: FIRST_CHUNK };
        is_anew = durable != first;
        add(&shared.counters.index_rebuilds, u64::from(is_anew));
        let (link, begins_anew) = match listed.segment.begins().map_err(Doubt::Log)? {
            Begins::With(header) => {
                let link = Chain { next_seq: header.first_seq, crc: header.prev_crc };
                (Some(link), header.prev_ordinal == 0 && header.first_seq > 1)
            }
            // Not written yet: the watermark alone knows what was before, if anything.
            _ if tail.0 == first => (Some(tail.1), tail.1.next_seq > 1),
            Begins::TooNew(_) | Begins::WithoutHeader => (None, false),
        };
        if begins_anew {
            let records = link.map_or(0, |link| link.next_seq - 1);
            tracing::warn!(
                records,
                "a log began where all files of the one before it were gone: its records are lost"
            );
        }
        index.begin_rebuild(first, link, begins_anew, latest_checkpoint(shared)?)?;
    }
    let way = Way::begin(shared, index.at(), is_anew);
    *lock(&shared.index) = Some(index);
    shared.followed.change(|f| (f.at, f.way) = (way.from, Some(way)));
    Ok(())
}

/// The last segment that may have been retired, and the last checkpoint in the log, without the segments that
/// were retired since.
fn latest_checkpoint(shared: &Shared) -> Result<(u64, Option<Checkpoint>), Doubt> {
    let ordinals: Vec<u64> = lock(&shared.table).segments.keys().rev().copied().collect();
    let latest = checkpoint::latest(ordinals.into_iter().filter_map(|o| shared.listed(o)), |_| ());
    let Some(mut found) = latest.map_err(Doubt::Log)? else { return Ok((0, None)) };
    found.checkpoint.segments.retain(|(ordinal, _)| !found.retired.contains(ordinal));
    // A later one may be damaged, but what said that segments were retired is not.
    let retired_to = found.retired.iter().copied().fold(found.at.ordinal, u64::max);
    Ok((retired_to, Some(found.checkpoint)))
}

/// Applies some chunks; true when the durable end is reached.
fn turn(shared: &Arc<Shared>, tail: (Pos, Chain), told: &mut Pos) -> Result<bool, Doubt> {
    let mut guard = lock(&shared.index);
    let index = guard.as_mut().ok_or_else(|| Doubt::Mismatch("the index was set aside".into()))?;
    let mut ended = Ended::new();
    let mut caught_up = false;
    let mut batch = index.begin();
    let before = index.at();
    for _ in 0..CHUNKS_PER_TURN {
        let from = index.at();
        let mut ended_here = Ended::new();
        let went_on = one_step(shared, index, &mut batch, &mut ended_here)?;
        if from >= *told {
            ended.append(&mut ended_here);
        }
        if !went_on {
            caught_up = true;
            break;
        }
    }
    if index.at() != before {
        index.commit(batch)?;
    }
    let newly_ready = caught_up && !shared.followed.lock().ready;
    if newly_ready {
        reach_end(shared, index, tail)?;
    }
    publish(shared, index, &ended)?;
    let at = index.at();
    *told = at.max(*told);
    drop(guard);
    let way = shared.followed.change(|f| {
        f.at = at;
        f.ready |= newly_ready;
        f.way.filter(|_| newly_ready)
    });
    if let Some(way) = way {
        way.end(shared);
    }
    shared.changed.notify_one();
    Ok(caught_up)
}

/// Follows the log by one chunk, hole or change of segment; false at the durable end.
fn one_step(shared: &Shared, index: &mut Index, batch: &mut Batch, ended: &mut Ended) -> Result<bool, Doubt> {
    let at = index.at();
    let durable = *shared.durable.lock();
    let Some(listed) = shared.listed(at.ordinal) else {
        return Err(Doubt::Mismatch(format!("segment {} is not there", at.ordinal)));
    };
    let segment = &listed.segment;
    let step = scan::step(segment, at.offset, listed.until, None);
    match step.map_err(Doubt::Log)? {
        Step::Chunk(chunk, directory) => {
            check_chain(index, batch, &chunk);
            ended.extend(index.apply(batch, &chunk, &directory)?);
        }
        Step::Hole(to) => {
            if quarantine::keep(shared, segment, at.offset, to) {
                index.count_damage();
            }
            index.go_to(Pos { ordinal: at.ordinal, offset: to });
        }
        Step::End => {
            let next = shared.ordinal_after(at.ordinal).filter(|n| *n <= durable.ordinal);
            let Some(next) = next else { return Ok(false) };
            if next > at.ordinal + 1 && index.segments_are_absent(at.ordinal, next)? {
                index.forget_chain();
            }
            index.go_to(Pos { ordinal: next, offset: FIRST_CHUNK });
        }
    }
    Ok(true)
}

/// A chunk whose link does not fit the chunk before says how many numbers are missing.
fn check_chain(index: &mut Index, batch: &mut Batch, chunk: &ChunkAt) {
    match index.chain() {
        Some(chain) if chain.crc != chunk.header.prev_crc => {
            index.gap(batch, chain.next_seq, chunk.header.prev_next_seq, chunk.pos);
        }
        Some(_) => {}
        None => index.begins_with(chunk),
    }
}

/// The end of the log is reached for the first time: what is missing is missing.
fn reach_end(shared: &Shared, index: &mut Index, (pos, chain): (Pos, Chain)) -> Result<(), Doubt> {
    if index.at() == pos
        && let Some(met) = index.chain()
        && met.crc != chain.crc
    {
        let mut batch = index.begin();
        index.gap(&mut batch, met.next_seq, chain.next_seq, pos);
        index.set_chain(chain);
        index.commit(batch)?;
    }
    let vanished: Vec<u64> = {
        let table = lock(&shared.table);
        let gone = |(o, s): (u64, &index::SegmentState)| {
            (s.live > 0 && !table.segments.contains_key(&o)).then_some(o)
        };
        index.segments().filter_map(gone).collect()
    };
    for ordinal in vanished {
        let lost = index.records_where(|at| at.ordinal == ordinal)?;
        tracing::error!(
            segment = ordinal,
            records = lost.len(),
            "a segment's file is gone, with records that were needed"
        );
        shared.note(lost.into_iter().map(|(lane, seq)| Pending::Gone(Gone::Lost, lane, seq)));
        shared.is_damaged.store(true, Ordering::Release);
    }
    let missing = index.take_missing();
    for note in &missing {
        tracing::error!(?note, "acknowledged records are missing from the log");
    }
    if index.imbalance() != 0 && !index.is_rebuilding() && missing.is_empty() {
        return Err(Doubt::Mismatch(format!("the ledger is off by {}", index.imbalance())));
    }
    let ends = index.take_back_ends(missing.iter().map(counted_before).sum())?;
    if ends > 0 {
        tracing::error!(ends, "notes of ends are missing from the log: their records wait again");
    }
    shared.note(missing.into_iter().map(Pending::Note));
    index.end_rebuild()?;
    index::remove_others(&shared.options.dir);
    Ok(())
}

/// How many numbers a note says are missing that had been counted as received.
fn counted_before(note: &Note) -> u64 {
    match note {
        Note::Missing { ranges, counted: true } => ranges.iter().map(|(first, after)| after - first).sum(),
        _ => 0,
    }
}

/// Tells the others what the index knows now.
fn publish(shared: &Shared, index: &Index, ended: &Ended) -> Result<(), Doubt> {
    let mut claims = lock(&shared.claims);
    let mut losses = lock(&shared.losses);
    for seq in ended {
        claims.remove(seq);
        losses.remove(seq);
    }
    drop(losses);
    if ended.iter().any(|seq| index.delay(*seq).is_some()) {
        lock(&shared.cursors).clear();
    }
    let mut lanes = Vec::new();
    for (name, state) in index.lanes() {
        lanes.push(LaneStats {
            lane: schema::lane_of(name),
            waiting: state.waiting,
            claimed: 0,
            oldest_received_at_ms: index.oldest_received_at_ms(name)?,
            ledger: state.ledger(),
        });
    }
    drop(claims);
    *lock(&shared.lanes) = lanes;
    // A rebuild begins with a checkpoint's counts, whose records it is yet to meet.
    if !index.is_rebuilding() {
        shared.counters.imbalance.store(index.imbalance(), Ordering::Relaxed);
    }
    shared.counters.damaged_regions.store(index.damaged_regions(), Ordering::Relaxed);
    if shared.options.profile_bytes_max > 0 {
        *lock(&shared.profile_bytes) = index::profile_bytes(index);
    }
    Ok(())
}
