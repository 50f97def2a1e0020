//! What each kind of note changes.

use revenium_migrations::log_v1::{Counts, Gone, LaneName, Note};

use super::apply::{Ended, mismatch};
use super::rebuild::Explained;
use super::schema::{self, Delay};
use super::{Batch, DELAYED_MAX, Doubt, Index};
use crate::chunk::ChunkAt;

/// The lane of records whose bytes are gone and whose lane nobody knows.
fn nowhere() -> LaneName {
    LaneName { profile: String::new(), route: u8::MAX }
}

impl Index {
    pub(super) fn take_note(
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
    pub(super) fn holds_any(
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
