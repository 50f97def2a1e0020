//! Counts for metrics and `status`: cheap to take, never derived from one another.

use crate::Lane;

/// One lane's counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStats {
    /// Which lane.
    pub lane: Lane,
    /// Records waiting, claimed ones included.
    pub waiting: u64,
    /// Of those, how many are claimed now.
    pub claimed: u64,
    /// When the longest waiting record was received, milliseconds since 1970; 0 if none waits.
    pub oldest_received_at_ms: u64,
    /// The ledger of this lane, since the log was created.
    pub ledger: Ledger,
}

/// received = delivered + waiting + dead + discarded + lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Records stored (resends not counted again).
    pub received: u64,
    /// Confirmed by the upstream.
    pub delivered: u64,
    /// Dead letters now.
    pub dead: u64,
    /// Given up by a person.
    pub discarded: u64,
    /// Acknowledged, then destroyed by damage.
    pub lost: u64,
}

/// The store's counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Every lane that ever held a record of this log.
    pub lanes: Vec<LaneStats>,
    /// Bytes of all segments in use.
    pub log_bytes: u64,
    /// Bytes the log may use.
    pub log_bytes_max: u64,
    /// Free bytes of the file system.
    pub disk_free_bytes: u64,
    /// Group commits since start.
    pub commits: u64,
    /// Records committed since start.
    pub commit_records: u64,
    /// Resends recognised since start.
    pub duplicates: u64,
    /// Conflicts since start.
    pub conflicts: u64,
    /// Failed writes or flushes since start.
    pub disk_errors: u64,
    /// Damaged regions met since the log was created.
    pub damaged_regions: u64,
    /// Index rebuilds since start.
    pub index_rebuilds: u64,
    /// Bytes of the log that the index has yet to follow.
    pub index_lag_bytes: u64,
    /// |received − delivered − waiting − dead − discarded − lost| over all lanes; must read 0.
    pub imbalance: u64,
    /// Quarantined bytes.
    pub quarantine_bytes: u64,
}
