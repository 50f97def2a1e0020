//! A copy of a body, decompressed as it passes by, within bounds.
//!
//! Whoever asks for a compressed answer gets it as it came; what is metered is read from this copy. Whatever is
//! wrong with it (an unknown coding, damage, more bytes than are believed) ends the copy and nothing else.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

/// Buffer of a decompressor.
const BUFFER_BYTES: usize = 4 << 10;

/// Largest window of zstd: 8 MiB, as RFC 8878 asks of every decoder.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Takes decompressed bytes.
pub(super) trait Sink {
    fn take(&mut self, bytes: &[u8]);
}

/// A sink as the decompressors want it.
struct Counted<S> {
    sink: S,
    left: u64,
}

impl<S: Sink> Write for Counted<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(len).ok_or_else(|| io::Error::other("too long"))?;
        self.sink.take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Coding<S: Sink> {
    Identity(Counted<S>),
    Gzip(Box<MultiGzDecoder<Counted<S>>>),
    Deflate(Box<ZlibDecoder<Counted<S>>>),
    Brotli(Box<DecompressorWriter<Counted<S>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Counted<S>>>),
}

/// Decompresses into `S`.
pub(super) struct Decoder<S: Sink> {
    coding: Coding<S>,
    is_broken: bool,
}

impl<S: Sink> Decoder<S> {
    /// For the body whose `Content-Encoding` this is; `None` if it cannot be read here. What is compressed is read
    /// up to `bytes_max` decompressed bytes.
    pub(super) fn new(coding: &str, sink: S, bytes_max: u64) -> Option<Self> {
        let sink = Counted { sink, left: bytes_max };
        let mut is_broken = false;
        let coding = match coding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Coding::Identity(Counted { left: u64::MAX, ..sink }),
            "gzip" | "x-gzip" => Coding::Gzip(Box::new(MultiGzDecoder::new(sink))),
            "deflate" => Coding::Deflate(Box::new(ZlibDecoder::new(sink))),
            "br" => Coding::Brotli(Box::new(DecompressorWriter::new(sink, BUFFER_BYTES))),
            "zstd" => match zstd::stream::write::Decoder::new(sink) {
                Ok(mut writer) => {
                    is_broken = writer.window_log_max(ZSTD_WINDOW_LOG_MAX).is_err();
                    Coding::Zstd(Box::new(writer))
                }
                // For want of memory; the sink went with it.
                Err(_) => return None,
            },
            _ => return None,
        };
        Some(Self { coding, is_broken })
    }

    /// The next bytes of the body; what they decompress to reaches the sink before this returns.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.is_broken {
            return;
        }
        let writer: &mut dyn Write = match &mut self.coding {
            Coding::Identity(sink) => sink,
            Coding::Gzip(writer) => writer,
            Coding::Deflate(writer) => writer,
            Coding::Brotli(writer) => writer,
            Coding::Zstd(writer) => writer,
        };
        self.is_broken = writer.write_all(bytes).and_then(|()| writer.flush()).is_err();
    }

    /// Whether some of the body could not be read.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The sink.
    pub(super) fn sink(&mut self) -> &mut S {
        let counted = match &mut self.coding {
            Coding::Identity(sink) => sink,
            Coding::Gzip(writer) => writer.get_mut(),
            Coding::Deflate(writer) => writer.get_mut(),
            Coding::Brotli(writer) => writer.get_mut(),
            Coding::Zstd(writer) => writer.get_mut(),
        };
        &mut counted.sink
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sink for Vec<u8> {
        fn take(&mut self, bytes: &[u8]) {
            self.extend_from_slice(bytes);
        }
    }

    const TEXT: &[u8] = b"data: one\n\ndata: two\n\n";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(text).expect("written");
        writer.finish().expect("written")
    }

    /// `TEXT`, as Python's `brotli.compress` has it.
    const BROTLI: [u8; 26] = [
        0x8b, 0x0a, 0x80, 0x64, 0x61, 0x74, 0x61, 0x3a, 0x20, 0x6f, 0x6e, 0x65, 0x0a, 0x0a, 0x64, 0x61, 0x74,
        0x61, 0x3a, 0x20, 0x74, 0x77, 0x6f, 0x0a, 0x0a, 0x03,
    ];

    fn decoded(coding: &str, body: &[u8], piece: usize, bytes_max: u64) -> (Vec<u8>, bool) {
        let mut decoder = Decoder::new(coding, Vec::new(), bytes_max).expect("is known");
        body.chunks(piece).for_each(|piece| decoder.push(piece));
        (std::mem::take(decoder.sink()), decoder.is_broken())
    }

    #[test]
    fn what_was_compressed_is_read_wherever_it_is_split() {
        let zstd = zstd::encode_all(TEXT, 3).expect("written");
        for (coding, body) in [
            ("gzip", gzip(TEXT)),
            (" GZIP", gzip(TEXT)),
            ("br", BROTLI.to_vec()),
            ("zstd", zstd),
            ("", TEXT.to_vec()),
        ] {
            for piece in 1..=body.len() {
                assert_eq!(
                    decoded(coding, &body, piece, 1_000),
                    (TEXT.to_vec(), false),
                    "{coding} by {piece}"
                );
            }
        }
        assert!(Decoder::new("gzip, br", Vec::new(), 1).is_none());
    }

    #[test]
    fn what_was_flushed_is_read_before_the_rest_comes() {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(b"data: one\n\n").expect("written");
        writer.flush().expect("flushed");
        let mut decoder = Decoder::new("gzip", Vec::new(), 1_000).expect("is known");
        decoder.push(writer.get_ref());
        assert_eq!(decoder.sink().as_slice(), b"data: one\n\n");
    }

    #[test]
    fn damage_and_a_bomb_end_the_copy_and_nothing_else() {
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let (_, is_broken) = decoded(coding, &[0xAB; 500], 7, 1_000);
            assert!(is_broken, "{coding}");
        }
        let (read, is_broken) = decoded("gzip", &gzip(&vec![0; 1 << 20]), 64, 100_000);
        assert!(read.len() <= 100_000 && is_broken);
    }
}
