//! The bytes of one file, as a device has them: what was flushed, and apart from it what was not.
//!
//! A cut leaves, of every sector that was not flushed, the old bytes, any of the newer ones, or a part
//! of each; and any of the lengths that the file has had since.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::luck::Luck;

pub(crate) const SECTOR: usize = 512;
/// A sector is torn in so many of those that are kept.
const TORN_ONE_IN: u64 = 8;

/// A file's bytes.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// What a cut cannot take.
    kept: Vec<u8>,
    /// What a reader sees.
    pub(crate) now: Vec<u8>,
    /// What makes the one of the other, in order.
    unflushed: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What a cut did to sectors.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sectors {
    pub(crate) lost: u64,
    pub(crate) torn: u64,
}

impl Content {
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        let change = Change::Write(at, bytes.to_vec());
        change.make(&mut self.now);
        self.unflushed.push(change);
    }

    pub(crate) fn set_length(&mut self, length: usize) {
        let change = Change::Length(length);
        change.make(&mut self.now);
        self.unflushed.push(change);
    }

    /// Up to `bytes` from `at`.
    pub(crate) fn read(&self, at: usize, bytes: usize) -> &[u8] {
        let end = at.saturating_add(bytes).min(self.now.len());
        &self.now[at.min(end)..end]
    }

    pub(crate) fn flush(&mut self) {
        for change in self.unflushed.drain(..) {
            change.make(&mut self.kept);
        }
    }

    /// What a failed flush leaves.
    pub(crate) fn forget_unflushed(&mut self) {
        self.unflushed.clear();
        self.now.clone_from(&self.kept);
    }

    /// What is there after the power was cut.
    pub(crate) fn cut(&mut self, luck: Luck, dice: &mut Dice) -> Sectors {
        let mut sectors = Sectors::default();
        if self.unflushed.is_empty() {
            return sectors;
        }
        let mut lengths = vec![self.kept.len()];
        let mut versions: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
        let mut work = self.kept.clone();
        for change in self.unflushed.drain(..) {
            let before = work.len();
            change.make(&mut work);
            lengths.push(work.len());
            for sector in change.sectors(before) {
                versions.entry(sector).or_default().push(bytes_of(&work, sector));
            }
        }
        let length = if luck.keeps(dice) { pick(dice, &lengths[1..]) } else { &lengths[0] };
        self.kept.resize(*length, 0);
        for (sector, newer) in versions {
            let old = bytes_of(&self.kept, sector);
            let mut left = old.clone();
            if luck.keeps(dice) {
                left.clone_from(if luck.is_whole() { &newer[newer.len() - 1] } else { pick(dice, &newer) });
                if !luck.is_whole() && left != old && dice.one_in(TORN_ONE_IN) {
                    let from = below(dice, SECTOR);
                    left[from..].copy_from_slice(&old[from..]);
                    sectors.torn += 1;
                }
            } else {
                sectors.lost += u64::from(newer[newer.len() - 1] != old);
            }
            let from = (sector * SECTOR).min(*length);
            let to = (from + SECTOR).min(*length);
            self.kept[from..to].copy_from_slice(&left[..to - from]);
        }
        self.now.clone_from(&self.kept);
        sectors
    }
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, new) => {
                let end = at + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(new);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// Sectors that it changes in a file that had this length.
    fn sectors(&self, length: usize) -> std::ops::Range<usize> {
        let (from, to) = match self {
            Self::Write(at, new) => (*at, at + new.len()),
            // What is cut off is zeros if the file grows again.
            Self::Length(to) => (*to, length.max(*to)),
        };
        from / SECTOR..to.div_ceil(SECTOR)
    }
}

/// A sector's bytes; what lies behind the end is zeros.
fn bytes_of(bytes: &[u8], sector: usize) -> Vec<u8> {
    let from = (sector * SECTOR).min(bytes.len());
    let to = (from + SECTOR).min(bytes.len());
    let mut all = bytes[from..to].to_vec();
    all.resize(SECTOR, 0);
    all
}

fn pick<'a, T>(dice: &mut Dice, of: &'a [T]) -> &'a T {
    &of[below(dice, of.len())]
}

fn below(dice: &mut Dice, n: usize) -> usize {
    usize::try_from(dice.between(0..=n as u64 - 1)).expect("is below a usize")
}
