//! Chunks: what one commit appends. Encoding is free of place; placing seals it with its CRCs.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use revenium_migrations::log_v1::{
    self as v1, CHUNK_HEADER_BYTES, Checkpoint, ChunkHeader, ChunkKind, Dead, Key, LaneName, Meta, Note,
    Notes, Records, Relocation,
};

use crate::segment::{Pos, Segment};
use crate::types::{DeadNote, Lane, NewRecord, ProducerId, Record, Seq};

const ZSTD_LEVEL: i32 = 1;
const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;

/// A chunk without a place: everything but its CRCs and its link to the chunk before.
pub(crate) struct Encoded {
    kind: ChunkKind,
    codec: u8,
    first_seq: u64,
    count: u32,
    directory: Vec<u8>,
    /// As they are stored: one after the other, or compressed together.
    bodies: Vec<Bytes>,
    stored_bytes: u32,
    raw_bytes: u32,
}

/// What the next chunk links to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) next_seq: u64,
    pub(crate) crc: u32,
}

impl Encoded {
    /// New records, numbered from `first_seq`.
    pub(crate) fn records(first_seq: u64, records: &[NewRecord], compress_bytes_min: u64) -> Self {
        let mut profiles = ProfileTable::default();
        let metas = records.iter().map(|r| meta_of(r, &mut profiles)).collect();
        let directory = v1::encode(&Records { profiles: profiles.names, metas });
        let bodies = records.iter().map(|r| r.body.clone()).collect();
        Self::with_bodies(
            ChunkKind::Records,
            first_seq,
            count(records.len()),
            directory,
            bodies,
            compress_bytes_min,
        )
    }

    /// Records of the chunk that began with `base`, moved.
    pub(crate) fn relocation(
        base: u64,
        moved: &Relocation,
        bodies: &[Bytes],
        compress_bytes_min: u64,
    ) -> Self {
        let directory = v1::encode(moved);
        let n = count(moved.seqs.len());
        Self::with_bodies(ChunkKind::Relocation, base, n, directory, bodies.to_vec(), compress_bytes_min)
    }

    pub(crate) fn notes(notes: &Notes) -> Self {
        Self::without_bodies(ChunkKind::Notes, count(notes.notes.len()), v1::encode(notes))
    }

    /// Says nothing, in bytes that no other chunk has.
    pub(crate) fn opening() -> Self {
        let unlike = Note::State("opening".into(), uuid::Uuid::new_v4().into_bytes().to_vec());
        Self::notes(&Notes { carried: false, notes: vec![unlike] })
    }

    pub(crate) fn checkpoint(checkpoint: &Checkpoint) -> Self {
        Self::without_bodies(ChunkKind::Checkpoint, 1, v1::encode(checkpoint))
    }

    fn without_bodies(kind: ChunkKind, count: u32, directory: Vec<u8>) -> Self {
        Self {
            kind,
            codec: CODEC_NONE,
            first_seq: 0,
            count,
            directory,
            bodies: Vec::new(),
            stored_bytes: 0,
            raw_bytes: 0,
        }
    }

    fn with_bodies(
        kind: ChunkKind,
        first_seq: u64,
        count: u32,
        directory: Vec<u8>,
        bodies: Vec<Bytes>,
        compress_bytes_min: u64,
    ) -> Self {
        let raw_bytes = len_u32(bodies.iter().map(Bytes::len).sum());
        let stored_bytes = raw_bytes;
        let mut encoded =
            Self { kind, codec: CODEC_NONE, first_seq, count, directory, bodies, stored_bytes, raw_bytes };
        if u64::from(raw_bytes) >= compress_bytes_min
            && let Ok(packed) = zstd::bulk::compress(&encoded.bodies.concat(), ZSTD_LEVEL)
            && packed.len() < raw_bytes as usize
        {
            encoded.codec = CODEC_ZSTD;
            encoded.stored_bytes = len_u32(packed.len());
            encoded.bodies = vec![packed.into()];
        }
        encoded
    }

    pub(crate) fn bytes(&self) -> u64 {
        (CHUNK_HEADER_BYTES + self.directory.len()) as u64 + u64::from(self.stored_bytes)
    }

