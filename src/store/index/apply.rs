//! Following the log: what each chunk changes, as one batch.

use std::collections::{BTreeMap, BTreeSet};

use revenium_migrations::log_v1::{self as v1, ChunkKind, Counts, Dead, Gone, LaneName, Meta, Note, Notes};

use super::rebuild::Explained;
use super::schema::{self, At, DeadEntry, Delay, Entry};
use super::{DELAYED_MAX, Doubt, Index, Rebuild, decode};
use crate::chunk::{self, Chain, ChunkAt};
use crate::segment::Pos;

/// Numbers that a chunk's notes spoke of: their claims are over.
pub(crate) type Ended = Vec<u64>;

/// The lane of records whose bytes are gone and whose lane nobody knows.
fn nowhere() -> LaneName {
    LaneName { profile: String::new(), route: u8::MAX }
}

/// Writes of the chunks of one turn, seen by the turn's own reads.
pub(crate) struct Batch {
    db: sled::Db,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    lanes: BTreeSet<LaneName>,
}

impl Batch {
    fn get<T: for<'de> serde::Deserialize<'de>>(&self, key: &[u8]) -> Result<Option<T>, Doubt> {
        match self.writes.get(key) {
            Some(written) => written.as_ref().map(|v| decode(v)).transpose(),
            None => self.db.get(key)?.map(|v| decode(&v)).transpose(),
        }
    }

