//! What the chunks of one turn change, gathered for sled: it follows whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use revenium_migrations::log_v1::{self as v1, LaneName};

use super::schema::{self, Entry};
use super::{Doubt, Index, decode};

/// Writes of the chunks of one turn, seen by the turn's own reads.
pub(crate) struct Batch {
    db: sled::Db,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(super) lanes: BTreeSet<LaneName>,
}

impl Batch {
    pub(super) fn get<T: for<'de> serde::Deserialize<'de>>(&self, key: &[u8]) -> Result<Option<T>, Doubt> {
        match self.writes.get(key) {
            Some(written) => written.as_ref().map(|v| decode(v)).transpose(),
            None => self.db.get(key)?.map(|v| decode(&v)).transpose(),
        }
    }

    pub(super) fn put<T: serde::Serialize>(&mut self, key: Vec<u8>, value: &T) {
        self.writes.insert(key, Some(v1::encode(value)));
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// The entry that speaks of `seq`, with its base.
    pub(super) fn entry_of(&self, lane: &LaneName, seq: u64) -> Result<Option<(u64, Entry)>, Doubt> {
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
    pub(super) fn waits_within(&self, lane: &LaneName, first: u64, after: u64) -> Result<bool, Doubt> {
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
    pub(super) fn is_dead_within(&self, first: u64, after: u64) -> Result<bool, Doubt> {
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
}
