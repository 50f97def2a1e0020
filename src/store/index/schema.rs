//! What the index keeps in sled, and under which keys.
//!
//! | key | value | |
//! |---|---|---|
//! | `w` lane 0 route base | [`Entry`] | records of one chunk and lane that still wait |
//! | `d` seq | [`DeadEntry`] | a dead letter and where its record lies |
//! | `p` seq | [`Delay`] | a record to be tried again later |
//! | `l` lane 0 route | counts | what was ever counted for a lane |
//! | `s` ordinal | [`SegmentEntry`] | which numbers a segment may hold |
//! | `m` | [`Meta`] | how far the log is applied; written with every batch |
//!
//! One tree; chunks are applied in batches, and sled applies a batch whole or not at all.

use std::sync::Arc;

use revenium_migrations::log_v1::{Dead, LaneName};
use serde::{Deserialize, Serialize};

use crate::segment::Pos;
use crate::types::Lane;

pub(crate) const META: &[u8] = b"m";

/// Where a chunk lies, as the index stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct At {
    pub(crate) ordinal: u64,
    pub(crate) offset: u64,
}

impl From<Pos> for At {
    fn from(pos: Pos) -> Self {
        Self { ordinal: pos.ordinal, offset: pos.offset }
    }
}

impl From<At> for Pos {
    fn from(at: At) -> Self {
        Self { ordinal: at.ordinal, offset: at.offset }
    }
}

/// The records of one chunk and lane that still wait: bit `i` stands for number `base + i`,
/// where `base` is the first number of the chunk in which they were first stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: At,
    /// Of the chunk as first stored: how many of this lane, and their bytes.
    pub(crate) count: u32,
    pub(crate) bytes: u64,
    pub(crate) received_at_ms: u64,
    pub(crate) bits: Vec<u64>,
}

impl Entry {
    pub(crate) fn has(&self, i: u64) -> bool {
        usize::try_from(i / 64).is_ok_and(|w| self.bits.get(w).is_some_and(|b| b >> (i % 64) & 1 == 1))
    }

    pub(crate) fn set(&mut self, i: u64) {
        let word = usize::try_from(i / 64).expect("a chunk has few records");
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (i % 64);
    }

    /// Whether the bit was set.
    pub(crate) fn clear(&mut self, i: u64) -> bool {
        let was = self.has(i);
        if was {
            self.bits[usize::try_from(i / 64).expect("has() was true")] &= !(1 << (i % 64));
        }
        was
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.bits.iter().map(|b| u64::from(b.count_ones())).sum()
    }

    /// Bytes of the waiting ones, as far as an average tells.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.bytes * self.waiting() / u64::from(self.count.max(1))
    }

    /// The set bits, ascending.
    pub(crate) fn ones(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        let words = self.bits.iter().enumerate().filter(|(_, word)| **word != 0);
        words
            .flat_map(|(w, word)| (0..64).filter(move |i| word >> i & 1 == 1).map(move |i| w as u64 * 64 + i))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadEntry {
    pub(crate) lane: LaneName,
    pub(crate) at: At,
    pub(crate) note: Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delay {
    pub(crate) lane: LaneName,
    pub(crate) not_before_ms: u64,
    pub(crate) attempts: u32,
    pub(crate) first_attempt_at_ms: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    /// Ranges of (first, last) of numbers whose records were put here; a few, and rather too wide.
    pub(crate) ranges: Vec<(u64, u64)>,
    /// Records put here.
    pub(crate) records: u64,
}

const RANGES_MAX: usize = 64;

impl SegmentEntry {
    pub(crate) fn add(&mut self, first: u64, last: u64, records: u64) {
        self.records += records;
        let full = self.ranges.len() >= RANGES_MAX;
        match self.ranges.last_mut() {
            Some(end) if full || (end.0 <= first && first <= end.1.saturating_add(1)) => {
                *end = (end.0.min(first), end.1.max(last));
            }
            _ => self.ranges.push((first, last)),
        }
    }

    pub(crate) fn may_hold(&self, seq: u64) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&seq))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) version: u32,
    /// Every chunk before this place is applied.
    pub(crate) ordinal: u64,
    pub(crate) offset: u64,
    /// Link to the last applied chunk.
    pub(crate) next_seq: u64,
    pub(crate) crc: u32,
    /// Set while a rebuild is under way: what a crash leaves of one is not used.
    pub(crate) rebuilding: bool,
    pub(crate) damaged_regions: u64,
    /// Ranges (first, first after) of numbers known to be missing.
    pub(crate) missing: Vec<(u64, u64)>,
}

pub(crate) fn lane_name(lane: &Lane) -> LaneName {
    LaneName { profile: lane.profile.to_string(), route: lane.route }
}

pub(crate) fn lane_of(name: &LaneName) -> Lane {
    Lane { profile: Arc::from(name.profile.as_str()), route: name.route }
}

fn lane_key(tag: u8, profile: &str, route: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(profile.len() + 11);
    key.push(tag);
    key.extend_from_slice(profile.as_bytes());
    key.extend_from_slice(&[0, route]);
    key
}

/// Prefix of the keys of a lane's entries.
pub(crate) fn entries_prefix(lane: &LaneName) -> Vec<u8> {
    lane_key(b'w', &lane.profile, lane.route)
}

pub(crate) fn entry_key(lane: &LaneName, base: u64) -> Vec<u8> {
    let mut key = entries_prefix(lane);
    key.extend_from_slice(&base.to_be_bytes());
    key
}

/// The lane and the base of an entry's key.
pub(crate) fn parse_entry_key(key: &[u8]) -> Option<(LaneName, u64)> {
    let (head, base) = key.split_at_checked(key.len().checked_sub(8)?)?;
    Some((parse_lane(head.get(1..)?)?, u64::from_be_bytes(base.try_into().ok()?)))
}

pub(crate) fn counts_key(lane: &LaneName) -> Vec<u8> {
    lane_key(b'l', &lane.profile, lane.route)
}

pub(crate) fn parse_counts_key(key: &[u8]) -> Option<LaneName> {
    parse_lane(key.get(1..)?)
}

fn parse_lane(bytes: &[u8]) -> Option<LaneName> {
    let (route, rest) = bytes.split_last()?;
    let (zero, profile) = rest.split_last()?;
    (*zero == 0).then_some(())?;
    Some(LaneName { profile: String::from_utf8(profile.to_vec()).ok()?, route: *route })
}

pub(crate) fn number_key(tag: u8, number: u64) -> Vec<u8> {
    let mut key = vec![tag];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn parse_number_key(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}