    fn put<T: serde::Serialize>(&mut self, key: Vec<u8>, value: &T) {
        self.writes.insert(key, Some(v1::encode(value)));
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// The entry that speaks of `seq`, with its base.
    fn entry_of(&self, lane: &LaneName, seq: u64) -> Result<Option<(u64, Entry)>, Doubt> {
        let prefix = schema::entries_prefix(lane);
        let mut above = schema::entry_key(lane, seq.saturating_add(1));
        // The next key below, written by this batch or before it, that is not deleted by it.
        loop {
            let stored = self.db.get_lt(&above)?.map(|(key, _)| key.to_vec());
            let written = self.writes.range(prefix.clone()..above).next_back().map(|(key, _)| key.clone());
            let Some(key) = stored.max(written).filter(|key| key.starts_with(&prefix)) else {
                return Ok(None);
            };
            if let Some(entry) = self.get::<Entry>(&key)? {
                let (_, base) = schema::parse_entry_key(&key).ok_or(Doubt::Value)?;
                return Ok(Some((base, entry)));
            }
            above = key;
        }
    }

    /// Whether any of the numbers `first..after` waits in the lane.
    fn waits_within(&self, lane: &LaneName, first: u64, after: u64) -> Result<bool, Doubt> {
        let mut above = after;
        while above > first {
            let Some((base, entry)) = self.entry_of(lane, above - 1)? else { return Ok(false) };
            if entry.ones().any(|i| (first..after).contains(&(base + i))) {
                return Ok(true);
            }
            above = base;
        }
        Ok(false)
    }

    /// Whether any of the numbers `first..after` is a dead letter.
    fn is_dead_within(&self, first: u64, after: u64) -> Result<bool, Doubt> {
        let (from, to) = (schema::number_key(b'd', first), schema::number_key(b'd', after));
        if self.writes.range(from.clone()..to.clone()).any(|(_, written)| written.is_some()) {
            return Ok(true);
        }
        for stored in self.db.range(from..to) {
            // What this batch deletes is dead no more.
            if !self.writes.contains_key(stored?.0.as_ref()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Index {
    /// What the next chunks change is gathered here.
    pub(crate) fn begin(&self) -> Batch {
        Batch { db: self.db.clone(), writes: BTreeMap::new(), lanes: BTreeSet::new() }
    }

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

    /// Begins a rebuild of an empty index from `first`, given what its segment's header says of the
    /// chunk before, and what the latest checkpoint says.
    pub(crate) fn begin_rebuild(
        &mut self,
        first: Pos,
        link: Option<Chain>,
        (retired_to, checkpoint): (u64, Option<v1::Checkpoint>),
    ) -> Result<(), Doubt> {
        let checkpoint = checkpoint.unwrap_or_default();
        let count_from = Pos { ordinal: checkpoint.ordinal, offset: checkpoint.offset };
        let has_vanished = checkpoint.segments.iter().any(|(ordinal, _)| *ordinal < first.ordinal);
        self.meta.rebuilding = true;
        self.meta.damaged_regions = checkpoint.damaged_regions;
        self.go_to(first);
        self.rebuild = Some(Rebuild {
            count_from,
            // The first log of all begins with the first number.
            begins_blind: link.is_none() && (first.ordinal == 1 || count_from != Pos::default()),
            retired_to,
            expected: checkpoint.segments.into_iter().map(|(ordinal, _)| ordinal).collect(),
            ..Rebuild::default()
        });
        for (lane, counts) in checkpoint.lanes {
            self.db.insert(schema::counts_key(&lane), v1::encode(&counts))?;
            self.lanes.entry(lane).or_default().counts = counts;
        }
        if let Some(link) = link {
            self.set_chain(link);
            if has_vanished {
                self.vanished(link.next_seq, first);
            }
        }
        self.db.insert(schema::META, v1::encode(&self.meta))?;
        Ok(())
    }

    /// Segments between these two are not there. True if they were retired, false if that is
    /// damage; an index that has not followed them all cannot go on.
    pub(crate) fn segments_are_absent(&self, from: u64, to: u64) -> Result<bool, Doubt> {
        match &self.rebuild {
            Some(rebuild) => {
                let is_expected = rebuild.expected.iter().any(|o| from < *o && *o < to);
                Ok(!is_expected && to - 1 <= rebuild.retired_to)
            }
            None => Err(Doubt::Mismatch("segments went before it had followed them".into())),
        }
    }

    pub(crate) fn is_rebuilding(&self) -> bool {
        self.rebuild.is_some()
    }

    /// The log is followed to its end: an index like any other from now on.
    pub(crate) fn end_rebuild(&mut self) -> Result<(), Doubt> {
        if self.rebuild.take().is_some() {
            self.meta.rebuilding = false;
            self.db.insert(schema::META, v1::encode(&self.meta))?;
        }
        Ok(())
    }

    /// Hands the batch to sled, with how far it brings the index.
    pub(crate) fn commit(&mut self, mut batch: Batch) -> Result<(), Doubt> {
        for lane in std::mem::take(&mut batch.lanes) {
            let counts = self.lanes.entry(lane.clone()).or_default().counts;
            batch.put(schema::counts_key(&lane), &counts);
        }
        batch.put(schema::META.to_vec(), &self.meta);
        let mut sled_batch = sled::Batch::default();
        for (key, value) in batch.writes {
            match value {
                Some(value) => sled_batch.insert(key, value),
                None => sled_batch.remove(key),
            }
        }
        Ok(self.db.apply_batch(sled_batch)?)
    }

    fn counting(&self, at: &ChunkAt) -> bool {
        self.rebuild.as_ref().is_none_or(|r| at.pos >= r.count_from)
    }

    fn count(&mut self, batch: &mut Batch, lane: &LaneName, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lanes.entry(lane.clone()).or_default().counts);
        batch.lanes.insert(lane.clone());
    }

    /// Records that the index meets for the first time.
    fn take_in(
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
    fn follow_move(
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

    fn take_note(
        &mut self,
        batch: &mut Batch,
        at: &ChunkAt,
        note: Note,
        carried: bool,
        ended: &mut Ended,
    ) -> Result<(), Doubt> {
        let counting = !carried && self.counting(at);
        // An index that followed what was said first knows it. Since then more may have happened:
        // a claim that is out now is not ended by the note of an earlier try. One that sled gave back
        // older than the damage that took what was said first does not know it.
        if carried && self.rebuild.is_none() {
            match &note {
                Note::Gone(how, lane, ranges) => {
                    for (first, n) in ranges {
                        let after = first + u64::from(*n);
                        let met_as_gap = self.gaps.explain(*first, after);
                        if met_as_gap != Explained::default()
                            || self.holds_any(batch, *how, lane, *first, after)?
                        {
                            return Err(mismatch("an end that it has not followed", at));
                        }
                    }
                    return Ok(());
                }
                Note::Dead(lane, seq, _) if batch.waits_within(lane, *seq, seq + 1)? => {
                    return Err(mismatch("a death that it has not followed", at));
                }
                Note::Dead(..) | Note::Postponed { .. } => return Ok(()),
                Note::State(..) | Note::Retired(_) | Note::Missing { .. } => {}
            }
        }
        match note {
            Note::Gone(how, lane, ranges) => {
                for (first, n) in ranges {
                    let met_as_gap = self.gaps.explain(first, first + u64::from(n));
                    if counting && met_as_gap != Explained::default() {
                        self.count(batch, &lane, |c| {
                            c.received += met_as_gap.uncounted;
                            count_gone(c, how, met_as_gap.uncounted + met_as_gap.counted);
                        });
                    }
                    for seq in first..first + u64::from(n) {
                        ended.push(seq);
                        self.drop_delay(batch, seq);
                        let was_waiting = match how {
                            Gone::Replaced => self.clear_anywhere(batch, &lane, seq)?.is_some(),
                            _ => self.clear(batch, &lane, seq)?.is_some(),
                        };
                        let was_dead = !was_waiting && self.end_dead(batch, seq)?.is_some();
                        if let (false, false, Some(rebuild)) = (was_waiting, was_dead, &mut self.rebuild) {
                            rebuild.ended.insert(seq, usize::MAX);
                            rebuild.died.remove(&seq);
                        }
                        if counting && (was_waiting || was_dead) {
                            self.count(batch, &lane, |c| count_gone(c, how, 1));
                        }
                    }
                }
            }
            Note::Dead(lane, seq, dead) => {
                ended.push(seq);
                self.drop_delay(batch, seq);
                if let Some(place) = self.clear(batch, &lane, seq)? {
                    self.put_dead(batch, &lane, seq, place, dead);
                } else if let Some(rebuild) = &mut self.rebuild {
                    rebuild.died.insert(seq, dead);
                }
            }
            Note::Postponed { lane, seq, not_before_ms, attempts, first_attempt_at_ms } => {
                ended.push(seq);
                let waits = batch.entry_of(&lane, seq)?.is_some_and(|(base, e)| e.has(seq - base));
                if waits && (self.delayed.len() < DELAYED_MAX || self.delayed.contains_key(&seq)) {
                    let delay = Delay { lane, not_before_ms, attempts, first_attempt_at_ms };
                    batch.put(schema::number_key(b'p', seq), &delay);
                    self.delayed.insert(seq, delay);
                }
            }
            // Segments that are to go: what they hold is forgotten with their files.
            Note::State(..) | Note::Retired(_) => {}
            Note::Missing { ranges, counted } => {
                for (first, after) in ranges {
                    self.gaps.explain(first, after);
                    self.meta.missing.push((first, after));
                    if counting {
                        self.count(batch, &nowhere(), |c| {
                            c.lost += after - first;
                            c.received += if counted { 0 } else { after - first };
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether any of the numbers `first..after` waits where a note of such an end would look, or is dead.
    fn holds_any(
        &self,
        batch: &Batch,
        how: Gone,
        lane: &LaneName,
        first: u64,
        after: u64,
    ) -> Result<bool, Doubt> {
        let is_meant = |name: &LaneName| how == Gone::Replaced || name == lane;
        for (name, state) in &self.lanes {
            if state.waiting > 0 && is_meant(name) && batch.waits_within(name, first, after)? {
                return Ok(true);
            }
        }
        batch.is_dead_within(first, after)
    }

    /// Ends the waiting of `seq`; gives the place of its record if it did wait.
    fn clear(&mut self, batch: &mut Batch, lane: &LaneName, seq: u64) -> Result<Option<At>, Doubt> {
        let Some((base, old)) = batch.entry_of(lane, seq)? else { return Ok(None) };
        let mut entry = old.clone();
        if !entry.clear(seq - base) {
            return Ok(None);
        }
        self.live(entry.at.ordinal, -1);
        let still = (entry.waiting() > 0).then_some(&entry);
        self.follow_entry(batch, lane, base, Some(&old), still);
        Ok(Some(entry.at))
    }

    fn put_dead(&mut self, batch: &mut Batch, lane: &LaneName, seq: u64, at: At, note: Dead) {
        batch.put(schema::number_key(b'd', seq), &DeadEntry { lane: lane.clone(), at, note });
        self.lanes.entry(lane.clone()).or_default().dead += 1;
        self.live(at.ordinal, 1);
    }

    fn end_dead(&mut self, batch: &mut Batch, seq: u64) -> Result<Option<DeadEntry>, Doubt> {
        let key = schema::number_key(b'd', seq);
        let dead = batch.get::<DeadEntry>(&key)?;
        if let Some(dead) = &dead {
            batch.delete(key);
            self.lanes.entry(dead.lane.clone()).or_default().dead -= 1;
            self.live(dead.at.ordinal, -1);
        }
        Ok(dead)
    }

    /// Ends the dead letter whose place another record takes; gives its lane if there is one. In a
    /// rebuild the note of its death may be gone: it is not needed once it was replaced.
    fn end_replaced(
        &mut self,
        batch: &mut Batch,
        lane: &LaneName,
        old: u64,
    ) -> Result<Option<LaneName>, Doubt> {
        if let Some(dead) = self.end_dead(batch, old)? {
            return Ok(Some(dead.lane));
        }
        if let Some(from) = self.clear_anywhere(batch, lane, old)? {
            return Ok(Some(from));
        }
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.ended.insert(old, usize::MAX);
        }
        // Its bytes are gone. Had it been received before, what takes its place counts no more than it did.
        let was_received = self.gaps.explain(old, old + 1).counted > 0;
        Ok(was_received.then(|| lane.clone()))
    }

    /// Ends the waiting of `seq`, in `lane` as a rule; gives the lane that it waited in. What took
    /// its place may be in another, and says only that.
    fn clear_anywhere(
        &mut self,
        batch: &mut Batch,
        lane: &LaneName,
        seq: u64,
    ) -> Result<Option<LaneName>, Doubt> {
        if self.clear(batch, lane, seq)?.is_some() {
            return Ok(Some(lane.clone()));
        }
        let others: Vec<LaneName> = self.lanes.keys().filter(|other| *other != lane).cloned().collect();
        for other in others {
            if self.clear(batch, &other, seq)?.is_some() {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    fn drop_delay(&mut self, batch: &mut Batch, seq: u64) {
        if self.delayed.remove(&seq).is_some() {
            batch.delete(schema::number_key(b'p', seq));
        }
    }

    /// Writes an entry's new state and follows the lane's sums.
    fn follow_entry(
        &mut self,
        batch: &mut Batch,
        lane: &LaneName,
        base: u64,
        old: Option<&Entry>,
        new: Option<&Entry>,
    ) {
        let sums = |e: Option<&Entry>| e.map_or((0, 0), |e| (e.waiting(), e.waiting_bytes()));
        let (before, after) = (sums(old), sums(new));
        let state = self.lanes.entry(lane.clone()).or_default();
        state.waiting = state.waiting + after.0 - before.0;
        state.waiting_bytes = state.waiting_bytes + after.1 - before.1;
        let key = schema::entry_key(lane, base);
        match new {
            Some(entry) => batch.put(key, entry),
            None => batch.delete(key),
        }
    }

    fn live(&mut self, ordinal: u64, change: i64) {
        let segment = self.segments.entry(ordinal).or_default();
        segment.live = segment.live.saturating_add_signed(change);
    }
}

fn count_gone(counts: &mut Counts, how: Gone, records: u64) {
    match how {
        Gone::Delivered => counts.delivered += records,
        Gone::Discarded => counts.discarded += records,
        Gone::Lost => counts.lost += records,
        // The record that took its place was not counted as received, so nothing is owed.
        Gone::Replaced => {}
    }
}

fn mismatch(what: &str, at: &ChunkAt) -> Doubt {
    Doubt::Mismatch(format!("{what} at {}:{}", at.pos.ordinal, at.pos.offset))
}
