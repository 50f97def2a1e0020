//! Log format 1, as bytes that were written once: `fixtures/log_v1.bin` is a segment with every
//! kind of chunk and note.
//!
//! IF THIS TEST FAILS: do not touch the fixture, and do not make it anew. Logs like it lie on
//! machines that hold undelivered events, and this release could no longer read them. Undo the
//! change to `log_v1.rs`. A format that must change is a new module, `log_v2`, with a fixture and
//! a test of its own, and `log_v1` stays as it is.
//!
//! The fixture was written by `write_the_fixture` below, which never writes over one.

use std::path::PathBuf;

use revenium_migrations::log_v1::{
    CHUNK_HEADER_BYTES, Checkpoint, ChunkHeader, ChunkKind, Counts, Dead, Gone, Key, LaneName, Meta, Note,
    Notes, Producer, Records, Relocation, SEGMENT_HEADER_BYTES, SegmentHeader, crc, crc_seed, decode, encode,
};

/// The segment's id, which seeds every CRC in it.
const ID: u64 = 0x0123_4567_89ab_cdef;
const P: [u8; 16] = [0xa5; 16];

/// Two bodies of 637 bytes, as zstd wrote them.
const PACKED: &str = "28b52ffd60fa03bd010084027b227472616e73616374696f6e4964223a226d6f7665642d3232222c22706164\
                      223a226162227d350300604025008905774a957b02";
const PACKED_RAW_BYTES: u32 = 1274;

fn segment_header() -> SegmentHeader {
    SegmentHeader {
        id: ID,
        ordinal: 7,
        first_seq: 41,
        prev_ordinal: 6,
        prev_end: 60_000,
        prev_crc: 0xdead_beef,
    }
}

fn lane(profile: &str, route: u8) -> LaneName {
    LaneName { profile: profile.into(), route }
}

fn meta(body_bytes: u32) -> Meta {
    Meta {
        profile: 0,
        route: 0,
        key: Key::Uuid([0x11; 16]),
        key_is_identity: false,
        number: None,
        fingerprint: 0xfeed,
        received_at_ms: 1_795_419_848_263,
        body_bytes,
        dead: None,
        replaces: None,
    }
}

const BODIES: &[u8] = br#"{"n":41}{"n":42}{"n":43}{"n":44}"#;

fn records() -> Records {
    let refused = Dead { reason: 2, status: 0, words: "no model".into(), at_ms: 1_795_419_848_264 };
    Records {
        profiles: vec!["default".into(), "team".into()],
        metas: vec![
            Meta { number: Some((P, 7)), ..meta(8) },
            Meta { key: Key::Text("order-42".into()), key_is_identity: true, ..meta(8) },
            Meta { profile: 1, route: 4, dead: Some(refused), ..meta(8) },
            Meta { key: Key::Uuid([0x22; 16]), replaces: Some(12), ..meta(8) },
        ],
    }
}

fn notes() -> Notes {
    let dead = Dead { reason: 3, status: 422, words: "unprocessable: é".into(), at_ms: 1_795_419_850_000 };
    Notes {
        carried: false,
        notes: vec![
            Note::Gone(Gone::Delivered, lane("default", 0), vec![(41, 1)]),
            Note::Gone(Gone::Discarded, lane("default", 0), vec![(30, 2)]),
            Note::Gone(Gone::Lost, lane("team", 4), vec![(33, 1)]),
            Note::Gone(Gone::Replaced, lane("default", 0), vec![(12, 1), (14, 1)]),
            Note::Dead(lane("default", 0), 44, dead),
            Note::Postponed {
                lane: lane("default", 0),
                seq: 42,
                not_before_ms: 1_795_419_900_000,
                attempts: 3,
                first_attempt_at_ms: 1_795_419_849_000,
            },
            Note::State("pace/api.revenium.ai".into(), vec![1, 2, 255]),
            Note::Missing { ranges: vec![(35, 37)], counted: true },
            Note::Retired(vec![3, 4]),
        ],
    }
}

fn relocation() -> Relocation {
    let moved = Dead { reason: 1, status: 409, words: String::new(), at_ms: 5 };
    Relocation {
        seqs: vec![22, 25],
        records: Records {
            profiles: vec!["team".into()],
            metas: vec![
                Meta { route: 7, ..meta(637) },
                Meta { key: Key::Text("k".into()), dead: Some(moved), ..meta(637) },
            ],
        },
    }
}

fn checkpoint() -> Checkpoint {
    let counts = |received, delivered, discarded, lost| Counts { received, delivered, discarded, lost };
    Checkpoint {
        ordinal: 7,
        offset: SEGMENT_HEADER_BYTES as u64,
        lanes: vec![(lane("default", 0), counts(36, 30, 0, 0)), (lane("team", 4), counts(5, 0, 1, 0))],
        producers: vec![Producer { id: P, seen: vec![(1, 5), (7, 7)], last_used_ms: 1_795_419_848_263 }],
        states: vec![("pace/api.revenium.ai".into(), vec![1, 2, 255])],
        damaged_regions: 1,
        segments: vec![(6, 60_000), (7, 0)],
    }
}

