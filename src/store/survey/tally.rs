//! Counting a log as it is read, chunk by chunk.
//!
//! Says of each record what the index should say of it (`index::apply`, `index::notes`), from the log alone and
//! with sets of numbers in memory: what follows on one another takes no room.

use std::collections::{BTreeMap, HashMap};

use revenium_migrations::log_v1::{
    self as v1, ChunkKind, Counts, Gone, LaneName, Meta, Note, Notes, Records,
};

use super::{LaneBooks, Met};
use crate::checkpoint::Found;
use crate::chunk::{self, ChunkAt};
use crate::index::schema;
use crate::ranges::Ranges;
use crate::segment::Pos;
use crate::stats::Ledger;

/// Reading a log needs all its numbers.
const ANY: usize = usize::MAX;

/// What is known of the log so far.
#[derive(Default)]
pub(super) struct Tally {
    /// Chunks before this place are in the counts from the beginning.
    count_from: Pos,
    names: BTreeMap<LaneName, usize>,
    lanes: Vec<LaneTally>,
    /// Of which it was said how they ended.
    ended: Ranges,
    /// Of which it was said that they are dead.
    died: Ranges,
    /// Said to be missing.
    told_missing: Ranges,
    /// Not met where they should be, and counted as received before `count_from`.
    missing_before: Ranges,
    /// Not met where they should be, behind it.
    missing_since: Ranges,
    /// Met, but for their bodies.
    without_body: Ranges,
    damaged: u64,
}

#[derive(Default)]
struct LaneTally {
    counts: Counts,
    waiting: Ranges,
    dead: Ranges,
}

impl Tally {
    pub(super) fn begin(latest: Option<&Found>) -> Self {
        let mut tally = Self::default();
        let Some(Found { checkpoint, .. }) = latest else { return tally };
        tally.count_from = Pos { ordinal: checkpoint.ordinal, offset: checkpoint.offset };
        for (name, counts) in &checkpoint.lanes {
            tally.lane(name).counts = *counts;
        }
        tally
    }

    pub(super) fn take(&mut self, met: Met<'_>) {
        match met {
            Met::Chunk(at, directory, bodies) => match at.header.kind {
                ChunkKind::Records | ChunkKind::Relocation => {
                    self.damaged += u64::from(bodies.is_none());
                    match chunk::numbered(at, directory) {
                        Some((seqs, records)) => self.take_records(at, &seqs, &records, bodies.is_some()),
                        None => self.miss(at.header.first_seq, at.header.next_seq, at.pos),
                    }
                }
                ChunkKind::Notes => match v1::decode::<Notes>(directory) {
                    Ok(said) => self.take_notes(at.pos, said),
                    Err(_) => self.damaged += 1,
                },
                ChunkKind::Checkpoint => {}
            },
            Met::Hole(..) => self.damaged += 1,
            Met::Break(first, after, at) => self.miss(first, after, at),
        }
    }

    /// No segment is left of a log that used the numbers below this one.
    pub(super) fn miss_all(&mut self, next_seq: u64) {
        self.damaged += 1;
        self.miss(1, next_seq, Pos { ordinal: u64::MAX, offset: 0 });
    }

    fn lane(&mut self, name: &LaneName) -> &mut LaneTally {
        let i = self.lane_index(name);
        &mut self.lanes[i]
    }

    fn lane_index(&mut self, name: &LaneName) -> usize {
        if let Some(i) = self.names.get(name) {
            return *i;
        }
        self.lanes.push(LaneTally::default());
        self.names.insert(name.clone(), self.lanes.len() - 1);
        self.lanes.len() - 1
    }

    /// Numbers that should have been met before `at`.
    fn miss(&mut self, first: u64, after: u64, at: Pos) {
        let missing = if at <= self.count_from { &mut self.missing_before } else { &mut self.missing_since };
        for seq in first..after {
            if !self.told_missing.contains(seq) && !self.ended.contains(seq) {
                missing.insert(seq, ANY);
            }
        }
    }

    fn take_records(&mut self, at: &ChunkAt, seqs: &[u64], records: &Records, is_whole: bool) {
        let counting = at.pos >= self.count_from;
        let is_new = at.header.kind == ChunkKind::Records;
        let mut known: HashMap<(u16, u8), usize> = HashMap::new();
        for (seq, meta) in seqs.iter().zip(&records.metas) {
            let lane = *known.entry((meta.profile, meta.route)).or_insert_with(|| {
                let profile = records.profiles.get(usize::from(meta.profile)).cloned().unwrap_or_default();
                self.lane_index(&LaneName { profile, route: meta.route })
            });
            // A copy of what was missed says that it was received.
            let received = if is_new { self.replace(meta, lane, counting) } else { self.found(*seq) };
            if counting {
                self.lanes[lane].counts.received += received;
            }
            self.place(*seq, meta, lane, is_whole);
        }
    }

