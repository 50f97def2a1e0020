//! A copy of a body, decompressed as it passes by, within bounds.
//!
//! Whoever asks for a compressed answer gets it as it came; what is metered is read from this copy. Whatever is
//! wrong with it (an unknown coding, damage, more bytes than are believed) ends the copy and nothing else.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

/// Bytes that are read of one answer, decompressed. Longer ones are not metered: the longest that a model gives
/// today is below 2 MiB, but an answer may hold files.
const DECODED_BYTES_MAX: u64 = 256 << 20;

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
    /// For the body whose `Content-Encoding` this is; `None` if it cannot be read here.
    pub(super) fn new(coding: &str, sink: S) -> Option<Self> {
        let sink = Counted { sink, left: DECODED_BYTES_MAX };
        let mut is_broken = false;
        let coding = match coding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Coding::Identity(sink),
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
