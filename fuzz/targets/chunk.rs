//! What the log's pieces hold: anything is decoded or refused, and what is decoded is written the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use revenium_migrations::log_v1::{
    self as v1, CHUNK_HEADER_BYTES, Checkpoint, ChunkHeader, Notes, Records, Relocation,
    SEGMENT_HEADER_BYTES, SegmentHeader,
};

fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>()
        && let Ok(header) = SegmentHeader::decode(header)
    {
        assert!(SegmentHeader::decode(&header.encode()).is_ok());
    }
    if let Some(header) = bytes.first_chunk::<CHUNK_HEADER_BYTES>() {
        // Nobody hits a CRC by chance: it is made to fit.
        let mut fits = *header;
        let end = CHUNK_HEADER_BYTES - 4;
        let crc = v1::crc(7, &fits[..end]);
        fits[end..].copy_from_slice(&crc.to_le_bytes());
        for bytes in [header, &fits] {
            if let Ok((header, _)) = ChunkHeader::decode(bytes, 7) {
                let _ = header.chunk_bytes();
            }
        }
    }
    written_again(v1::decode::<Records>(bytes));
    written_again(v1::decode::<Relocation>(bytes));
    written_again(v1::decode::<Notes>(bytes));
    written_again(v1::decode::<Checkpoint>(bytes));
});

fn written_again<T: serde::Serialize + for<'de> serde::Deserialize<'de>>(decoded: Result<T, String>) {
    let Ok(decoded) = decoded else { return };
    let written = v1::encode(&decoded);
    let read: T = v1::decode(&written).expect("what was written is read");
    assert_eq!(v1::encode(&read), written);
}
