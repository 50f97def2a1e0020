//! Tests of `metrics`.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::queue::{Lane, LaneStats};

fn metrics() -> Metrics {
    Metrics::new(&["default".to_owned(), "team".to_owned()], &["api.revenium.ai".to_owned()], "1.2.3")
}

fn lane(profile: &str, route: u8, waiting: u64, dead: u64, oldest_received_at_ms: u64) -> LaneStats {
    let mut stats = LaneStats {
        lane: Lane { profile: Arc::from(profile), route },
        waiting,
        claimed: 0,
        oldest_received_at_ms,
        ledger: Default::default(),
    };
    (stats.ledger.dead, stats.ledger.lost) = (dead, 1);
    stats
}

/// Names and labels of all series, without values.
fn series(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series).collect()
}

fn value<'a>(text: &'a str, series: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(&format!("revenium_agent_{series} ")))
}

#[test]
fn every_series_is_there_from_the_start_and_none_appears_later() {
    let metrics = metrics();
    let before = metrics.render(None, 0);
    for expected in [
        "revenium_agent_events_received_total{kind=\"completion\",via=\"socket\"}",
        "revenium_agent_events_rejected_total{reason=\"full\"}",
        "revenium_agent_events_committed_total",
        "revenium_agent_events_delivered_total{kind=\"api-response\"}",
        "revenium_agent_events_deduplicated_total",
        "revenium_agent_events_dead_lettered_total{reason=\"mismatch\"}",
        "revenium_agent_event_warnings_total{what=\"cut\"}",
        "revenium_agent_commit_duration_seconds_count",
        "revenium_agent_flush_duration_seconds_count",
        "revenium_agent_log_events{profile=\"team\"}",
        "revenium_agent_log_bytes",
        "revenium_agent_log_capacity_bytes",
        "revenium_agent_oldest_event_age_seconds{profile=\"default\"}",
        "revenium_agent_delivery_duration_seconds_count{outcome=\"retry\"}",
        "revenium_agent_received_to_delivered_seconds_count",
        "revenium_agent_pace_requests_per_second{account=\"api.revenium.ai\"}",
        "revenium_agent_paused{profile=\"team\",reason=\"key\",route=\"all\"}",
        "revenium_agent_disk_free_bytes",
        "revenium_agent_disk_reserve_bytes",
        "revenium_agent_log_stalled",
        "revenium_agent_tokens_total{provider=\"anthropic\",type=\"cache_read\"}",
        "revenium_agent_ledger_imbalance",
        "revenium_agent_damaged_regions",
        "revenium_agent_lost_events",
        "revenium_agent_effective_guarantee",
        "revenium_agent_build_info{version=\"1.2.3\"}",
        "revenium_agent_connections",
        "revenium_agent_sent_after_key_expiry_total",
        "revenium_agent_receipts_missed_total",
        "revenium_agent_index_rebuilds_total",
        "revenium_agent_events_received_total{kind=\"completion\",via=\"spool\"}",
        "revenium_agent_spool_files_taken_total",
        "revenium_agent_spool_bad_lines_total",
        "revenium_agent_spool_waiting_files",
        "revenium_agent_spool_waiting_bytes",
        "revenium_agent_spool_oldest_file_age_seconds",
        "revenium_agent_spool_left_alone_files",
        "revenium_agent_spool_quarantine_bytes",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(series(&before).contains(&expected), "{expected} is missing");
    }

    metrics.received(Via::Relay, 3, 2);
    metrics.received(Via::Socket, 99, 1);
    metrics.rejected(Rejected::TooLarge);
    metrics.delivered(0, Duration::from_secs(3));
    metrics.dead_lettered(5);
    metrics.dead_lettered(200);
    metrics.event_warning("renamed");
    metrics.event_warning("nobody knows");
    metrics.tokens(&Tokens { output: 5, ..Tokens::default() });
    metrics.limit_reached(Limit::LineTime);
    metrics.sent_after_key_expiry();
    metrics.committed_in(Duration::from_millis(1));
    metrics.flushed_in(Duration::from_millis(1));
    metrics.requested(Outcome::Blocked, Duration::from_millis(1));
    metrics.set_pace("api.revenium.ai", 20.0, 3);
    metrics.set_pace("an account that nobody configured", 20.0, 3);
    metrics.set_pauses(&[
        ("team", Some(0), PauseReason::Key),
        ("key-0123456789", None, PauseReason::NoKey),
        ("team", Some(200), PauseReason::Key),
    ]);
    metrics.connection_opened();
    metrics.set_guarantee(true);
    let lanes = vec![lane("default", 0, 1, 0, 1), lane("key-0123456789", 0, 1, 0, 1)];
    let after = metrics.render(Some(&QueueStats { lanes, ..QueueStats::default() }), 5_000);
    assert_eq!(series(&before), series(&after));
}

