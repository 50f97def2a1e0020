//! What sled knows about the log: which records wait and where, dead letters, counts.
//!
//! Nothing here is the truth. The index follows the log, some chunks a batch, each with the place
//! up to which it has followed; whatever sled loses, it follows again. On any doubt it is set
//! aside and made anew from the log. All of sled is behind this module.

mod apply;
mod batch;
mod entries;
mod held;
mod notes;
mod open;
mod rebuild;
pub(crate) mod schema;

use std::collections::{BTreeMap, HashMap};

use revenium_migrations::log_v1::{self as v1, Counts, LaneName};

use crate::chunk::Chain;
use crate::segment::Pos;
use crate::stats::Ledger;
use crate::survey::Place;
use crate::types::{End, POSTPONED_MS_MAX, Seq};
use schema::{DeadEntry, Delay, Entry, Meta, SegmentEntry};

pub(crate) use apply::Ended;
pub(crate) use batch::Batch;
pub(crate) use open::{open, panic_text, remove_others};
pub(crate) use rebuild::{Gaps, Rebuild};

/// Why the index is no longer trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Doubt {
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    /// Not the index's fault: the log could not be read.
    #[error("cannot read the log: {0}")]
    Log(std::io::Error),
    #[error("sled panicked: {0}")]
    Panic(String),
    #[error("sled did not open within {0} s")]
    TimeLimit(u64),
    #[error("an index value does not decode")]
    Value,
    #[error("the index is of version {0}")]
    Version(u32),
    #[error("the index does not fit the log: {0}")]
    Mismatch(String),
}

impl Doubt {
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Sled(sled::Error::Io(e)) if e.kind() == std::io::ErrorKind::StorageFull)
    }
}

/// Records tried and to be tried again that the index remembers; more are tried again sooner.
const DELAYED_MAX: usize = 65_536;

/// What is counted for a lane. `waiting`, `dead` and `waiting_bytes` are found by looking at every
/// entry when the index opens, and then followed; `counts` are kept on their own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LaneState {
    pub(crate) counts: Counts,
    pub(crate) waiting: u64,
    pub(crate) dead: u64,
    pub(crate) waiting_bytes: u64,
}

impl LaneState {
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger {
            received: self.counts.received,
            delivered: self.counts.delivered,
            dead: self.dead,
            discarded: self.counts.discarded,
            lost: self.counts.lost,
        }
    }
}

/// An open index and what it holds in memory: lanes, segments and delays, all bounded.
pub(crate) struct Index {
    db: sled::Db,
    meta: Meta,
    lanes: BTreeMap<LaneName, LaneState>,
    segments: BTreeMap<u64, SegmentState>,
    delayed: BTreeMap<u64, Delay>,
    /// Whether `meta` knows the chunk before the next one.
    linked: bool,
    gaps: Gaps,
    rebuild: Option<Rebuild>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct SegmentState {
    pub(crate) entry: SegmentEntry,
    /// Records here that wait or are dead.
    pub(crate) live: u64,
}

/// Records of one chunk chosen for a claim.
pub(crate) struct Chosen {
    pub(crate) at: Pos,
    pub(crate) seqs: Vec<u64>,
}

impl Index {
    /// Every chunk before this place is applied.
    pub(crate) fn at(&self) -> Pos {
        Pos { ordinal: self.meta.ordinal, offset: self.meta.offset }
    }

    /// Link to the last applied chunk, if the next one should have it.
    pub(crate) fn chain(&self) -> Option<Chain> {
        self.linked.then_some(Chain { next_seq: self.meta.next_seq, crc: self.meta.crc })
    }

    /// How far it has followed.
    pub(crate) fn place(&self) -> Place {
        let Meta { ordinal, offset, next_seq, crc, .. } = self.meta;
        Place { ordinal, offset, next_seq, crc: self.linked.then_some(crc) }
    }

    /// Above every number that it has met.
    pub(crate) fn next_seq(&self) -> u64 {
        self.meta.next_seq
    }

    /// Records below `before` that wait, by lane. A lane with more than `chunks_max` chunks of them
    /// is not counted through: all that waits there is given.
    pub(crate) fn waiting_before(
        &self,
        before: u64,
        chunks_max: usize,
    ) -> Result<Vec<(LaneName, u64)>, Doubt> {
        let mut found = Vec::new();
        for (lane, state) in self.lanes.iter().filter(|(_, state)| state.waiting > 0) {
            let mut waiting = 0;
            let entries = self.db.range(schema::entry_key(lane, 0)..schema::entry_key(lane, before));
            for (looked, pair) in entries.enumerate() {
                if looked == chunks_max {
                    waiting = state.waiting;
                    break;
                }
                let (key, value) = pair?;
                let (_, base) = schema::parse_entry_key(&key).ok_or(Doubt::Value)?;
                let entry: Entry = decode(&value)?;
                waiting += entry.ones().take_while(|i| base + i < before).count() as u64;
            }
            if waiting > 0 {
                found.push((lane.clone(), waiting));
            }
        }
        Ok(found)
    }

