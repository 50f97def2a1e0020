//! What `status` tells: one snapshot, as JSON between processes and on one screen for people.

use serde::{Deserialize, Serialize};

use super::Health;
use crate::guarantee::Guarantee;

/// A snapshot of the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// This process, by a random id of its own.
    pub instance: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// How it does.
    pub health: Health,
    /// Why it isn't `ok`; empty if it is.
    pub reasons: Vec<String>,
    /// What *durable* is worth on this file system.
    pub guarantee: Guarantee,
    /// Where the log is.
    pub data_dir: String,
    /// Every configured profile, then any other that the log holds records of.
    pub profiles: Vec<ProfileStatus>,
    /// How fast each account is sent to.
    pub pace: Vec<Pace>,
    /// When the upstream last confirmed an event, milliseconds since 1970.
    pub last_delivered_at_ms: Option<u64>,
    /// Age of the longest waiting event, in seconds.
    pub oldest_age_s: Option<u64>,
    /// Bytes that the log uses.
    pub log_bytes: u64,
    /// Bytes that it may use.
    pub log_capacity_bytes: u64,
    /// Free bytes of its file system.
    pub disk_free_bytes: u64,
    /// Free bytes that are left to others.
    pub free_reserve_bytes: u64,
    /// Events that the ledger cannot account for; must be 0.
    pub imbalance: u64,
    /// Damaged regions met since the log was made.
    pub damaged_regions: u64,
    /// Acknowledged events that damage destroyed, since the log was made.
    pub lost: u64,
    /// Damaged bytes that are kept for a person.
    pub quarantine_bytes: u64,
    /// Failed writes and flushes since start.
    pub disk_errors: u64,
    /// What is still to come before the agent is ready.
    pub waiting_for: Vec<String>,
    /// Why the log doesn't move, if it should and doesn't.
    pub stalled: Option<String>,
    /// Why events are refused, if the log refused the last ones.
    #[serde(default)]
    pub refusing: Option<String>,
    /// What lies in the spool folders.
    #[serde(default)]
    pub spool: SpoolStatus,
}

/// What lies in the spool folders, all together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// Files that wait to be taken in.
    pub waiting_files: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Since when the oldest of them was not written to, in seconds.
    pub oldest_age_s: Option<u64>,
    /// What is there and is not taken in.
    pub left_alone: u64,
    /// Bytes of bad lines that are kept for a person.
    pub quarantine_bytes: u64,
    /// What stands in the way, one sentence a folder.
    pub problems: Vec<String>,
}

impl SpoolStatus {
    /// Adds what lies in another folder.
    pub fn add(&mut self, other: &Self) {
        self.waiting_files += other.waiting_files;
        self.waiting_bytes += other.waiting_bytes;
        self.oldest_age_s = self.oldest_age_s.max(other.oldest_age_s);
        self.left_alone += other.left_alone;
        self.quarantine_bytes += other.quarantine_bytes;
        self.problems.extend_from_slice(&other.problems);
    }
}

/// One profile.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfileStatus {
    /// Its name.
    pub name: String,
    /// Where it sends; `None` for one that is no longer configured.
    pub url: Option<String>,
    /// Whose pace it shares.
    pub account: Option<String>,
    /// Its key, masked; `None` if it has none.
    pub key: Option<String>,
    /// Where the key comes from.
    pub key_source: Option<String>,
    /// For the profile of an unknown key: the profile whose URL and key it is sent with.
    #[serde(default)]
    pub claimed_as: Option<String>,
    /// Events that wait.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Events delivered since the log was made.
    pub delivered: u64,
    /// Age of the longest waiting one, in seconds.
    pub oldest_age_s: Option<u64>,
    /// What keeps it from sending.
    pub paused: Vec<Pause>,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The kind that it holds for; `None`: all.
    pub route: Option<String>,
    /// Why, as in metrics.
    pub reason: String,
    /// Why, for a person.
    pub words: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// When a record is tried again, milliseconds since 1970, if that is known.
    pub next_probe_ms: Option<u64>,
}

/// An account's pace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Which account.
    pub account: String,
    /// Requests a second that it is held to; `None`: as many as it takes.
    pub requests_per_second: Option<f64>,
    /// Requests that await their answer.
    pub in_flight: u64,
    /// What holds it back beside its pace, for a person: a wait that was asked for, an outage.
    pub note: Option<String>,
}