#[test]
fn counts_arrive_at_their_series() {
    let metrics = metrics();
    metrics.clone().received(Via::Socket, 0, 3);
    metrics.rejected(Rejected::Full);
    metrics.delivered(4, Duration::from_millis(2500));
    metrics.tokens(&Tokens {
        provider: Provider::Anthropic,
        input: 1000,
        cache_read: 7,
        ..Tokens::default()
    });
    metrics.dead_lettered(4);
    metrics.event_warning("cut");
    metrics.connection_opened();
    metrics.connection_opened();
    metrics.connection_closed();
    metrics.requested(Outcome::Delivered, Duration::from_millis(300));
    metrics.set_pace("api.revenium.ai", 12.5, 4);
    metrics.set_pauses(&[("team", Some(0), PauseReason::Key), ("default", None, PauseReason::NoKey)]);
    metrics.set_guarantee(true);
    metrics.set_disk_reserve(512 << 20);
    metrics.set_stalled(true);
    let text = metrics.render(None, 0);
    for (series, expected) in [
        ("events_received_total{kind=\"completion\",via=\"socket\"}", "3"),
        ("events_received_total{kind=\"image\",via=\"socket\"}", "0"),
        ("events_rejected_total{reason=\"full\"}", "1"),
        ("events_delivered_total{kind=\"tool\"}", "1"),
        ("received_to_delivered_seconds_sum", "2.5"),
        ("tokens_total{provider=\"anthropic\",type=\"input\"}", "1000"),
        ("delivery_duration_seconds_count{outcome=\"delivered\"}", "1"),
        ("pace_requests_per_second{account=\"api.revenium.ai\"}", "12.5"),
        ("requests_in_flight{account=\"api.revenium.ai\"}", "4"),
        ("paused{profile=\"team\",reason=\"key\",route=\"completion\"}", "1"),
        ("paused{profile=\"default\",reason=\"no_key\",route=\"all\"}", "1"),
        ("paused{profile=\"default\",reason=\"key\",route=\"completion\"}", "0"),
        ("tokens_total{provider=\"anthropic\",type=\"cache_read\"}", "7"),
        ("events_dead_lettered_total{reason=\"mismatch\"}", "1"),
        ("event_warnings_total{what=\"cut\"}", "1"),
        ("connections", "1"),
        ("paused{profile=\"team\",reason=\"payment\",route=\"completion\"}", "0"),
        ("effective_guarantee", "1"),
        ("disk_reserve_bytes", "536870912"),
        ("log_stalled", "1"),
        ("build_info{version=\"1.2.3\"}", "1"),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}");
    }
    metrics.set_pauses(&[]);
    let text = metrics.render(None, 0);
    assert_eq!(value(&text, "paused{profile=\"team\",reason=\"key\",route=\"completion\"}"), Some("0"));
}

#[test]
fn the_queues_counts_are_filled_in_when_asked_for() {
    let metrics = metrics();
    let stats = QueueStats {
        lanes: vec![
            lane("default", 0, 5, 1, 4_000),
            lane("default", 1, 2, 0, 9_000),
            lane("key-0123456789", 0, 7, 0, 1_000),
            lane("key-abcdef", 0, 1, 0, 0),
        ],
        commit_records: 40,
        duplicates: 2,
        log_bytes: 1 << 20,
        imbalance: 3,
        ..QueueStats::default()
    };
    metrics.render(Some(&stats), 10_000);
    // Counted once however often it is asked for.
    let text = metrics.render(Some(&QueueStats { commit_records: 41, ..stats }), 10_000);
    for (series, expected) in [
        ("log_events{profile=\"default\"}", "7"),
        ("log_events{profile=\"other\"}", "8"),
        ("log_events{profile=\"team\"}", "0"),
        ("dead_letters{profile=\"default\"}", "1"),
        ("oldest_event_age_seconds{profile=\"default\"}", "6"),
        ("oldest_event_age_seconds{profile=\"other\"}", "9"),
        ("oldest_event_age_seconds{profile=\"team\"}", "0"),
        ("events_committed_total", "41"),
        ("events_deduplicated_total", "2"),
        ("log_bytes", "1048576"),
        ("ledger_imbalance", "3"),
        ("lost_events", "4"),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}");
    }
}
