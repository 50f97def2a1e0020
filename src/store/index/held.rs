//! Which of many numbers the index holds, asked for at once: for who reads all of the log.

use std::collections::HashSet;

use revenium_migrations::log_v1::LaneName;

use super::schema::{self, Entry};
use super::{Doubt, Index, decode};

/// Numbers that the index holds, at least those that it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) waiting: HashSet<u64>,
    pub(crate) dead: HashSet<u64>,
}

impl Index {
    /// Which of the numbers `first..after` wait, in these lanes or in any, and which are dead.
    pub(crate) fn held_within(
        &self,
        lanes: Option<&[LaneName]>,
        first: u64,
        after: u64,
    ) -> Result<Held, Doubt> {
        let mut held = Held::default();
        let all: Vec<&LaneName> = match lanes {
            Some(lanes) => lanes.iter().collect(),
            None => self.lanes.iter().filter(|(_, state)| state.waiting > 0).map(|(lane, _)| lane).collect(),
        };
        for lane in all {
            // The chunk that holds the first of them may have begun before.
            let below = self.db.get_lt(schema::entry_key(lane, first))?.map(|(key, _)| key.to_vec());
            let below = below.filter(|key| key.starts_with(&schema::entries_prefix(lane)));
            let from = below.unwrap_or_else(|| schema::entry_key(lane, first));
            for pair in self.db.range(from..schema::entry_key(lane, after)) {
                let (key, value) = pair?;
                let (_, base) = schema::parse_entry_key(&key).ok_or(Doubt::Value)?;
                held.waiting.extend(decode::<Entry>(&value)?.ones().map(|i| base + i));
            }
        }
        for key in self.db.range(schema::number_key(b'd', first)..schema::number_key(b'd', after)).keys() {
            held.dead.insert(schema::parse_number_key(&key?).ok_or(Doubt::Value)?);
        }
        Ok(held)
    }
}
