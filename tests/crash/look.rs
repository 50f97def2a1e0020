//! The agent as it shows itself: `status` and metrics, in which nothing may be wrong at any time.

use revenium_agent::admin;
use serde_json::Value;

use crate::support::Home;

/// One look.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) is_ready: bool,
    pub(crate) waiting: u64,
    /// Since the log was made.
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
    /// Since the agent started.
    pub(crate) duplicates: u64,
}

/// Asks the agent that runs in `home`. Fails if something is lost, damaged or out of balance.
pub(crate) fn look(home: &Home) -> Seen {
    let ask = |path| admin::ask(&home.path("data"), path).expect("the control socket answers");
    let status: Value = serde_json::from_str(&ask("/status")).expect("is JSON");
    for name in ["imbalance", "lost", "damaged_regions", "quarantine_bytes", "disk_errors"] {
        assert_eq!(status[name], 0, "{name}: {status:#}");
    }
    let metrics = ask("/metrics");
    let value = |name| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Seen {
        is_ready: status["waiting_for"].as_array().is_some_and(Vec::is_empty),
        waiting: sum(&status, "waiting"),
        delivered: sum(&status, "delivered"),
        dead: sum(&status, "dead"),
        duplicates: value("revenium_agent_events_deduplicated_total").expect("is a metric"),
    }
}

/// Over all profiles.
fn sum(status: &Value, name: &str) -> u64 {
    let profiles = status["profiles"].as_array().expect("profiles");
    profiles.iter().map(|profile| profile[name].as_u64().expect(name)).sum()
}
