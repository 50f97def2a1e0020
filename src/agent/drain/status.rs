//! What the drain tells: a snapshot for `status` and metrics, and an observer for every answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use revenium_store::{Lane, Record};
use tokio::time::Instant;

use super::reason::Reason;
use crate::upstream::Reply;

/// Why something is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseWhy {
    /// The profile has no key.
    NoKey,
    /// Several records met a refusal that is not about them.
    Blocked,
}

impl PauseWhy {
    /// Its name in metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoKey => "no-key",
            Self::Blocked => "blocked",
        }
    }
}

/// A profile, or one route of it, that is not sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseStatus {
    /// Name of the profile.
    pub profile: String,
    /// The route; `None` for the whole profile.
    pub route: Option<u8>,
    /// Why.
    pub why: PauseWhy,
    /// HTTP status that was met last, 0 if none.
    pub status: u16,
    /// What is wrong, in words.
    pub words: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// When a record is tried next, milliseconds since 1970; `None`: when there is a key.
    pub next_probe_ms: Option<u64>,
}

/// The last answer that was no delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The record's lane.
    pub lane: Lane,
    /// The outcome's name.
    pub outcome: &'static str,
    /// HTTP status, 0 if none was heard.
    pub status: u16,
    /// The server's words, or the transport's.
    pub words: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// One account as it is now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccountStatus {
    /// Name of the account.
    pub account: String,
    /// Its profiles.
    pub profiles: Vec<String>,
    /// The pace, requests per second; `None` if unlimited.
    pub requests_per_second: Option<f64>,
    /// Requests on their way.
    pub in_flight: usize,
    /// Requests that may be.
    pub in_flight_max: usize,
    /// Until when a 429 asked us to wait, milliseconds since 1970, and why.
    pub throttled: Option<(u64, String)>,
    /// Since when the upstream has been failing, and when the next probe goes, milliseconds since 1970.
    pub outage: Option<(u64, u64)>,
    /// Whether a run of permanent refusals has slowed sending right down.
    pub is_slowed_by_refusals: bool,
    /// Pauses, without those of other accounts.
    pub pauses: Vec<PauseStatus>,
    /// When a record was last delivered, milliseconds since 1970; 0 if none was since start.
    pub delivered_at_ms: u64,
    /// The last answer that was no delivery.
    pub trouble: Option<Trouble>,
    /// When its loop turns next at the latest, if it runs. Later than that it hangs.
    pub turns_by: Option<Instant>,
}

/// Reads the drain's state at any time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Status {
    accounts: Arc<[Mutex<AccountStatus>]>,
}

impl Status {
    pub(super) fn new(accounts: Vec<AccountStatus>) -> Self {
        Self { accounts: accounts.into_iter().map(Mutex::new).collect() }
    }

    /// Every account, as it was a moment ago.
    pub fn snapshot(&self) -> Vec<AccountStatus> {
        let read =
            |account: &Mutex<AccountStatus>| account.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.accounts.iter().map(read).collect()
    }

    /// For how long a loop should have turned at `now`, and did not; the longest of all.
    pub fn overdue(&self, now: Instant) -> Option<Duration> {
        let late = |account: &Mutex<AccountStatus>| {
            let turns_by = account.lock().unwrap_or_else(PoisonError::into_inner).turns_by?;
            now.checked_duration_since(turns_by)
        };
        self.accounts.iter().filter_map(late).max()
    }

    pub(super) fn update(&self, account: usize, change: impl FnOnce(&mut AccountStatus)) {
        if let Some(account) = self.accounts.get(account) {
            change(&mut account.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// One settled answer.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    /// The record.
    pub record: &'a Record,
    /// The outcome's name: `delivered`, `retry`, `refused`, `blocked`.
    pub outcome: &'static str,
    /// The answer, if one was heard.
    pub reply: Option<&'a Reply>,
    /// HTTP status, 0 if none was heard.
    pub status: u16,
    /// From sending to the answer.
    pub took: Duration,
    /// From the record's receipt to this answer, by the wall clock.
    pub since_received: Duration,
    /// When it was answered, milliseconds since 1970.
    pub at_ms: u64,
    /// Attempts by now, as far as the log knows.
    pub attempts: u32,
    /// The reason, if the record became a dead letter.
    pub dead: Option<Reason>,
    /// Whether the request went out after Revenium had forgotten the record's key (24 h).
    pub after_key_expiry: bool,
}

/// Is told of every answer, in the drain's task: it should count and return.
pub trait Observer: Send + Sync + 'static {
    /// A record was sent, answered, and settled.
    fn settled(&self, settled: &Settled<'_>) {
        let _ = settled;
    }
}

/// Nobody watches.
impl Observer for () {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_did_not_turn_when_it_said_is_overdue_and_one_that_has_ended_is_not() {
        let status = Status::new(vec![AccountStatus::default(), AccountStatus::default()]);
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(status.overdue(at(100)), None, "none runs");
        status.update(0, |account| account.turns_by = Some(at(5)));
        status.update(1, |account| account.turns_by = Some(at(60)));
        assert_eq!(status.overdue(at(4)), None);
        assert_eq!(status.overdue(at(65)), Some(Duration::from_secs(60)));
        status.update(0, |account| account.turns_by = None);
        assert_eq!(status.overdue(at(65)), Some(Duration::from_secs(5)));
    }
}
