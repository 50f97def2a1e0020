//! What happens to a store's files while it is closed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::BLOCK;

/// Files are numbered as the specimen lists them.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Flip {
        file: usize,
        at: u64,
    },
    /// One byte each at several places, as (file, at).
    Flips(Vec<(usize, u64)>),
    Zero {
        file: usize,
        at: u64,
    },
    SwapBlocks {
        file: usize,
        at: u64,
        with: u64,
    },
    Cut {
        file: usize,
        at: u64,
    },
    Missing {
        file: usize,
    },
    SwapFiles {
        a: usize,
        b: usize,
    },
    /// A copy under the name of a segment to be.
    LeftTemporary {
        file: usize,
    },
    /// A copy under a second name of the same segment.
    LeftTwice {
        file: usize,
    },
}

impl Damage {
    /// Does it to `files`, given by number.
    pub(crate) fn strike(&self, files: &[PathBuf]) {
        match *self {
            Self::Flip { file, at } => flip(&files[file], at),
            Self::Flips(ref places) => places.iter().for_each(|(file, at)| flip(&files[*file], *at)),
            Self::Zero { file, at } => change(&files[file], |bytes| block(bytes, at).fill(0)),
            Self::SwapBlocks { file, at, with } => change(&files[file], |bytes| {
                let one = block(bytes, at).to_vec();
                let other = block(bytes, with).to_vec();
                let n = one.len().min(other.len());
                block(bytes, at)[..n].copy_from_slice(&other[..n]);
                block(bytes, with)[..n].copy_from_slice(&one[..n]);
            }),
            Self::Cut { file, at } => {
                fs::OpenOptions::new().write(true).open(&files[file]).unwrap().set_len(at).unwrap();
            }
            Self::Missing { file } => fs::remove_file(&files[file]).unwrap(),
            Self::SwapFiles { a, b } => {
                let aside = files[a].with_extension("aside");
                fs::rename(&files[a], &aside).unwrap();
                fs::rename(&files[b], &files[a]).unwrap();
                fs::rename(&aside, &files[b]).unwrap();
            }
            Self::LeftTemporary { file } => {
                fs::copy(&files[file], files[file].with_file_name("tmp-0000000000000001")).unwrap();
            }
            Self::LeftTwice { file } => {
                fs::copy(&files[file], second_name(&files[file])).unwrap();
            }
        }
    }

    /// The bytes of a file that are not what they were, as (file, from, to).
    pub(crate) fn places(&self) -> Vec<(usize, u64, u64)> {
        match *self {
            Self::Flip { file, at } => vec![(file, at, at + 1)],
            Self::Flips(ref places) => places.iter().map(|(file, at)| (*file, *at, at + 1)).collect(),
            Self::Zero { file, at } => vec![(file, at, at + BLOCK)],
            Self::SwapBlocks { file, at, with } => vec![(file, at, at + BLOCK), (file, with, with + BLOCK)],
            Self::Cut { file, at } => vec![(file, at, u64::MAX)],
            Self::Missing { file } => vec![(file, 0, u64::MAX)],
            Self::SwapFiles { a, b } => vec![(a, 0, u64::MAX), (b, 0, u64::MAX)],
            Self::LeftTemporary { .. } | Self::LeftTwice { .. } => vec![],
        }
    }
}

/// The same ordinal with another id.
fn second_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap().to_str().unwrap();
    path.with_file_name(format!("{}-00000000000000aa.log", &name[..20]))
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let at = at.min(file.metadata().unwrap().len() - 1);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn block(bytes: &mut [u8], at: u64) -> &mut [u8] {
    let from = index(at).min(bytes.len());
    let to = (from + index(BLOCK)).min(bytes.len());
    &mut bytes[from..to]
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap()
}
