//! Following the log: what each chunk changes.

use std::collections::BTreeMap;

use revenium_migrations::log_v1::{self as v1, ChunkKind, Counts, LaneName, Meta, Notes};

use super::schema::{self, At, DeadEntry, Entry};
use super::{Batch, Doubt, Index};
use crate::chunk::{self, Chain, ChunkAt};
use crate::segment::Pos;

/// Numbers that a chunk's notes spoke of: their claims are over.
pub(crate) type Ended = Vec<u64>;

impl Index {
    /// Applies the chunk `at` to memory and to `batch`; sled follows with [`Index::commit`], whole or
    /// not at all. After an error the index is not to be used.
    pub(crate) fn apply(
        &mut self,
        batch: &mut Batch,
        at: &ChunkAt,
        directory: &[u8],
    ) -> Result<Ended, Doubt> {
        let mut ended = Vec::new();
        match at.header.kind {
            ChunkKind::Records | ChunkKind::Relocation => {
                let (seqs, records) =
                    chunk::numbered(at, directory).ok_or_else(|| mismatch("a directory of records", at))?;
                let mut by_lane: BTreeMap<LaneName, Vec<(u64, &Meta)>> = BTreeMap::new();
                for (seq, meta) in seqs.iter().zip(&records.metas) {
                    let profile = records.profiles.get(usize::from(meta.profile)).ok_or(Doubt::Value)?;
                    let lane = LaneName { profile: profile.clone(), route: meta.route };
                    by_lane.entry(lane).or_default().push((*seq, meta));
                }
                if let (Some(first), Some(last)) = (seqs.first(), seqs.last()) {
                    let segment = self.segments.entry(at.pos.ordinal).or_default();
                    segment.entry.add(*first, *last, seqs.len() as u64);
                    batch.put(schema::number_key(b's', at.pos.ordinal), &segment.entry);
                }
                let moved = at.header.kind == ChunkKind::Relocation;
                let base = at.header.first_seq;
                let met_before = self.rebuild.as_ref().is_none_or(|r| r.seen.contains(&base));
                for (lane, of_lane) in by_lane {
                    if moved {
                        // What was taken for missing had moved.
                        let met = of_lane.iter().map(|(s, _)| self.gaps.explain(*s, *s + 1).uncounted);
                        let uncounted: u64 = met.sum();
                        if uncounted > 0 && self.counting(at) {
                            self.count(batch, &lane, |c| c.received += uncounted);
                        }
                    }
                    if moved && met_before {
                        self.follow_move(batch, at, &lane, &of_lane)?;
                    } else {
                        self.take_in(batch, at, &lane, &of_lane, moved)?;
                    }
                }
                if let Some(rebuild) = &mut self.rebuild {
                    rebuild.seen.insert(base);
                }
            }
            ChunkKind::Notes => {
                let notes: Notes = v1::decode(directory).map_err(|_| mismatch("notes", at))?;
                for note in notes.notes {
                    self.take_note(batch, at, note, notes.carried, &mut ended)?;
                }
            }
            ChunkKind::Checkpoint => {}
        }
        self.meta.ordinal = at.pos.ordinal;
        self.meta.offset = at.end();
        self.meta.next_seq = self.meta.next_seq.max(at.header.next_seq);
        self.meta.crc = at.crc;
        self.linked = true;
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.met_to = Pos { ordinal: at.pos.ordinal, offset: at.end() };
        }
        Ok(ended)
    }

    /// Damage was met that was not met before.
    pub(crate) fn count_damage(&mut self) {
        self.meta.damaged_regions += 1;
    }

    /// The next chunk lies elsewhere: behind damage, or in another segment.
    pub(crate) fn go_to(&mut self, to: Pos) {
        let left = self.at();
        if let Some(rebuild) = self.rebuild.as_mut().filter(|_| to.ordinal > left.ordinal) {
            rebuild.left_at = left;
        }
        self.meta.ordinal = to.ordinal;
        self.meta.offset = to.offset;
    }

    /// Numbers that the chain says were used and that were not met before `at`.
    pub(crate) fn gap(&mut self, batch: &mut Batch, first: u64, after: u64, at: Pos) {
        if first < after {
            // As long as the gap is met, what explains it is needed.
            let segment = self.segments.entry(at.ordinal).or_default();
            segment.entry.add(first, after - 1, 0);
            batch.put(schema::number_key(b's', at.ordinal), &segment.entry);
        }
        let counted = self.rebuild.as_mut().is_some_and(|rebuild| rebuild.meets_gap(first, after, at));
        self.gaps.add(first, after, counted);
        for (first, after) in self.meta.missing.clone() {
            self.gaps.explain(first, after);
        }
    }

    /// The chain goes on here, whatever was met.
    pub(crate) fn set_chain(&mut self, chain: Chain) {
        self.meta.next_seq = chain.next_seq;
        self.meta.crc = chain.crc;
        self.linked = true;
    }

    /// The next chunk may follow one that is gone for good.
    pub(crate) fn forget_chain(&mut self) {
        self.linked = false;
    }

    pub(super) fn counting(&self, at: &ChunkAt) -> bool {
        self.rebuild.as_ref().is_none_or(|r| at.pos >= r.count_from)
    }

    pub(super) fn count(&mut self, batch: &mut Batch, lane: &LaneName, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lanes.entry(lane.clone()).or_default().counts);
        batch.lanes.insert(lane.clone());
    }

    /// Records that the index meets for the first time.
    pub(super) fn take_in(
        &mut self,
        batch: &mut Batch,
        at: &ChunkAt,
        lane: &LaneName,
        records: &[(u64, &Meta)],
        moved: bool,
    ) -> Result<(), Doubt> {
        let base = at.header.first_seq;
        let place = At::from(at.pos);
        let mut entry = Entry { at: place, count: 0, bytes: 0, received_at_ms: u64::MAX, bits: Vec::new() };
        let mut new = 0;
        let mut left = Vec::new();
        for (seq, meta) in records {
            let replaced = match meta.replaces {
                Some(old) if !moved => self.end_replaced(batch, lane, old)?,
                _ => None,
            };
            match replaced {
                Some(from) if from == *lane => {}
                // A person sends it elsewhere: it was given up there and is received here.
                Some(from) => {
                    new += 1;
                    left.push(from);
                }
                None => new += u64::from(!moved),
            }
            if moved && self.rebuild.as_ref().is_some_and(|r| r.ended.contains(*seq)) {
                continue;
            }
            let died = self.rebuild.as_mut().and_then(|r| r.died.remove(seq));
            if let Some(dead) = meta.dead.clone().or(died) {
                self.put_dead(batch, lane, *seq, place, dead);
                continue;
            }
            entry.set(seq - base);
            entry.count += 1;
            entry.bytes += u64::from(meta.body_bytes);
            entry.received_at_ms = entry.received_at_ms.min(meta.received_at_ms);
        }
        if self.counting(at) {
            self.count(batch, lane, |c| c.received += new);
            for from in left {
                self.count(batch, &from, |c| c.discarded += 1);
            }
        }
        if entry.count > 0 {
            self.live(at.pos.ordinal, i64::from(entry.count));
            self.follow_entry(batch, lane, base, None, Some(&entry));
        }
        Ok(())
    }

    /// Records that lie elsewhere from now on; those that ended meanwhile do not come back.
    pub(super) fn follow_move(
        &mut self,
        batch: &mut Batch,
        at: &ChunkAt,
        lane: &LaneName,
        records: &[(u64, &Meta)],
    ) -> Result<(), Doubt> {
        let base = at.header.first_seq;
        let place = At::from(at.pos);
        if let Some(mut entry) = batch.get::<Entry>(&schema::entry_key(lane, base))? {
            let old = entry.clone();
            for i in old.ones() {
                match records.iter().find(|(seq, _)| *seq == base + i) {
                    Some((_, Meta { dead: None, .. })) => {}
                    Some((seq, Meta { dead: Some(dead), .. })) if self.rebuild.is_some() => {
                        entry.clear(i);
                        self.live(old.at.ordinal, -1);
                        self.put_dead(batch, lane, *seq, place, dead.clone());
                    }
                    // It ended before the move; what said so was carried on behind it.
                    None if self.rebuild.is_some() => {
                        entry.clear(i);
                        self.live(old.at.ordinal, -1);
                    }
                    _ => return Err(mismatch("a relocation that leaves records behind", at)),
                }
            }
            let waiting = i64::try_from(entry.waiting()).expect("a chunk has few records");
            self.live(old.at.ordinal, -waiting);
            self.live(place.ordinal, waiting);
            entry.at = place;
            let still = (waiting > 0).then_some(&entry);
            self.follow_entry(batch, lane, base, Some(&old), still);
        }
        for (seq, _) in records {
            let key = schema::number_key(b'd', *seq);
            if let Some(dead) = batch.get::<DeadEntry>(&key)? {
                self.live(dead.at.ordinal, -1);
                self.live(place.ordinal, 1);
                batch.put(key, &DeadEntry { at: place, ..dead });
            }
        }
        Ok(())
    }
}

pub(super) fn mismatch(what: &str, at: &ChunkAt) -> Doubt {
    Doubt::Mismatch(format!("{what} at {}:{}", at.pos.ordinal, at.pos.offset))
}
