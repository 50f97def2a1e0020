//! What can go wrong, one enum per family of operations; a variant is a decision someone takes.

/// Why records were not appended. In every case none of them was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The budget named here is used up. Wait and send again; delivery makes room.
    #[error("the log is full: {bytes} of {bytes_max} bytes used ({budget})")]
    Full {
        /// Which budget: `store`, `disk` or `profile NAME`.
        budget: String,
        /// Bytes in use.
        bytes: u64,
        /// Bytes allowed.
        bytes_max: u64,
    },
    /// The disk refused a write or a flush. Nothing of the group is acknowledged; later groups
    /// are tried on a fresh segment.
    #[error("cannot write to the log: {0}")]
    Disk(String),
    /// One record is larger than a chunk can hold, or a field of it is out of bounds.
    #[error("record out of bounds: {0}")]
    OutOfBounds(String),
    /// A producer's numbers lie in more unbroken runs than are remembered, so a resend could not be told from
    /// a new event. Nothing is wrong with the records: send the missing numbers, or go on as another producer.
    #[error(
        "the producer's numbers lie in more than {runs_max} runs: send the missing ones, or begin a new producer"
    )]
    TooManyGaps {
        /// Unbroken runs of one producer's numbers that are remembered.
        runs_max: usize,
    },
    /// The store is closing; send again after the restart.
    #[error("the store is closing")]
    Closing,
}

/// Why records could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The index is being rebuilt; try again a little later. Appending goes on.
    #[error("the index is being rebuilt")]
    IndexNotReady,
    /// The disk failed a read. The records stay where they are.
    #[error("cannot read from the log: {0}")]
    Disk(String),
    /// The store is closing.
    #[error("the store is closing")]
    Closing,
}
