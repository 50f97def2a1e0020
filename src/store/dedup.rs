//! Recognising resends: the numbers of producers, exactly; recent keys, within a bound.
//!
//! A producer's numbers are kept as ranges for as long as it is among the `producers_max` most
//! recently used. Keys are kept for the `recent_keys_max` latest records that have one; after a
//! restart, for those of them whose segments still exist. Each key has the fingerprint of what
//! was sent, so that a conflict is told from a resend.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use revenium_migrations::log_v1::{Key, Producer};

use crate::ranges::Ranges;
use crate::types::ProducerId;

/// What is known of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    New,
    Resend,
    Conflict,
}

/// A producer sent numbers with more gaps than are remembered; accepting one more could later
/// take an event for a resend and lose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyGaps;

#[derive(Default)]
struct Seen {
    numbers: Ranges,
    last_used_ms: u64,
}

/// A key's 128 bits: a UUID is itself, another text is hashed (UUIDv5).
type KeyBits = u128;

pub(crate) struct Dedup {
    producers: HashMap<ProducerId, Seen>,
    producers_max: usize,
    ranges_max: usize,
    keys: HashMap<KeyBits, u64>,
    key_order: VecDeque<KeyBits>,
    keys_max: usize,
    /// Conflicts kept already (key and fingerprint), so that repeating one stores nothing.
    conflicts: HashSet<(KeyBits, u64)>,
}

const CONFLICTS_MAX: usize = 1024;

/// What a record is remembered by: its key if that identifies it, else its number.
///
/// A key that follows from a number stands for its producer, whatever the profile. Any other counts
/// within its profile: Revenium knows it by account, and the same bytes for another are another event.
pub(crate) fn identity(
    number: Option<(ProducerId, u64)>,
    key: Option<&Key>,
    profile: &str,
) -> Option<KeyBits> {
    match (number, key) {
        (Some(_), Some(key)) => Some(key_bits(key)),
        (None, Some(key)) => Some(within(profile, key_bits(key))),
        (number, None) => number.map(number_bits),
    }
}

fn key_bits(key: &Key) -> KeyBits {
    match key {
        Key::Uuid(bytes) => u128::from_be_bytes(*bytes),
        Key::Text(text) => uuid::Uuid::new_v5(&uuid::Uuid::nil(), text.as_bytes()).as_u128(),
    }
}

