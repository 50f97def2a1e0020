//! Log format 1, frozen.
//!
//! A segment is a file of fixed size, overwritten in place and recycled by rename:
//!
//! ```text
//! 0      128                                              segment_bytes
//! ├header─┼chunk─┼chunk─┼ … ─┼ (zeros, or what an earlier life left) ┤
//!
//! segment header, little endian          chunk header, little endian
//!   0 magic      "RVSEGMT1"                0 magic        "RVCK"
//!   8 format     u8 (1)                    4 format       u8 (1)
//!  16 id         u64 random                5 kind         u8 (1 records 2 relocation 3 notes 4 checkpoint)
//!  24 ordinal    u64                       6 codec        u8 (0 none 1 zstd), of the bodies
//!  32 first_seq  u64                       8 first_seq    u64
//!  40 prev_ordinal u64                    16 count        u32
//!  48 prev_end   u64                      20 directory_bytes u32
//!  56 prev_crc   u32                      24 stored_bytes u32 (bodies as stored)
//! 124 crc        u32                      28 raw_bytes    u32 (bodies as they were)
//!                                         32 prev_next_seq u64
//!                                         40 prev_crc     u32
//!                                         44 directory_crc u32
//!                                         48 bodies_crc   u32
//!                                         52 next_seq     u64
//!                                         60 crc          u32
//! ```
//!
//! A chunk is its header, its directory (bincode, never compressed) and its bodies, one after
//! another. The CRCs of a chunk are CRC32C seeded by the segment's id and the chunk's offset, so
//! that neither a recycled file's old chunks nor a chunk in the wrong place can pass.
//! `prev_*` chain each chunk to the one before it (across segments): a broken link says exactly
//! how many sequence numbers are missing. A segment's `prev_end` says where the log left the
//! segment before it; what lies behind that was never acknowledged.

use bincode::Options as _;
use serde::{Deserialize, Serialize};

/// This format's number.
pub const FORMAT: u8 = 1;
/// Where the first chunk of a segment begins.
pub const SEGMENT_HEADER_BYTES: usize = 128;
/// Bytes of a chunk's header.
pub const CHUNK_HEADER_BYTES: usize = 64;
/// How a segment begins.
pub const SEGMENT_MAGIC: [u8; 8] = *b"RVSEGMT1";
/// How a chunk begins.
pub const CHUNK_MAGIC: [u8; 4] = *b"RVCK";
/// Longest directory that a decoder accepts, in bytes: bounds what a damaged length can ask for.
pub const DIRECTORY_BYTES_MAX: u64 = 64 << 20;

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Random; seeds every CRC in the segment.
    pub id: u64,
    /// The segment's place in the log, counted from 1.
    pub ordinal: u64,
    /// No record in it that was not relocated has a smaller number.
    pub first_seq: u64,
    /// The segment before it, 0 if it is the first.
    pub prev_ordinal: u64,
    /// Where the log left that segment: the end of its last chunk that counts.
    pub prev_end: u64,
    /// CRC of that last chunk's header.
    pub prev_crc: u32,
}

/// What decoding a header may find instead of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAHeader {
    /// Not ours, stale or damaged.
    Invalid,
    /// A whole header of a newer format.
    TooNew(u8),
}