    /// Whether it knows everything about the segments up to this one: only then may anything be
    /// concluded from what it does *not* hold.
    pub(crate) fn has_followed(&self, ordinal: u64) -> bool {
        self.rebuild.is_none() && self.at().ordinal > ordinal
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = (&LaneName, &LaneState)> {
        self.lanes.iter()
    }

    pub(crate) fn segment(&self, ordinal: u64) -> Option<&SegmentState> {
        self.segments.get(&ordinal)
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = (u64, &SegmentState)> {
        self.segments.iter().map(|(o, s)| (*o, s))
    }

    /// Forgets which numbers lay in segments that are gone. As long as a file is there, the ends of its
    /// records are needed.
    pub(crate) fn forget_segments(&mut self, is_there: impl Fn(u64) -> bool) -> Result<(), Doubt> {
        let is_gone = |(o, s): (&u64, &SegmentState)| (s.live == 0 && !is_there(*o)).then_some(*o);
        let gone: Vec<u64> = self.segments.iter().filter_map(is_gone).collect();
        for ordinal in gone {
            self.segments.remove(&ordinal);
            self.db.remove(schema::number_key(b's', ordinal))?;
        }
        Ok(())
    }

    pub(crate) fn damaged_regions(&self) -> u64 {
        self.meta.damaged_regions
    }

    pub(crate) fn delay(&self, seq: u64) -> Option<&Delay> {
        self.delayed.get(&seq)
    }

    /// Records that are counted on one side of the ledger only; anything but 0 is a doubt.
    pub(crate) fn imbalance(&self) -> u64 {
        let (received, accounted) = self.sums();
        received.abs_diff(accounted)
    }

    /// Records that were received and neither ended nor wait.
    fn unaccounted(&self) -> u64 {
        let (received, accounted) = self.sums();
        received.saturating_sub(accounted)
    }

    fn sums(&self) -> (u64, u64) {
        let (mut received, mut accounted) = (0u64, 0u64);
        for lane in self.lanes.values() {
            let l = lane.ledger();
            received += l.received;
            accounted += l.delivered + l.dead + l.discarded + l.lost + lane.waiting;
        }
        (received, accounted)
    }

    /// When the longest waiting record of a lane was received.
    pub(crate) fn oldest_received_at_ms(&self, lane: &LaneName) -> Result<u64, Doubt> {
        match self.db.scan_prefix(schema::entries_prefix(lane)).values().next() {
            Some(value) => Ok(decode::<Entry>(&value?)?.received_at_ms),
            None => Ok(0),
        }
    }

    /// Chooses up to `records_max` waiting records that `free` says may be taken.
    ///
    /// From the oldest end it begins at the chunk `from`; gives where the next call may begin,
    /// as nothing before that is free.
    pub(crate) fn choose(
        &self,
        lane: &LaneName,
        (end, from): (End, u64),
        records_max: usize,
        now_ms: u64,
        mut free: impl FnMut(u64) -> bool,
    ) -> Result<(Vec<Chosen>, u64), Doubt> {
        let mut chosen: Vec<Chosen> = Vec::new();
        let mut left = records_max;
        let mut next_from = from;
        let first = match end {
            End::Oldest => schema::entry_key(lane, from),
            End::Newest => schema::entries_prefix(lane),
        };
        let mut entries = self.db.range(first..=schema::entry_key(lane, u64::MAX));
        while left > 0 {
            let next = match end {
                End::Oldest => entries.next(),
                End::Newest => entries.next_back(),
            };
            let Some(pair) = next else { break };
            let (key, value) = pair?;
            let (_, base) = schema::parse_entry_key(&key).ok_or(Doubt::Value)?;
            next_from = base;
            let entry: Entry = decode(&value)?;
            let due = |seq: &u64| self.delayed.get(seq).is_none_or(|d| is_due(d.not_before_ms, now_ms));
            let mut take = |seqs: &mut dyn Iterator<Item = u64>| -> Vec<u64> {
                seqs.filter(|s| due(s) && free(*s)).take(left).collect()
            };
            let seqs = match end {
                End::Oldest => take(&mut entry.ones().map(|i| base + i)),
                End::Newest => take(&mut entry.ones().rev().map(|i| base + i)),
            };
            if !seqs.is_empty() {
                left -= seqs.len();
                chosen.push(Chosen { at: entry.at.into(), seqs });
            }
        }
        Ok((chosen, next_from))
    }

    /// The entry that speaks of the records of `lane` first stored in the chunk `base`.
    pub(crate) fn entry(&self, lane: &LaneName, base: u64) -> Result<Option<Entry>, Doubt> {
        self.db.get(schema::entry_key(lane, base))?.map(|v| decode(&v)).transpose()
    }

    /// Where the chunk of this record lies, if the record waits.
    pub(crate) fn place_of(&self, lane: &LaneName, seq: u64) -> Result<Option<Pos>, Doubt> {
        let above = schema::entry_key(lane, seq.saturating_add(1));
        let Some((key, value)) = self.db.get_lt(above)? else { return Ok(None) };
        if !key.starts_with(&schema::entries_prefix(lane)) {
            return Ok(None);
        }
        let (_, base) = schema::parse_entry_key(&key).ok_or(Doubt::Value)?;
        let entry: Entry = decode(&value)?;
        Ok(entry.has(seq - base).then(|| entry.at.into()))
    }

    /// Every record that waits or is dead in a chunk at such a place. Looks at all entries: for
    /// damage only.
    pub(crate) fn records_where(&self, place: impl Fn(Pos) -> bool) -> Result<Vec<(LaneName, u64)>, Doubt> {
        let mut found = Vec::new();
        for pair in self.db.scan_prefix(b"w") {
            let (key, value) = pair?;
            let entry: Entry = decode(&value)?;
            if place(entry.at.into()) {
                let (lane, base) = schema::parse_entry_key(&key).ok_or(Doubt::Value)?;
                found.extend(entry.ones().map(|i| (lane.clone(), base + i)));
            }
        }
        for pair in self.db.scan_prefix(b"d") {
            let (key, value) = pair?;
            let dead: DeadEntry = decode(&value)?;
            if place(dead.at.into()) {
                found.push((dead.lane, schema::parse_number_key(&key).ok_or(Doubt::Value)?));
            }
        }
        Ok(found)
    }

    pub(crate) fn dead_entry(&self, seq: Seq) -> Result<Option<DeadEntry>, Doubt> {
        self.db.get(schema::number_key(b'd', seq.0))?.map(|v| decode(&v)).transpose()
    }

    /// Up to `records_max` dead letters after `after`, ascending.
    pub(crate) fn dead_after(&self, after: u64, records_max: usize) -> Result<Vec<(u64, DeadEntry)>, Doubt> {
        let from = schema::number_key(b'd', after);
        let mut found = Vec::new();
        for pair in self.db.range(from..vec![b'd' + 1]).take(records_max) {
            let (key, value) = pair?;
            found.push((schema::parse_number_key(&key).ok_or(Doubt::Value)?, decode(&value)?));
        }
        Ok(found)
    }

    /// Hands sled's buffers to the kernel, so that little has to be followed again.
    pub(crate) fn handle(&self) -> sled::Db {
        self.db.clone()
    }

    /// Counts everything anew by looking at every entry.
    pub(crate) fn recount(&mut self) -> Result<(), Doubt> {
        for lane in self.lanes.values_mut() {
            *lane = LaneState { counts: lane.counts, ..LaneState::default() };
        }
        self.segments.values_mut().for_each(|s| s.live = 0);
        for pair in self.db.scan_prefix(b"w") {
            let (key, value) = pair?;
            let (name, _) = schema::parse_entry_key(&key).ok_or(Doubt::Value)?;
            let entry: Entry = decode(&value)?;
            let lane = self.lanes.entry(name).or_default();
            lane.waiting += entry.waiting();
            lane.waiting_bytes += entry.waiting_bytes();
            self.segments.entry(entry.at.ordinal).or_default().live += entry.waiting();
        }
        for value in self.db.scan_prefix(b"d").values() {
            let dead: DeadEntry = decode(&value?)?;
            self.lanes.entry(dead.lane).or_default().dead += 1;
            self.segments.entry(dead.at.ordinal).or_default().live += 1;
        }
        Ok(())
    }

    /// Loads what is held in memory.
    fn load(&mut self) -> Result<(), Doubt> {
        for pair in self.db.scan_prefix(b"l") {
            let (key, value) = pair?;
            let name = schema::parse_counts_key(&key).ok_or(Doubt::Value)?;
            self.lanes.entry(name).or_default().counts = decode(&value)?;
        }
        for pair in self.db.scan_prefix(b"s") {
            let (key, value) = pair?;
            let ordinal = schema::parse_number_key(&key).ok_or(Doubt::Value)?;
            self.segments.entry(ordinal).or_default().entry = decode(&value)?;
        }
        for pair in self.db.scan_prefix(b"p") {
            let (key, value) = pair?;
            self.delayed.insert(schema::parse_number_key(&key).ok_or(Doubt::Value)?, decode(&value)?);
        }
        self.recount()
    }
}

/// Waiting bytes per profile, for budgets.
pub(crate) fn profile_bytes(index: &Index) -> HashMap<String, u64> {
    let mut bytes: HashMap<String, u64> = HashMap::new();
    for (name, lane) in index.lanes() {
        *bytes.entry(name.profile.clone()).or_default() += lane.waiting_bytes;
    }
    bytes
}

fn decode<T: for<'de> serde::Deserialize<'de>>(bytes: &[u8]) -> Result<T, Doubt> {
    v1::decode(bytes).map_err(|_| Doubt::Value)
}
/// Whether a record that is to wait until `not_before_ms` waits no longer.
fn is_due(not_before_ms: u64, now_ms: u64) -> bool {
    not_before_ms <= now_ms || not_before_ms > now_ms.saturating_add(POSTPONED_MS_MAX)
}