/// FNV-1a of 128 bits over the profile's name, begun with the key's bits.
fn within(profile: &str, bits: KeyBits) -> KeyBits {
    let fold =
        |hash: u128, byte| (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    profile.bytes().fold(bits, fold)
}

fn number_bits((producer, n): (ProducerId, u64)) -> KeyBits {
    uuid::Uuid::new_v5(&uuid::Uuid::from_bytes(producer.0), &n.to_le_bytes()).as_u128()
}

impl Dedup {
    pub(crate) fn new(producers_max: usize, ranges_max: usize, keys_max: usize) -> Self {
        Self {
            producers: HashMap::new(),
            producers_max,
            ranges_max,
            keys: HashMap::new(),
            key_order: VecDeque::new(),
            keys_max,
            conflicts: HashSet::new(),
        }
    }

    /// What is known of a record with this number and key.
    pub(crate) fn look(
        &self,
        number: Option<(ProducerId, u64)>,
        key: Option<KeyBits>,
        fingerprint: u64,
    ) -> Known {
        let seen_number =
            number.is_some_and(|(p, n)| self.producers.get(&p).is_some_and(|s| s.numbers.contains(n)));
        let by_number = || number.filter(|_| seen_number).and_then(|n| self.keys.get(&number_bits(n)));
        match key.and_then(|k| self.keys.get(&k)).or_else(by_number) {
            Some(known) if *known == fingerprint => Known::Resend,
            Some(_) => Known::Conflict,
            None if seen_number => Known::Resend,
            None => Known::New,
        }
    }

    /// Whether this very conflict was kept before; it is remembered from now on.
    pub(crate) fn conflict_is_new(&mut self, key: KeyBits, fingerprint: u64) -> bool {
        if self.conflicts.len() >= CONFLICTS_MAX {
            self.conflicts.clear();
        }
        self.conflicts.insert((key, fingerprint))
    }

    /// Forgets a conflict that was not kept after all.
    pub(crate) fn forget_conflict(&mut self, fingerprint: u64) {
        self.conflicts.retain(|(_, of)| *of != fingerprint);
    }

    /// Remembers a record. Keys are bounded by [`Dedup::forget_oldest_keys`], to be called after it.
    pub(crate) fn insert(
        &mut self,
        number: Option<(ProducerId, u64)>,
        key: Option<KeyBits>,
        fingerprint: u64,
        now_ms: u64,
    ) -> Result<(), TooManyGaps> {
        if let Some((producer, n)) = number {
            if !self.producers.contains_key(&producer) && self.producers.len() >= self.producers_max {
                self.forget_oldest_producer();
            }
            let seen = self.producers.entry(producer).or_default();
            if !seen.numbers.insert(n, self.ranges_max) {
                return Err(TooManyGaps);
            }
            seen.last_used_ms = seen.last_used_ms.max(now_ms);
        }
        if let Some(key) = key
            && self.keys.insert(key, fingerprint).is_none()
        {
            self.key_order.push_back(key);
        }
        Ok(())
    }

    /// Forgets the oldest keys beyond the bound. A step of its own, because it costs as much as
    /// remembering and nobody needs to wait for it.
    pub(crate) fn forget_oldest_keys(&mut self) {
        while self.key_order.len() > self.keys_max
            && let Some(oldest) = self.key_order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }

    /// Forgets a record that was not stored after all.
    pub(crate) fn remove(&mut self, number: Option<(ProducerId, u64)>, key: Option<KeyBits>) {
        if let Some((producer, n)) = number
            && let Some(seen) = self.producers.get_mut(&producer)
        {
            seen.numbers.remove(n);
        }
        if let Some(key) = key {
            self.keys.remove(&key);
            if let Some(i) = self.key_order.iter().rposition(|k| *k == key) {
                self.key_order.remove(i);
            }
        }
    }

    /// Takes over what a checkpoint knew.
    pub(crate) fn restore(&mut self, producers: Vec<Producer>) {
        for producer in producers {
            let seen = self.producers.entry(ProducerId(producer.id)).or_default();
            seen.last_used_ms = seen.last_used_ms.max(producer.last_used_ms);
            for range in producer.seen {
                seen.numbers.merge(range);
            }
        }
        while self.producers.len() > self.producers_max {
            self.forget_oldest_producer();
        }
    }

    /// What a checkpoint keeps.
    pub(crate) fn producers(&self) -> Vec<Producer> {
        let of = |(id, seen): (&ProducerId, &Seen)| Producer {
            id: id.0,
            seen: seen.numbers.iter().collect(),
            last_used_ms: seen.last_used_ms,
        };
        self.producers.iter().map(of).collect()
    }

    fn forget_oldest_producer(&mut self) {
        let oldest = self.producers.iter().min_by_key(|(_, s)| s.last_used_ms).map(|(p, _)| *p);
        if let Some(oldest) = oldest {
            self.producers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ProducerId = ProducerId([7; 16]);

    #[test]
    fn a_number_is_new_once_whatever_the_order() {
        let mut d = Dedup::new(4, 4, 4);
        for n in [5, 3, 4, 9, 6] {
            assert_eq!(d.look(Some((P, n)), None, 1), Known::New, "{n}");
            d.insert(Some((P, n)), None, 1, 0).unwrap();
            assert_eq!(d.look(Some((P, n)), None, 1), Known::Resend, "{n}");
        }
        assert_eq!(d.producers()[0].seen, vec![(3, 6), (9, 9)]);
    }

    #[test]
    fn the_same_key_with_other_bytes_is_a_conflict() {
        let mut d = Dedup::new(4, 4, 2);
        d.insert(None, Some(1), 10, 0).unwrap();
        assert_eq!(d.look(None, Some(1), 10), Known::Resend);
        assert_eq!(d.look(None, Some(1), 11), Known::Conflict);
        d.insert(None, Some(2), 10, 0).unwrap();
        d.insert(None, Some(3), 10, 0).unwrap();
        d.forget_oldest_keys();
        assert_eq!(d.look(None, Some(1), 10), Known::New, "beyond the bound it is forgotten");
        assert_eq!(d.look(None, Some(2), 10), Known::Resend);
    }

    #[test]
    fn gaps_are_bounded_by_refusing_never_by_forgetting() {
        let mut d = Dedup::new(4, 2, 4);
        d.insert(Some((P, 1)), None, 0, 0).unwrap();
        d.insert(Some((P, 3)), None, 0, 0).unwrap();
        assert_eq!(d.insert(Some((P, 5)), None, 0, 0), Err(TooManyGaps));
        d.insert(Some((P, 2)), None, 0, 0).unwrap();
        d.insert(Some((P, 5)), None, 0, 0).unwrap();
        assert_eq!(d.look(Some((P, 4)), None, 0), Known::New);
    }

    #[test]
    fn the_longest_unused_producer_is_forgotten_first() {
        let mut d = Dedup::new(2, 4, 4);
        for (p, at) in [(1, 10), (2, 5), (3, 20)] {
            d.insert(Some((ProducerId([p; 16]), 1)), None, 0, at).unwrap();
        }
        assert_eq!(d.look(Some((ProducerId([2; 16]), 1)), None, 0), Known::New);
        assert_eq!(d.look(Some((ProducerId([1; 16]), 1)), None, 0), Known::Resend);
    }
}