    /// Appends the chunk to `buf` as it shall lie at `offset` of `segment_id`, linked to `chain`,
    /// which moves on.
    pub(crate) fn place(&self, segment_id: u64, offset: u64, chain: &mut Chain, buf: &mut Vec<u8>) {
        let seed = v1::crc_seed(segment_id, offset);
        let next_seq = match self.kind {
            ChunkKind::Records => self.first_seq + u64::from(self.count),
            _ => chain.next_seq,
        };
        let header = ChunkHeader {
            kind: self.kind,
            codec: self.codec,
            first_seq: self.first_seq,
            count: self.count,
            directory_bytes: len_u32(self.directory.len()),
            stored_bytes: self.stored_bytes,
            raw_bytes: self.raw_bytes,
            prev_next_seq: chain.next_seq,
            prev_crc: chain.crc,
            directory_crc: v1::crc(seed, &self.directory),
            bodies_crc: self.bodies.iter().fold(seed, |crc, body| v1::crc(crc, body)),
            next_seq,
        };
        let (bytes, crc) = header.encode(seed);
        buf.extend_from_slice(&bytes);
        buf.extend_from_slice(&self.directory);
        self.bodies.iter().for_each(|body| buf.extend_from_slice(body));
        *chain = Chain { next_seq, crc };
    }
}

/// A chunk found in a segment: its header and where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkAt {
    pub(crate) pos: Pos,
    pub(crate) header: ChunkHeader,
    pub(crate) crc: u32,
}

impl ChunkAt {
    pub(crate) fn end(&self) -> u64 {
        self.pos.offset + self.header.chunk_bytes()
    }

    pub(crate) fn chain(&self) -> Chain {
        Chain { next_seq: self.header.next_seq, crc: self.crc }
    }

    /// The link to the chunk before.
    pub(crate) fn prev(&self) -> Chain {
        Chain { next_seq: self.header.prev_next_seq, crc: self.header.prev_crc }
    }
}

/// The chunk header at `offset`, if a valid one that ends by `limit` is there.
pub(crate) fn header_at(segment: &Segment, offset: u64, limit: u64) -> io::Result<Option<ChunkAt>> {
    if offset + CHUNK_HEADER_BYTES as u64 > limit {
        return Ok(None);
    }
    let mut b = [0; CHUNK_HEADER_BYTES];
    segment.file.read_at(&mut b, offset)?;
    let Ok((header, crc)) = ChunkHeader::decode(&b, v1::crc_seed(segment.id, offset)) else {
        return Ok(None);
    };
    let at = ChunkAt { pos: Pos { ordinal: segment.ordinal, offset }, header, crc };
    Ok((at.end() <= limit).then_some(at))
}

/// The directory's bytes, `None` when damaged.
pub(crate) fn directory(segment: &Segment, at: &ChunkAt) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; at.header.directory_bytes as usize];
    segment.file.read_at(&mut bytes, at.pos.offset + CHUNK_HEADER_BYTES as u64)?;
    let seed = v1::crc_seed(segment.id, at.pos.offset);
    Ok((v1::crc(seed, &bytes) == at.header.directory_crc).then_some(bytes))
}

