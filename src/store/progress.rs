//! How far opening the log, and following it, have come, for whoever waits for them.
//!
//! In bytes of the log, counted where they are passed. It costs a counter a chunk and reads nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::scan::{FIRST_CHUNK, Until};
use crate::segment::Pos;
use crate::shared::{Listed, Shared, add, get, lock};

/// Bytes of the log that were passed, of those that are to be passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Those that were.
    pub done_bytes: u64,
    /// All. They may become more while work goes on, as events come in, or fewer.
    pub total_bytes: u64,
}

/// What the index does before records can be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexStage {
    /// It is opened, or waits for the next try to be.
    Opening,
    /// It is taken as it was, and follows what the log has beyond it.
    Following(Progress),
    /// It is made anew from the whole log.
    MakingAnew(Progress),
    /// It has followed.
    Ready,
}

/// How far [`Store::open`](crate::Store::open) has come; what is in its options may be looked at meanwhile.
#[derive(Debug, Default)]
pub struct Opening {
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl Opening {
    /// All zero until it is known what there is to read.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { done_bytes: get(&self.done_bytes), total_bytes: get(&self.total_bytes) }
    }

    /// So many bytes are to come.
    pub(crate) fn begin(&self, bytes: u64) {
        self.done_bytes.store(0, Ordering::Relaxed);
        self.expect(bytes);
    }

    /// So many bytes are still to come.
    pub(crate) fn expect(&self, bytes: u64) {
        self.total_bytes.store(get(&self.done_bytes) + bytes, Ordering::Relaxed);
    }

    pub(crate) fn pass(&self, bytes: u64) {
        add(&self.done_bytes, bytes);
    }
}

/// What the index has to follow until it is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) from: Pos,
    /// An index that had nothing, of a log that has something.
    is_anew: bool,
    began: Instant,
    bytes: u64,
}

impl Way {
    /// The log is followed from here on.
    pub(crate) fn begin(shared: &Shared, from: Pos, is_anew: bool) -> Self {
        let bytes = bytes_from(shared, from);
        if is_anew {
            tracing::info!(bytes, "the index is being made anew from the log");
        } else if bytes > 0 {
            tracing::info!(bytes, "the index follows what the log has beyond it");
        }
        Self { from, is_anew, began: Instant::now(), bytes }
    }

    /// The end is reached.
    pub(crate) fn end(self, shared: &Shared) {
        let (bytes, took_ms) = (bytes_from(shared, self.from), self.began.elapsed().as_millis());
        if self.is_anew {
            tracing::info!(bytes, took_ms, "the index is made anew");
        } else if self.bytes > 0 {
            tracing::info!(bytes, took_ms, "the index has followed the log");
        }
    }
}

/// Looks at the index.
pub(crate) fn index_stage(shared: &Shared) -> IndexStage {
    let followed = *shared.followed.lock();
    let Some(Way { from, is_anew, .. }) = followed.way else { return IndexStage::Opening };
    if followed.ready {
        return IndexStage::Ready;
    }
    let total_bytes = bytes_from(shared, from);
    let done_bytes = total_bytes.saturating_sub(bytes_from(shared, followed.at));
    let progress = Progress { done_bytes, total_bytes };
    if is_anew { IndexStage::MakingAnew(progress) } else { IndexStage::Following(progress) }
}

/// Bytes of the log from `from` to its durable end.
pub(crate) fn bytes_from(shared: &Shared, from: Pos) -> u64 {
    let durable = *shared.durable.lock();
    let table = lock(&shared.table);
    let segments =
        table.segments.range(from.ordinal..).take_while(|(ordinal, _)| **ordinal <= durable.ordinal);
    let bytes = segments.map(|(ordinal, listed)| {
        let first = if *ordinal == from.ordinal { from.offset } else { FIRST_CHUNK };
        let end = if *ordinal == durable.ordinal { durable.offset } else { end_of(listed) };
        end.saturating_sub(first)
    });
    bytes.sum()
}

/// Bytes of a segment that are read for its chunks.
pub(crate) fn bytes_of(listed: &Listed) -> u64 {
    end_of(listed).saturating_sub(FIRST_CHUNK)
}

fn end_of(listed: &Listed) -> u64 {
    match listed.until {
        Until::Sealed(end) | Until::AtLeast(end) => end,
        Until::Unknown => listed.segment.bytes,
    }
}
