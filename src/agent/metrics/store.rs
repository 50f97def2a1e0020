//! Series that come from the queue's own counts, filled in when somebody asks.

use std::sync::{Mutex, PoisonError};

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Registry, Result};

use super::family::{counter, gauge, gauge_family};
use super::labels::OTHER;
use crate::queue::QueueStats;

pub(super) struct StoreMetrics {
    profiles: Vec<String>,
    log_events: IntGaugeVec,
    dead_letters: IntGaugeVec,
    oldest_event_age: IntGaugeVec,
    log_bytes: IntGauge,
    log_capacity_bytes: IntGauge,
    disk_free_bytes: IntGauge,
    quarantine_bytes: IntGauge,
    ledger_imbalance: IntGauge,
    damaged_regions: IntGauge,
    lost_events: IntGauge,
    index_lag_bytes: IntGauge,
    /// Counted by the queue since start, each with how to find it. One scrape at a time raises them.
    counted: Mutex<Vec<(IntCounter, Count)>>,
}

type Count = fn(&QueueStats) -> u64;

impl StoreMetrics {
    pub(super) fn new(registry: &Registry, profiles: &[String]) -> Result<Self> {
        let r = registry;
        let counted: [(&str, &str, Count); 6] = [
            ("events_committed_total", "Events made durable since start.", |stats| stats.commit_records),
            ("commits_total", "Group commits since start.", |stats| stats.commits),
            ("events_deduplicated_total", "Resends recognised and stored once, since start.", |stats| {
                stats.duplicates
            }),
            (
                "events_conflicting_total",
                "Events whose identity had been used for other bytes, since start.",
                |stats| stats.conflicts,
            ),
            ("disk_errors_total", "Failed writes and flushes since start.", |stats| stats.disk_errors),
            (
                "index_rebuilds_total",
                "Times that the index was rebuilt from the log, since start.",
                |stats| stats.index_rebuilds,
            ),
        ];
        let counted = counted.into_iter().map(|(name, help, count)| Ok((counter(r, name, help)?, count)));
        let metrics = Self {
            profiles: profiles.to_vec(),
            log_events: gauge_family(r, "log_events", "Events that wait for delivery.", &["profile"])?,
            dead_letters: gauge_family(
                r,
                "dead_letters",
                "Records refused for good, kept for a person.",
                &["profile"],
            )?,
            oldest_event_age: gauge_family(
                r,
                "oldest_event_age_seconds",
                "Age of the longest waiting event; 0 if none waits.",
                &["profile"],
            )?,
            log_bytes: gauge(r, "log_bytes", "Bytes that the log uses.")?,
            log_capacity_bytes: gauge(r, "log_capacity_bytes", "Bytes that the log may use.")?,
            disk_free_bytes: gauge(r, "disk_free_bytes", "Free bytes of the log's file system.")?,
            quarantine_bytes: gauge(r, "quarantine_bytes", "Damaged bytes that are kept.")?,
            ledger_imbalance: gauge(
                r,
                "ledger_imbalance",
                "Events received that are neither delivered, waiting, dead, discarded nor lost; must be 0.",
            )?,
            damaged_regions: gauge(r, "damaged_regions", "Damaged regions met since the log was made.")?,
            lost_events: gauge(
                r,
                "lost_events",
                "Acknowledged events destroyed by damage since the log was made.",
            )?,
            index_lag_bytes: gauge(
                r,
                "index_lag_bytes",
                "Bytes of the log that the index has yet to follow.",
            )?,
            counted: Mutex::new(counted.collect::<Result<_>>()?),
        };
        metrics.fill(&QueueStats::default(), 0);
        Ok(metrics)
    }

    /// The configured profiles.
    pub(super) fn configured(&self) -> &[String] {
        &self.profiles
    }

    pub(super) fn fill(&self, stats: &QueueStats, now_ms: u64) {
        for profile in self.profiles.iter().map(String::as_str).chain([OTHER]) {
            self.fill_profile(profile, stats, now_ms);
        }
        for (gauge, value) in [
            (&self.log_bytes, stats.log_bytes),
            (&self.log_capacity_bytes, stats.log_bytes_max),
            (&self.disk_free_bytes, stats.disk_free_bytes),
            (&self.quarantine_bytes, stats.quarantine_bytes),
            (&self.ledger_imbalance, stats.imbalance),
            (&self.damaged_regions, stats.damaged_regions),
            (&self.lost_events, stats.lanes.iter().map(|lane| lane.ledger.lost).sum()),
            (&self.index_lag_bytes, stats.index_lag_bytes),
        ] {
            gauge.set(signed(value));
        }
        for (counter, count) in &*self.counted.lock().unwrap_or_else(PoisonError::into_inner) {
            counter.inc_by(count(stats).saturating_sub(counter.get()));
        }
    }

    /// Lanes of profiles that aren't configured are counted together, as `other`.
    fn fill_profile(&self, profile: &str, stats: &QueueStats, now_ms: u64) {
        let lanes = || {
            stats.lanes.iter().filter(|lane| {
                let name = &*lane.lane.profile;
                name == profile || profile == OTHER && !self.profiles.iter().any(|profile| profile == name)
            })
        };
        let oldest = lanes().map(|lane| lane.oldest_received_at_ms).filter(|at_ms| *at_ms > 0).min();
        let age_ms = oldest.map_or(0, |at_ms| now_ms.saturating_sub(at_ms));
        let label = [profile];
        self.log_events.with_label_values(&label).set(signed(lanes().map(|lane| lane.waiting).sum()));
        self.dead_letters.with_label_values(&label).set(signed(lanes().map(|lane| lane.ledger.dead).sum()));
        self.oldest_event_age.with_label_values(&label).set(signed(age_ms / 1000));
    }
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