/// The bodies as they were, `None` when damaged.
pub(crate) fn bodies(segment: &Segment, at: &ChunkAt) -> io::Result<Option<Bytes>> {
    let mut stored = vec![0; at.header.stored_bytes as usize];
    let offset = at.pos.offset + CHUNK_HEADER_BYTES as u64 + u64::from(at.header.directory_bytes);
    segment.file.read_at(&mut stored, offset)?;
    if v1::crc(v1::crc_seed(segment.id, at.pos.offset), &stored) != at.header.bodies_crc {
        return Ok(None);
    }
    let raw_bytes = at.header.raw_bytes as usize;
    let raw = match at.header.codec {
        CODEC_NONE => stored,
        CODEC_ZSTD => match zstd::bulk::decompress(&stored, raw_bytes) {
            Ok(raw) => raw,
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok((raw.len() == raw_bytes).then(|| raw.into()))
}

/// A chunk of records, new or moved, with its bodies.
pub(crate) struct Decoded {
    /// First number of the chunk in which these records were first stored.
    pub(crate) base: u64,
    /// Ascending.
    pub(crate) seqs: Vec<u64>,
    pub(crate) records: Records,
    bodies: Vec<Bytes>,
    profiles: Vec<Arc<str>>,
}

impl Decoded {
    /// Reads the chunk of records at `offset`; `None` when damaged or not one.
    pub(crate) fn read(segment: &Segment, offset: u64, limit: u64) -> io::Result<Option<Self>> {
        let Some(at) = header_at(segment, offset, limit)? else { return Ok(None) };
        let Some(directory) = directory(segment, &at)? else { return Ok(None) };
        let Some(all) = bodies(segment, &at)? else { return Ok(None) };
        Ok(Self::of(&at, &directory, &all))
    }

    /// The chunk whose parts were read; `None` when it is not one of records.
    pub(crate) fn of(at: &ChunkAt, directory: &[u8], all: &Bytes) -> Option<Self> {
        let (seqs, records) = numbered(at, directory)?;
        let mut bodies = Vec::with_capacity(records.metas.len());
        let mut from = 0usize;
        for meta in &records.metas {
            let to = from + meta.body_bytes as usize;
            if to > all.len() {
                return None;
            }
            bodies.push(all.slice(from..to));
            from = to;
        }
        let profiles = records.profiles.iter().map(|p| Arc::from(p.as_str())).collect();
        Some(Self { base: at.header.first_seq, seqs, records, bodies, profiles })
    }

    /// Where `seq` is in the chunk.
    pub(crate) fn find(&self, seq: u64) -> Option<usize> {
        self.seqs.binary_search(&seq).ok()
    }

    pub(crate) fn lane_name(&self, i: usize) -> Option<LaneName> {
        let meta = &self.records.metas[i];
        let profile = self.records.profiles.get(usize::from(meta.profile))?.clone();
        Some(LaneName { profile, route: meta.route })
    }

    pub(crate) fn body(&self, i: usize) -> &Bytes {
        &self.bodies[i]
    }

    /// The record at `i`, without the history of its attempts.
    pub(crate) fn record(&self, i: usize) -> Option<Record> {
        let meta = &self.records.metas[i];
        let profile = self.profiles.get(usize::from(meta.profile))?.clone();
        Some(Record {
            seq: Seq(self.seqs[i]),
            lane: Lane { profile, route: meta.route },
            key: key_text(&meta.key).into(),
            // A claimed record outlives its chunk by far: it must not hold all of it in memory.
            body: Bytes::copy_from_slice(&self.bodies[i]),
            received_at_ms: meta.received_at_ms,
            attempts: 0,
            first_attempt_at_ms: 0,
        })
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bodies.iter().map(Bytes::len).sum::<usize>() + self.seqs.len() * 160
    }
}

/// The numbers and the records of a directory; `None` when it is not one of records.
pub(crate) fn numbered(at: &ChunkAt, directory: &[u8]) -> Option<(Vec<u64>, Records)> {
    let (seqs, records) = match at.header.kind {
        ChunkKind::Records => {
            let records: Records = v1::decode(directory).ok()?;
            let first = at.header.first_seq;
            ((first..first + u64::from(at.header.count)).collect::<Vec<_>>(), records)
        }
        ChunkKind::Relocation => {
            let moved: Relocation = v1::decode(directory).ok()?;
            (moved.seqs, moved.records)
        }
        ChunkKind::Notes | ChunkKind::Checkpoint => return None,
    };
    (seqs.len() == records.metas.len()).then_some((seqs, records))
}

#[derive(Default)]
pub(crate) struct ProfileTable {
    pub(crate) names: Vec<String>,
    known: HashMap<Arc<str>, u16>,
}

impl ProfileTable {
    pub(crate) fn index(&mut self, profile: &Arc<str>) -> u16 {
        if let Some(i) = self.known.get(profile) {
            return *i;
        }
        let i = u16::try_from(self.names.len()).expect("a chunk holds fewer records than u16::MAX");
        self.names.push(profile.to_string());
        self.known.insert(profile.clone(), i);
        i
    }
}

fn meta_of(record: &NewRecord, profiles: &mut ProfileTable) -> Meta {
    Meta {
        profile: profiles.index(&record.lane.profile),
        route: record.lane.route,
        key: key_of(&record.key),
        key_is_identity: record.key_is_identity,
        number: record.number.map(|(ProducerId(id), n)| (id, n)),
        fingerprint: record.fingerprint,
        received_at_ms: record.received_at_ms,
        body_bytes: len_u32(record.body.len()),
        dead: record.dead.as_ref().map(dead_of),
        replaces: record.replaces.map(|s| s.0),
    }
}

/// The key in its short form; only what prints back the same counts as a UUID.
pub(crate) fn key_of(text: &str) -> Key {
    if text.len() == 36
        && let Ok(uuid) = uuid::Uuid::try_parse(text)
        && !text.bytes().any(|b| b.is_ascii_uppercase())
    {
        return Key::Uuid(uuid.into_bytes());
    }
    Key::Text(text.to_owned())
}

pub(crate) fn key_text(key: &Key) -> String {
    match key {
        Key::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).to_string(),
        Key::Text(text) => text.clone(),
    }
}

pub(crate) fn dead_of(note: &DeadNote) -> Dead {
    Dead { reason: note.reason, status: note.status, words: note.words.clone(), at_ms: note.at_ms }
}

pub(crate) fn note_of(dead: Dead) -> DeadNote {
    DeadNote { reason: dead.reason, status: dead.status, words: dead.words, at_ms: dead.at_ms }
}

fn count(n: usize) -> u32 {
    len_u32(n)
}

fn len_u32(n: usize) -> u32 {
    u32::try_from(n).expect("a group is at most 16 MiB")
}
