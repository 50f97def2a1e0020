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

/// Codings of one body, at most: what has more is no answer of a provider's.
const CODINGS_MAX: usize = 3;

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

/// A body's codings, undone one after the other, into `S`.
pub(super) enum Decoder<S: Sink> {
    /// There are none.
    Plain(S),
    /// The coding that was applied last; what it gives goes on to the others.
    Coded(Box<Coded<S>>),
}

/// One coding.
pub(super) struct Coded<S: Sink> {
    writer: Writer<Counted<Decoder<S>>>,
    is_broken: bool,
}

enum Writer<W: Write> {
    Gzip(MultiGzDecoder<W>),
    Deflate(ZlibDecoder<W>),
    Brotli(Box<DecompressorWriter<W>>),
    Zstd(zstd::stream::write::Decoder<'static, W>),
}

impl<S: Sink> Sink for Decoder<S> {
    fn take(&mut self, bytes: &[u8]) {
        self.push(bytes);
    }
}

impl<S: Sink> Decoder<S> {
    /// For a body with these codings, in the order in which they were applied, as `Content-Encoding` lists them;
    /// `None` if it cannot be read here. Of each coding up to `bytes_max` bytes are read.
    pub(super) fn new<'a>(
        codings: impl IntoIterator<Item = &'a str>,
        sink: S,
        bytes_max: u64,
    ) -> Option<Self> {
        let mut decoder = Self::Plain(sink);
        let mut count = 0;
        for coding in codings {
            let coding = coding.trim().to_ascii_lowercase();
            if !matches!(&*coding, "" | "identity") {
                count += 1;
                // Before it costs memory.
                if count > CODINGS_MAX {
                    return None;
                }
                let writer = Writer::of(&coding, Counted { sink: decoder, left: bytes_max })?;
                decoder = Self::Coded(Box::new(Coded { writer, is_broken: false }));
            }
        }
        Some(decoder)
    }

    /// The next bytes of the body; what they decompress to reaches the sink before this returns.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(sink) => sink.take(bytes),
            Self::Coded(coded) if coded.is_broken => {}
            Self::Coded(coded) => {
                let writer = coded.writer.writer();
                coded.is_broken = writer.write_all(bytes).and_then(|()| writer.flush()).is_err();
            }
        }
    }

    /// Whether some of the body could not be read.
    pub(super) fn is_broken(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Coded(coded) => coded.is_broken || coded.writer.inner().sink.is_broken(),
        }
    }

    /// The sink.
    pub(super) fn sink(&mut self) -> &mut S {
        match self {
            Self::Plain(sink) => sink,
            Self::Coded(coded) => coded.writer.inner().sink.sink(),
        }
    }
}

impl<W: Write> Writer<W> {
    /// One that undoes this coding; `None` if it is not known, or for want of memory.
    fn of(coding: &str, into: W) -> Option<Self> {
        Some(match coding {
            "gzip" | "x-gzip" => Self::Gzip(MultiGzDecoder::new(into)),
            "deflate" => Self::Deflate(ZlibDecoder::new(into)),
            "br" => Self::Brotli(Box::new(DecompressorWriter::new(into, BUFFER_BYTES))),
            "zstd" => {
                let mut writer = zstd::stream::write::Decoder::new(into).ok()?;
                writer.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
                Self::Zstd(writer)
            }
            _ => return None,
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(writer) => writer,
            Self::Deflate(writer) => writer,
            Self::Brotli(writer) => writer,
            Self::Zstd(writer) => writer,
        }
    }

    fn inner(&mut self) -> &mut W {
        match self {
            Self::Gzip(writer) => writer.get_mut(),
            Self::Deflate(writer) => writer.get_mut(),
            Self::Brotli(writer) => writer.get_mut(),
            Self::Zstd(writer) => writer.get_mut(),
        }
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
        let mut decoder = Decoder::new(coding.split(','), Vec::new(), bytes_max).expect("is known");
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
        assert!(Decoder::new(["gzip", "compress"], Vec::new(), 1).is_none());
        assert!(Decoder::new(["gzip"; 4], Vec::new(), 1).is_none());
    }

    #[test]
    fn what_was_compressed_twice_is_read_from_the_last_coding_to_the_first() {
        let body = gzip(&zstd::encode_all(TEXT, 3).expect("written"));
        for piece in 1..=body.len() {
            assert_eq!(decoded("zstd, gzip", &body, piece, 1_000), (TEXT.to_vec(), false), "by {piece}");
        }
        // Damage within is damage.
        assert!(decoded("zstd, gzip", &gzip(b"not zstd at all"), 7, 1_000).1);
        let bomb = gzip(&gzip(&vec![0; 1 << 20]));
        let (read, is_broken) = decoded("gzip, gzip", &bomb, 64, 100_000);
        assert!(read.len() <= 100_000 && is_broken);
    }

    #[test]
    fn what_was_flushed_is_read_before_the_rest_comes() {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(b"data: one\n\n").expect("written");
        writer.flush().expect("flushed");
        let mut decoder = Decoder::new(["gzip"], Vec::new(), 1_000).expect("is known");
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
