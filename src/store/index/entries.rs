//! What waits and what is dead, as the index has it: how single records end, die and are replaced.

use revenium_migrations::log_v1::{Dead, LaneName};

use super::schema::{self, At, DeadEntry, Entry};
use super::{Batch, Doubt, Index};

impl Index {
    /// Ends the waiting of `seq`; gives the place of its record if it did wait.
    pub(super) fn clear(
        &mut self,
        batch: &mut Batch,
        lane: &LaneName,
        seq: u64,
    ) -> Result<Option<At>, Doubt> {
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

    pub(super) fn put_dead(&mut self, batch: &mut Batch, lane: &LaneName, seq: u64, at: At, note: Dead) {
        batch.put(schema::number_key(b'd', seq), &DeadEntry { lane: lane.clone(), at, note });
        self.lanes.entry(lane.clone()).or_default().dead += 1;
        self.live(at.ordinal, 1);
    }

    pub(super) fn end_dead(&mut self, batch: &mut Batch, seq: u64) -> Result<Option<DeadEntry>, Doubt> {
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
    pub(super) fn end_replaced(
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
    pub(super) fn clear_anywhere(
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

    pub(super) fn drop_delay(&mut self, batch: &mut Batch, seq: u64) {
        if self.delayed.remove(&seq).is_some() {
            batch.delete(schema::number_key(b'p', seq));
        }
    }

    /// Writes an entry's new state and follows the lane's sums.
    pub(super) fn follow_entry(
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

    pub(super) fn live(&mut self, ordinal: u64, change: i64) {
        let segment = self.segments.entry(ordinal).or_default();
        segment.live = segment.live.saturating_add_signed(change);
    }
}
