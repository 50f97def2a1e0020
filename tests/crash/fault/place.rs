//! Where in the life of an event a call of the system lies.

/// A place that can be struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    RecordsWritten,
    SegmentFlushed,
    WatermarkWritten,
    WatermarkFlushed,
    Acknowledged,
    Sent,
    SettlementWritten,
    DeadLetterWritten,
    RelocationWritten,
    CheckpointWritten,
    SegmentWritten,
    SegmentToBeFlushed,
    SegmentPrepared,
    SegmentRecycled,
    SegmentRemoved,
    SegmentBegun,
    NamesFlushed,
    IndexWritten,
    IndexRebuilt,
    IndexFlushed,
    SpoolFileRemoved,
    SpoolFileOpened,
    FileMade,
    FileOpened,
    Other,
}

/// Where an agent has to be killed in every run.
pub(crate) const KILLED_AT: &[Place] = &[
    Place::RecordsWritten,
    Place::SegmentFlushed,
    Place::WatermarkWritten,
    Place::WatermarkFlushed,
    Place::Acknowledged,
    Place::Sent,
    Place::SettlementWritten,
    Place::DeadLetterWritten,
    Place::RelocationWritten,
    Place::CheckpointWritten,
    Place::SegmentBegun,
    Place::SegmentRecycled,
    Place::IndexWritten,
    Place::IndexRebuilt,
    Place::SpoolFileRemoved,
];

/// Where a call has to fail in every run.
pub(crate) const FAILS_AT: &[Place] = &[
    Place::RecordsWritten,
    Place::SegmentFlushed,
    Place::WatermarkWritten,
    Place::WatermarkFlushed,
    Place::SegmentRecycled,
    Place::IndexWritten,
    Place::SpoolFileRemoved,
];

impl Place {
    /// By what strace printed of the call as it was entered.
    pub(crate) fn of(call: &str, args: &str, index_is_lost: bool) -> Self {
        let is_in = |part: &str| args.contains(part);
        let is_segment = is_in("/seg-");
        match call {
            "pwrite64" if is_in("/watermark>") => Self::WatermarkWritten,
            "pwrite64" if is_in("/tmp-") => Self::SegmentWritten,
            "pwrite64" if is_segment => Self::written(args),
            "fdatasync" if is_in("/watermark>") => Self::WatermarkFlushed,
            "fdatasync" if is_in("/tmp-") => Self::SegmentToBeFlushed,
            "fdatasync" if is_segment => Self::SegmentFlushed,
            "fsync" if is_in("/index-") => Self::IndexFlushed,
            "fsync" if is_in("/store>") => Self::NamesFlushed,
            "pwrite64" | "sync_file_range" if is_in("/index-") && index_is_lost => Self::IndexRebuilt,
            "pwrite64" | "sync_file_range" | "rename" if is_in("/index-") => Self::IndexWritten,
            "rename" if is_in("/tmp-") => Self::SegmentPrepared,
            "rename" if is_segment => Self::SegmentRecycled,
            "unlink" if is_segment => Self::SegmentRemoved,
            "unlinkat" if is_in(".jsonl\"") => Self::SpoolFileRemoved,
            "sendto" if is_in("{\\\"ok\\\":true") => Self::Acknowledged,
            "writev" if is_in("POST /meter/") => Self::Sent,
            "openat" if is_in(".jsonl\"") => Self::SpoolFileOpened,
            "openat" if is_in("/data/") && is_in("O_CREAT") => Self::FileMade,
            "openat" if is_in("/data/") || is_in(".toml\"") => Self::FileOpened,
            _ => Self::Other,
        }
    }

    /// By the chunks that a commit begins with. After the magic and the format comes a chunk's kind.
    fn written(args: &str) -> Self {
        let kind = args.split("RVCK\\1\\").skip(1).filter_map(|chunk| chunk.bytes().next()).max();
        match kind {
            _ if args.contains("\"RVSEG") => Self::SegmentBegun,
            Some(b'4') => Self::CheckpointWritten,
            // The server's words are in it.
            Some(b'3') if args.contains("injected: 422") => Self::DeadLetterWritten,
            Some(b'3') => Self::SettlementWritten,
            Some(b'2') => Self::RelocationWritten,
            _ => Self::RecordsWritten,
        }
    }
}