fn packed() -> Vec<u8> {
    let digits: Vec<u32> = PACKED.chars().map(|c| c.to_digit(16).expect("a hex digit")).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits")).collect()
}

/// Kind, codec, first number, entries, directory, bodies as stored and as they were.
type Chunk = (ChunkKind, u8, u64, u32, Vec<u8>, Vec<u8>, u32);

fn chunks() -> [Chunk; 4] {
    [
        (ChunkKind::Records, 0, 41, 4, encode(&records()), BODIES.to_vec(), 32),
        (ChunkKind::Notes, 0, 0, 9, encode(&notes()), Vec::new(), 0),
        (ChunkKind::Relocation, 1, 20, 2, encode(&relocation()), packed(), PACKED_RAW_BYTES),
        (ChunkKind::Checkpoint, 0, 0, 1, encode(&checkpoint()), Vec::new(), 0),
    ]
}

/// The segment as today's encoder writes it.
fn written() -> Vec<u8> {
    let mut bytes = segment_header().encode().to_vec();
    let (mut prev_next_seq, mut prev_crc) = (41, segment_header().prev_crc);
    for (kind, codec, first_seq, count, directory, bodies, raw_bytes) in chunks() {
        let seed = crc_seed(ID, bytes.len() as u64);
        let header = ChunkHeader {
            kind,
            codec,
            first_seq,
            count,
            directory_bytes: u32::try_from(directory.len()).expect("small"),
            stored_bytes: u32::try_from(bodies.len()).expect("small"),
            raw_bytes,
            prev_next_seq,
            prev_crc,
            directory_crc: crc(seed, &directory),
            bodies_crc: crc(seed, &bodies),
            next_seq: 45,
        };
        let (header, own_crc) = header.encode(seed);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&directory);
        bytes.extend_from_slice(&bodies);
        (prev_next_seq, prev_crc) = (45, own_crc);
    }
    bytes
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/log_v1.bin")
}

fn fixture() -> Vec<u8> {
    std::fs::read(path()).expect("migrations/fixtures/log_v1.bin is in the repository")
}

#[test]
#[ignore = "wrote the fixture, once"]
fn write_the_fixture() {
    use std::io::Write as _;
    let mut file = std::fs::File::create_new(path()).expect("a fixture is never written over");
    file.write_all(&written()).expect("written");
}

#[test]
fn a_segment_of_format_1_decodes_to_what_was_put_in() {
    let bytes = fixture();
    let header = bytes[..SEGMENT_HEADER_BYTES].try_into().expect("128 bytes");
    assert_eq!(SegmentHeader::decode(header), Ok(segment_header()));
    let mut at = SEGMENT_HEADER_BYTES;
    let mut link = (41, segment_header().prev_crc);
    for (kind, codec, first_seq, count, _, bodies, raw_bytes) in chunks() {
        let seed = crc_seed(ID, at as u64);
        let header = bytes[at..at + CHUNK_HEADER_BYTES].try_into().expect("64 bytes");
        let (header, own_crc) = ChunkHeader::decode(header, seed).expect("a chunk's header");
        assert_eq!((header.kind, header.codec, header.first_seq), (kind, codec, first_seq));
        assert_eq!((header.count, header.raw_bytes, header.next_seq), (count, raw_bytes, 45));
        assert_eq!((header.prev_next_seq, header.prev_crc), link, "chained to the chunk before");
        let directory_at = at + CHUNK_HEADER_BYTES;
        let bodies_at = directory_at + header.directory_bytes as usize;
        let end = bodies_at + header.stored_bytes as usize;
        let directory = &bytes[directory_at..bodies_at];
        assert_eq!(crc(seed, directory), header.directory_crc);
        assert_eq!(crc(seed, &bytes[bodies_at..end]), header.bodies_crc);
        assert_eq!(bytes[bodies_at..end], bodies);
        match kind {
            ChunkKind::Records => assert_eq!(decode(directory), Ok(records())),
            ChunkKind::Notes => assert_eq!(decode(directory), Ok(notes())),
            ChunkKind::Relocation => assert_eq!(decode(directory), Ok(relocation())),
            ChunkKind::Checkpoint => assert_eq!(decode(directory), Ok(checkpoint())),
        }
        assert_eq!(header.chunk_bytes(), (end - at) as u64);
        link = (header.next_seq, own_crc);
        at = end;
    }
    assert_eq!(at, bytes.len(), "nothing is left over");
}

#[test]
fn the_encoder_still_writes_format_1_byte_for_byte() {
    assert!(written() == fixture(), "an older release could not read what this one writes");
}

#[test]
fn no_flipped_bit_passes() {
    let bytes = fixture();
    for at in 0..SEGMENT_HEADER_BYTES + CHUNK_HEADER_BYTES {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        let segment = SegmentHeader::decode(flipped[..SEGMENT_HEADER_BYTES].try_into().expect("128 bytes"));
        let chunk = &flipped[SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + CHUNK_HEADER_BYTES];
        let chunk = ChunkHeader::decode(chunk.try_into().expect("64 bytes"), crc_seed(ID, 128));
        assert!(segment.is_err() || chunk.is_err(), "the byte at {at}");
    }
}
