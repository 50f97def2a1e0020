//! Series of the spool folders.

use prometheus::{IntCounter, IntGauge, Registry, Result};

use super::family::{counter, gauge};
use super::store::signed;
use crate::admin::SpoolStatus;

pub(super) struct SpoolMetrics {
    files_taken: IntCounter,
    bad_lines: IntCounter,
    waiting_files: IntGauge,
    waiting_bytes: IntGauge,
    oldest_age: IntGauge,
    left_alone: IntGauge,
    quarantine_bytes: IntGauge,
}

impl SpoolMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            files_taken: counter(r, "spool_files_taken_total", "Spool files taken in since start.")?,
            bad_lines: counter(
                r,
                "spool_bad_lines_total",
                "Lines of spool files that are no events, kept in quarantine, since start.",
            )?,
            waiting_files: gauge(r, "spool_waiting_files", "Spool files that wait to be taken in.")?,
            waiting_bytes: gauge(r, "spool_waiting_bytes", "Bytes of spool files that wait to be taken in.")?,
            oldest_age: gauge(
                r,
                "spool_oldest_file_age_seconds",
                "Age of the longest waiting spool file; 0 if none waits.",
            )?,
            left_alone: gauge(
                r,
                "spool_left_alone_files",
                "What lies in spool folders and is not taken in.",
            )?,
            quarantine_bytes: gauge(
                r,
                "spool_quarantine_bytes",
                "Bytes of bad lines of spool files, kept for a person.",
            )?,
        })
    }

    pub(super) fn taken(&self, bad_lines: u64) {
        self.files_taken.inc();
        self.bad_lines.inc_by(bad_lines);
    }

    pub(super) fn set(&self, spool: &SpoolStatus) {
        self.waiting_files.set(signed(spool.waiting_files));
        self.waiting_bytes.set(signed(spool.waiting_bytes));
        self.oldest_age.set(signed(spool.oldest_age_s.unwrap_or(0)));
        self.left_alone.set(signed(spool.left_alone));
        self.quarantine_bytes.set(signed(spool.quarantine_bytes));
    }
}
