//! Walking a segment chunk by chunk, past damage.
//!
//! Where a chunk should be and none fits, the scanner looks for the next one that does (its CRCs
//! are seeded by the segment's random id, so nothing else can pass) and reports the hole. How
//! many records a hole swallowed is told by the link of the next chunk, not guessed.

use std::io;

use memchr::memmem;
use revenium_migrations::log_v1::{CHUNK_MAGIC, SEGMENT_HEADER_BYTES};

use crate::chunk::{self, Chain, ChunkAt};
use crate::segment::Segment;

/// Offset of the first chunk of a segment.
pub(crate) const FIRST_CHUNK: u64 = SEGMENT_HEADER_BYTES as u64;

/// How far a segment's content is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Acknowledged up to here, and nothing behind it counts.
    Sealed(u64),
    /// Acknowledged up to here at least; behind it, whole and linked chunks count.
    AtLeast(u64),
    /// Nothing is known: whatever fits counts.
    Unknown,
}

/// What lies at a place.
pub(crate) enum Step {
    Chunk(ChunkAt, Vec<u8>),
    /// Damage, up to this offset.
    Hole(u64),
    End,
}

/// What lies at `offset` of `segment`, when `chain` is the chunk before.
pub(crate) fn step(segment: &Segment, offset: u64, until: Until, chain: Option<Chain>) -> io::Result<Step> {
    let (sure, hard) = match until {
        Until::Sealed(end) => (end, true),
        Until::AtLeast(end) => (end, false),
        Until::Unknown => (segment.bytes, true),
    };
    if offset >= sure && hard {
        return Ok(Step::End);
    }
    let limit = if offset < sure { sure } else { segment.bytes };
    if let Some(found) = whole(segment, offset, limit)? {
        // What was acknowledged was flushed with its bodies; where that is not known, look.
        let known = until != Until::Unknown;
        if offset < sure && (known || chunk::bodies(segment, &found.0)?.is_some()) {
            return Ok(Step::Chunk(found.0, found.1));
        }
        // Never acknowledged: it counts only if it is whole and follows the chunk before.
        let linked = offset >= sure
            && chain.is_none_or(|c| {
                c.crc == found.0.header.prev_crc && c.next_seq <= found.0.header.prev_next_seq
            });
        if linked && chunk::bodies(segment, &found.0)?.is_some() {
            return Ok(Step::Chunk(found.0, found.1));
        }
    }
    if offset >= sure {
        return Ok(Step::End);
    }
    Ok(match (resync(segment, offset + 1, sure)?, until) {
        (Some(next), _) => Step::Hole(next),
        (None, Until::Unknown) => Step::End,
        (None, _) => Step::Hole(sure),
    })
}

fn whole(segment: &Segment, offset: u64, limit: u64) -> io::Result<Option<(ChunkAt, Vec<u8>)>> {
    let Some(at) = chunk::header_at(segment, offset, limit)? else { return Ok(None) };
    Ok(chunk::directory(segment, &at)?.map(|d| (at, d)))
}

/// The offset of the first valid chunk in `from..limit`.
fn resync(segment: &Segment, from: u64, limit: u64) -> io::Result<Option<u64>> {
    const BLOCK_BYTES: usize = 1 << 20;
    let finder = memmem::Finder::new(&CHUNK_MAGIC);
    let mut block = vec![0; BLOCK_BYTES];
    let mut start = from;
    while start < limit {
        let n = usize::try_from((limit - start).min(BLOCK_BYTES as u64)).expect("at most a block");
        segment.file.read_at(&mut block[..n], start)?;
        for i in finder.find_iter(&block[..n]) {
            if whole(segment, start + i as u64, limit)?.is_some() {
                return Ok(Some(start + i as u64));
            }
        }
        if n <= CHUNK_MAGIC.len() {
            break;
        }
        // The magic may lie across two blocks.
        start += (n - (CHUNK_MAGIC.len() - 1)) as u64;
    }
    Ok(None)
}
