//! The watermark: how far records were acknowledged, in a file of its own.
//!
//! Two slots of 64 bytes, written in turn, so that a torn write leaves the other. Written before
//! each acknowledgement (survives kill -9), flushed when the store is idle and every second.
//! When the log ends before it, acknowledged records are missing, and it tells how many.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::chunk::Chain;
use crate::file::LogFile;
use crate::options::Tap;
use crate::segment::Pos;

const NAME: &str = "watermark";
const SLOT_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"RVWMARK1";

/// The end of what was acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Where the last acknowledged chunk ends.
    pub(crate) end: Pos,
    /// The first number not yet used.
    pub(crate) next_seq: u64,
    /// CRC of the header of the last acknowledged chunk.
    pub(crate) crc: u32,
}

impl Mark {
    /// The last acknowledged chunk.
    pub(crate) fn chain(self) -> Chain {
        Chain { next_seq: self.next_seq, crc: self.crc }
    }
}

pub(crate) struct Watermark {
    file: LogFile,
    turn: u64,
}

impl Watermark {
    /// Opens the file in `dir`, made if absent, and gives what it last said.
    pub(crate) fn open(dir: &Path, tap: Option<Arc<dyn Tap>>) -> io::Result<(Self, Option<Mark>)> {
        let file = LogFile::open(&dir.join(NAME), true, tap)?;
        let newest = newest(&file)?;
        let turn = newest.map_or(0, |(turn, _)| turn + 1);
        Ok((Self { file, turn }, newest.map(|(_, mark)| mark)))
    }

    /// What the file in `dir` says, without making one.
    pub(crate) fn look(dir: &Path) -> io::Result<Option<Mark>> {
        match LogFile::open_to_read(&dir.join(NAME)) {
            Ok(file) => Ok(newest(&file)?.map(|(_, mark)| mark)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&mut self, mark: Mark) -> io::Result<()> {
        let offset = (self.turn % 2) * SLOT_BYTES as u64;
        self.file.write_at(&encode(self.turn, mark), offset)?;
        self.turn += 1;
        Ok(())
    }

    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.flush()
    }
}

fn newest(file: &LogFile) -> io::Result<Option<(u64, Mark)>> {
    let mut bytes = [0; 2 * SLOT_BYTES];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes.chunks(SLOT_BYTES).filter_map(decode).max_by_key(|(turn, _)| *turn))
}

fn encode(turn: u64, mark: Mark) -> [u8; SLOT_BYTES] {
    let mut b = [0; SLOT_BYTES];
    b[..8].copy_from_slice(&MAGIC);
    b[8..16].copy_from_slice(&turn.to_le_bytes());
    b[16..24].copy_from_slice(&mark.end.ordinal.to_le_bytes());
    b[24..32].copy_from_slice(&mark.end.offset.to_le_bytes());
    b[32..40].copy_from_slice(&mark.next_seq.to_le_bytes());
    b[40..44].copy_from_slice(&mark.crc.to_le_bytes());
    let crc = crc32c::crc32c(&b[..60]);
    b[60..].copy_from_slice(&crc.to_le_bytes());
    b
}

fn decode(b: &[u8]) -> Option<(u64, Mark)> {
    let u64_at = |at: usize| u64::from_le_bytes(b[at..at + 8].try_into().expect("eight bytes"));
    let u32_at = |at: usize| u32::from_le_bytes(b[at..at + 4].try_into().expect("four bytes"));
    if b[..8] != MAGIC || crc32c::crc32c(&b[..60]) != u32_at(60) {
        return None;
    }
    let end = Pos { ordinal: u64_at(16), offset: u64_at(24) };
    Some((u64_at(8), Mark { end, next_seq: u64_at(32), crc: u32_at(40) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_one_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mark = |n| Mark { end: Pos { ordinal: 1, offset: n }, next_seq: n, crc: 7 };
        let (mut w, none) = Watermark::open(dir.path(), None).unwrap();
        assert_eq!(none, None);
        for n in 1..=3 {
            w.write(mark(n)).unwrap();
        }
        drop(w);
        let path = dir.path().join("watermark");
        assert_eq!(Watermark::open(dir.path(), None).unwrap().1, Some(mark(3)));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1; // the third write lies in the first slot again
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Watermark::open(dir.path(), None).unwrap().1, Some(mark(2)));
    }
}