impl SegmentHeader {
    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut b = [0; SEGMENT_HEADER_BYTES];
        b[..8].copy_from_slice(&SEGMENT_MAGIC);
        b[8] = FORMAT;
        b[16..24].copy_from_slice(&self.id.to_le_bytes());
        b[24..32].copy_from_slice(&self.ordinal.to_le_bytes());
        b[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        b[40..48].copy_from_slice(&self.prev_ordinal.to_le_bytes());
        b[48..56].copy_from_slice(&self.prev_end.to_le_bytes());
        b[56..60].copy_from_slice(&self.prev_crc.to_le_bytes());
        let crc = crc32c::crc32c(&b[..124]);
        b[124..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// Reads a header back.
    ///
    /// # Errors
    /// [`NotAHeader`], when the magic or the CRC does not fit or the format is a newer one.
    pub fn decode(b: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, NotAHeader> {
        if b[..8] != SEGMENT_MAGIC || crc32c::crc32c(&b[..124]) != u32_at(b, 124) {
            return Err(NotAHeader::Invalid);
        }
        if b[8] != FORMAT {
            return Err(NotAHeader::TooNew(b[8]));
        }
        Ok(Self {
            id: u64_at(b, 16),
            ordinal: u64_at(b, 24),
            first_seq: u64_at(b, 32),
            prev_ordinal: u64_at(b, 40),
            prev_end: u64_at(b, 48),
            prev_crc: u32_at(b, 56),
        })
    }
}

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ChunkKind {
    /// New records, numbered from the header's `first_seq`.
    Records = 1,
    /// Records that moved: those of one earlier chunk that are still needed.
    Relocation = 2,
    /// What became of records.
    Notes = 3,
    /// Counts and marks as of an earlier position.
    Checkpoint = 4,
}

impl ChunkKind {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Records, Self::Relocation, Self::Notes, Self::Checkpoint]
            .into_iter()
            .find(|k| *k as u8 == code)
    }
}

/// The header of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHeader {
    /// What it holds.
    pub kind: ChunkKind,
    /// 0: bodies as they are; 1: zstd.
    pub codec: u8,
    /// Records: the first number. Relocation: the first number of the original chunk.
    pub first_seq: u64,
    /// Entries in the directory.
    pub count: u32,
    /// Bytes of the directory.
    pub directory_bytes: u32,
    /// Bytes of the bodies as stored.
    pub stored_bytes: u32,
    /// Bytes of the bodies before compression.
    pub raw_bytes: u32,
    /// `next_seq` of the chunk before.
    pub prev_next_seq: u64,
    /// CRC of the header of the chunk before.
    pub prev_crc: u32,
    /// CRC of the directory.
    pub directory_crc: u32,
    /// CRC of the bodies as stored.
    pub bodies_crc: u32,
    /// The first number that neither this chunk nor any before it used.
    pub next_seq: u64,
}

/// Seed of the CRCs of a chunk at `offset` of the segment `id`.
#[must_use]
pub fn crc_seed(id: u64, offset: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&id.to_le_bytes()), &offset.to_le_bytes())
}

/// CRC of a chunk's directory or bodies.
#[must_use]
pub fn crc(seed: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, bytes)
}

impl ChunkHeader {
    /// Bytes of the whole chunk.
    #[must_use]
    pub fn chunk_bytes(&self) -> u64 {
        CHUNK_HEADER_BYTES as u64 + u64::from(self.directory_bytes) + u64::from(self.stored_bytes)
    }

    /// The header as bytes, with its own CRC last.
    #[must_use]
    pub fn encode(&self, seed: u32) -> ([u8; CHUNK_HEADER_BYTES], u32) {
        let mut b = [0; CHUNK_HEADER_BYTES];
        b[..4].copy_from_slice(&CHUNK_MAGIC);
        b[4] = FORMAT;
        b[5] = self.kind as u8;
        b[6] = self.codec;
        b[8..16].copy_from_slice(&self.first_seq.to_le_bytes());
        b[16..20].copy_from_slice(&self.count.to_le_bytes());
        b[20..24].copy_from_slice(&self.directory_bytes.to_le_bytes());
        b[24..28].copy_from_slice(&self.stored_bytes.to_le_bytes());
        b[28..32].copy_from_slice(&self.raw_bytes.to_le_bytes());
        b[32..40].copy_from_slice(&self.prev_next_seq.to_le_bytes());
        b[40..44].copy_from_slice(&self.prev_crc.to_le_bytes());
        b[44..48].copy_from_slice(&self.directory_crc.to_le_bytes());
        b[48..52].copy_from_slice(&self.bodies_crc.to_le_bytes());
        b[52..60].copy_from_slice(&self.next_seq.to_le_bytes());
        let crc = crc(seed, &b[..60]);
        b[60..].copy_from_slice(&crc.to_le_bytes());
        (b, crc)
    }

    /// Reads a header back, with its CRC.
    ///
    /// # Errors
    /// [`NotAHeader`], when anything does not fit.
    pub fn decode(b: &[u8; CHUNK_HEADER_BYTES], seed: u32) -> Result<(Self, u32), NotAHeader> {
        let own = u32_at(b, 60);
        if b[..4] != CHUNK_MAGIC || crc(seed, &b[..60]) != own {
            return Err(NotAHeader::Invalid);
        }
        if b[4] != FORMAT {
            return Err(NotAHeader::TooNew(b[4]));
        }
        let header = Self {
            kind: ChunkKind::from_code(b[5]).ok_or(NotAHeader::Invalid)?,
            codec: b[6],
            first_seq: u64_at(b, 8),
            count: u32_at(b, 16),
            directory_bytes: u32_at(b, 20),
            stored_bytes: u32_at(b, 24),
            raw_bytes: u32_at(b, 28),
            prev_next_seq: u64_at(b, 32),
            prev_crc: u32_at(b, 40),
            directory_crc: u32_at(b, 44),
            bodies_crc: u32_at(b, 48),
            next_seq: u64_at(b, 52),
        };
        Ok((header, own))
    }
}