    /// What takes a dead letter's place counts as received only in another lane than the letter's.
    fn replace(&mut self, meta: &Meta, lane: usize, counting: bool) -> u64 {
        let Some(old) = meta.replaces else { return 1 };
        let from = self.take_away(old);
        self.ended.insert(old, ANY);
        match from {
            Some(from) if from == lane => 0,
            Some(from) => {
                self.lanes[from].counts.discarded += u64::from(counting);
                1
            }
            None => {
                let was_received = take(&mut self.missing_before, old);
                self.missing_since.remove(old);
                u64::from(!was_received)
            }
        }
    }

    fn place(&mut self, seq: u64, meta: &Meta, lane: usize, is_whole: bool) {
        if self.ended.contains(seq) {
            return;
        }
        let of_lane = &mut self.lanes[lane];
        if !is_whole {
            of_lane.waiting.remove(seq);
            of_lane.dead.remove(seq);
            self.without_body.insert(seq, ANY);
        } else if meta.dead.is_some() || self.died.contains(seq) {
            of_lane.waiting.remove(seq);
            of_lane.dead.insert(seq, ANY);
        } else {
            of_lane.waiting.insert(seq, ANY);
        }
    }

    fn take_notes(&mut self, at: Pos, said: Notes) {
        let counting = !said.carried && at >= self.count_from;
        for note in said.notes {
            match note {
                Note::Gone(how, lane, ranges) => {
                    let lane = self.lane_index(&lane);
                    for (first, n) in ranges {
                        (first..first + u64::from(n)).for_each(|seq| self.go(how, lane, seq, counting));
                    }
                }
                Note::Dead(lane, seq, _) => {
                    self.died.insert(seq, ANY);
                    let lane = self.lane(&lane);
                    if take(&mut lane.waiting, seq) {
                        lane.dead.insert(seq, ANY);
                    }
                }
                Note::Missing { ranges, counted } => {
                    let nowhere = LaneName { profile: String::new(), route: u8::MAX };
                    for (first, after) in ranges {
                        for seq in first..after {
                            self.told_missing.insert(seq, ANY);
                            self.found(seq);
                        }
                        if counting {
                            let counts = &mut self.lane(&nowhere).counts;
                            counts.lost += after - first;
                            counts.received += if counted { 0 } else { after - first };
                        }
                    }
                }
                Note::Postponed { .. } | Note::State(..) | Note::Retired(_) => {}
            }
        }
    }

    fn go(&mut self, how: Gone, lane: usize, seq: u64, counting: bool) {
        let was_missing_since = self.found(seq);
        self.take_away(seq);
        // Said again, it counts no more than before.
        if self.ended.contains(seq) {
            return;
        }
        self.ended.insert(seq, ANY);
        if counting {
            let counts = &mut self.lanes[lane].counts;
            counts.received += was_missing_since;
            match how {
                Gone::Delivered => counts.delivered += 1,
                Gone::Discarded => counts.discarded += 1,
                Gone::Lost => counts.lost += 1,
                Gone::Replaced => {}
            }
        }
    }

    /// The number is missing no more; 1 if it was, and was not counted as received.
    fn found(&mut self, seq: u64) -> u64 {
        self.missing_before.remove(seq);
        u64::from(take(&mut self.missing_since, seq))
    }

    /// Neither waits nor is dead any more; gives the lane in which it did.
    fn take_away(&mut self, seq: u64) -> Option<usize> {
        self.without_body.remove(seq);
        self.lanes.iter_mut().position(|lane| take(&mut lane.waiting, seq) || take(&mut lane.dead, seq))
    }

    /// The lanes, the numbers that are missing, and how many places are damaged.
    pub(super) fn end(mut self) -> (Vec<LaneBooks>, Vec<(u64, u64)>, u64) {
        let since = sum(&self.missing_since);
        if since > 0 {
            // Nobody knows of which lane.
            let nowhere = LaneName { profile: String::new(), route: u8::MAX };
            self.lane(&nowhere).counts.received += since;
        }
        let mut missing = self.missing_before;
        self.missing_since.iter().chain(self.without_body.iter()).for_each(|range| missing.merge(range));
        let books = |(name, i): (&LaneName, &usize)| {
            let LaneTally { counts, waiting, dead } = &self.lanes[*i];
            let Counts { received, delivered, discarded, lost } = *counts;
            let ledger = Ledger { received, delivered, dead: sum(dead), discarded, lost };
            LaneBooks { lane: schema::lane_of(name), waiting: sum(waiting), ledger }
        };
        let lanes = self.names.iter().map(books).collect();
        (lanes, missing.iter().map(|(first, last)| (first, last + 1)).collect(), self.damaged)
    }
}

fn sum(ranges: &Ranges) -> u64 {
    ranges.iter().map(|(first, last)| last - first + 1).sum()
}

/// Removes a number; whether it was there.
fn take(ranges: &mut Ranges, seq: u64) -> bool {
    let was_there = ranges.contains(seq);
    if was_there {
        ranges.remove(seq);
    }
    was_there
}
