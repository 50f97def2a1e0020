//! Sizes and limits of a store. Tests make them small; the code under test stays the code we ship.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::progress::Opening;

/// How a store is laid out and bounded.
#[derive(Clone)]
pub struct Options {
    /// The store's directory; made 0700 when absent.
    pub dir: PathBuf,
    /// Size of one segment file. Whatever is acknowledged together fits a quarter of it.
    pub segment_bytes: u64,
    /// Bytes that segments and quarantine may use in all.
    pub capacity_bytes: u64,
    /// Bytes of waiting records that one profile may hold; 0 for no budget of its own.
    pub profile_bytes_max: u64,
    /// Free bytes that the store leaves to others, and to its own index.
    pub free_reserve_bytes: u64,
    /// Largest body of one record.
    pub record_bytes_max: u64,
    /// Bodies of one chunk; more become several chunks.
    pub chunk_bytes_max: u64,
    /// Records of one chunk.
    pub chunk_records_max: usize,
    /// Bodies of a chunk from this size on are compressed. Below it a flush costs more than
    /// the bytes that compression would save.
    pub compress_bytes_min: u64,
    /// Recent keys that are remembered to recognise resends.
    pub recent_keys_max: usize,
    /// Producers whose numbers are remembered; the longest unused is forgotten first.
    pub producers_max: usize,
    /// Gaps that a producer's numbers may have.
    pub producer_ranges_max: usize,
    /// sled's cache.
    pub index_cache_bytes: u64,
    /// Bytes kept ready on the disk, given up when the index finds it full: enough to note the
    /// settlement of some hundred thousand records.
    pub ballast_bytes: u64,
    /// Settlements that may wait to become durable: with more of them nothing is given out to be sent, as on a
    /// disk that takes none for days.
    pub notes_waiting_max: usize,
    /// Settlements become durable at the latest after this time.
    pub settle_within: Duration,
    /// The index follows the log when nothing was appended for this long, and under load after ten
    /// times as long; what lies between joins one batch.
    pub follow_when_quiet: Duration,
    /// Sealed segments that are kept although all their records are settled, so that recent
    /// keys are still known after a restart.
    pub kept_segments: usize,
    /// Bytes of damaged regions kept as evidence; beyond it they are only counted.
    pub quarantine_bytes_max: u64,
    /// Told how long each flush took, on the committer's thread: it must be quick.
    pub on_flush: Option<OnFlush>,
    /// Counts how far opening has come, for whoever waits meanwhile.
    pub opening: Arc<Opening>,
    /// Stands between the log's files and the kernel; for tests that lose or fail writes.
    pub tap: Option<Arc<dyn Tap>>,
}

impl Options {
    /// The options that the agent uses, for a store in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            capacity_bytes: 10 << 30,
            profile_bytes_max: 0,
            free_reserve_bytes: 256 << 20,
            // A body of 1 MiB, the agent's limit.
            record_bytes_max: 1 << 20,
            chunk_bytes_max: 2 << 20,
            chunk_records_max: 4096,
            compress_bytes_min: 128 << 10,
            recent_keys_max: 1 << 18,
            producers_max: 4096,
            producer_ranges_max: 1024,
            index_cache_bytes: 8 << 20,
            ballast_bytes: 8 << 20,
            notes_waiting_max: 1 << 16,
            settle_within: Duration::from_secs(1),
            follow_when_quiet: Duration::from_millis(5),
            kept_segments: 1,
            quarantine_bytes_max: 64 << 20,
            on_flush: None,
            opening: Arc::default(),
            tap: None,
        }
    }

    /// Bytes that one commit may take.
    pub(crate) fn group_bytes_max(&self) -> u64 {
        (self.segment_bytes / 4).min(16 << 20)
    }

    /// Says what does not fit together.
    pub(crate) fn check(&self) -> Result<(), String> {
        let group = self.group_bytes_max();
        if self.segment_bytes < 32 << 10 {
            return Err(format!("segment_bytes is {}, at least {} is needed", self.segment_bytes, 32 << 10));
        }
        if self.record_bytes_max + 4096 > group {
            return Err(format!(
                "record_bytes_max {} does not fit a quarter of segment_bytes {}",
                self.record_bytes_max, self.segment_bytes
            ));
        }
        if self.capacity_bytes < 4 * self.segment_bytes {
            return Err(format!(
                "capacity_bytes {} is less than four segments of {}",
                self.capacity_bytes, self.segment_bytes
            ));
        }
        Ok(())
    }
}

/// Hears how long flushes take.
pub type OnFlush = Arc<dyn Fn(Duration) + Send + Sync>;

/// What a test may do to the writes of the log's files and of the watermark.
pub trait Tap: Send + Sync {
    /// Called before `bytes` are written to `path` at `offset`; an error takes the write's place.
    ///
    /// # Errors
    /// The error that the disk shall seem to give.
    fn write(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Called before `path` is flushed; an error takes the flush's place.
    ///
    /// # Errors
    /// The error that the disk shall seem to give.
    fn flush(&self, path: &Path) -> io::Result<()>;
    /// Called after `path` was flushed.
    fn flushed(&self, path: &Path);
    /// Called after `from` was renamed to `to`.
    fn renamed(&self, from: &Path, to: &Path);
}