/// The directory of a records chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// Names that `Meta::profile` points into.
    pub profiles: Vec<String>,
    /// One per record, in order.
    pub metas: Vec<Meta>,
}

/// One record but for its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Index into the chunk's profiles.
    pub profile: u16,
    /// Code of the route.
    pub route: u8,
    /// Idempotency-Key.
    pub key: Key,
    /// Whether the key identifies the record.
    pub key_is_identity: bool,
    /// Producer and number.
    pub number: Option<([u8; 16], u64)>,
    /// Hash of what the sender sent.
    pub fingerprint: u64,
    /// Milliseconds since 1970.
    pub received_at_ms: u64,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// Set when the record is a dead letter.
    pub dead: Option<Dead>,
    /// The dead letter whose place it takes.
    pub replaces: Option<u64>,
}

/// An Idempotency-Key: most are UUIDs and then take 16 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// The lower-case hyphenated form of this UUID.
    Uuid([u8; 16]),
    /// Any other text.
    Text(String),
}

/// Why a record is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// Code of the reason.
    pub reason: u8,
    /// HTTP status, 0 if none.
    pub status: u16,
    /// The refuser's words.
    pub words: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// The directory of a relocation chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    /// Original numbers, ascending, one per record.
    pub seqs: Vec<u64>,
    /// The records as they are now.
    pub records: Records,
}

/// The directory of a notes chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Said before, in a segment that is about to go: changes no count.
    pub carried: bool,
    /// In the order in which they happened.
    pub notes: Vec<Note>,
}

/// A lane as notes name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LaneName {
    /// Name of the profile.
    pub profile: String,
    /// Code of the route.
    pub route: u8,
}

/// How records that are no longer needed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Gone {
    /// The upstream confirmed them.
    Delivered,
    /// A person gave them up.
    Discarded,
    /// Damage took them.
    Lost,
    /// Another record took their place.
    Replaced,
}

/// What became of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// No longer needed: ranges of (first number, how many).
    Gone(Gone, LaneName, Vec<(u64, u32)>),
    /// Now a dead letter.
    Dead(LaneName, u64, Dead),
    /// Tried, to be tried again.
    Postponed {
        /// Its lane.
        lane: LaneName,
        /// Its number.
        seq: u64,
        /// Milliseconds since 1970.
        not_before_ms: u64,
        /// Attempts so far.
        attempts: u32,
        /// Milliseconds since 1970.
        first_attempt_at_ms: u64,
    },
    /// A small value kept for the caller; empty removes it.
    State(String, Vec<u8>),
    /// Records of no known lane that damage took.
    Missing {
        /// Ranges of (first number, first number after).
        ranges: Vec<(u64, u64)>,
        /// Whether they had been counted as received.
        counted: bool,
    },
    /// Segments, by ordinal, that are about to be recycled: their absence is not damage.
    Retired(Vec<u64>),
}

/// The directory of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The position it speaks of: every chunk before it is counted.
    pub ordinal: u64,
    /// Offset in that segment.
    pub offset: u64,
    /// Counts per lane.
    pub lanes: Vec<(LaneName, Counts)>,
    /// Numbers seen per producer.
    pub producers: Vec<Producer>,
    /// The caller's small values.
    pub states: Vec<(String, Vec<u8>)>,
    /// Damaged regions met so far.
    pub damaged_regions: u64,
    /// The segments that existed: ordinal, and where the log left it (0: not yet).
    pub segments: Vec<(u64, u64)>,
}

/// What was ever counted for a lane. What waits and what is dead is found by looking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Stored.
    pub received: u64,
    /// Confirmed.
    pub delivered: u64,
    /// Given up.
    pub discarded: u64,
    /// Destroyed by damage.
    pub lost: u64,
}

/// The numbers seen of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    /// Its id.
    pub id: [u8; 16],
    /// Ranges of (first, last), ascending, apart.
    pub seen: Vec<(u64, u64)>,
    /// Milliseconds since 1970.
    pub last_used_ms: u64,
}

/// Encodes a directory.
///
/// # Panics
/// Never for the structs of this module: they hold nothing that bincode cannot encode.
#[must_use]
pub fn encode<T: Serialize>(directory: &T) -> Vec<u8> {
    bincode::DefaultOptions::new().serialize(directory).expect("plain data encodes")
}

/// Decodes a directory; trailing bytes are an error.
///
/// # Errors
/// When the bytes are not exactly one `T`. The CRC was right then, so a writer was wrong.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    bincode::DefaultOptions::new()
        .with_limit(DIRECTORY_BYTES_MAX)
        .deserialize(bytes)
        .map_err(|e| e.to_string())
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("eight bytes"))
}
