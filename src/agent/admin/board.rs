//! Where the parts of the agent report, and where the doors read.
//!
//! Made before the log is open, so that a long start can be watched. Parts attach themselves as
//! they come up: the queue with its counts, the drain with its view. Reading the board takes a few
//! short locks and never waits for the disk.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use revenium_event::Kind;
use tokio::sync::watch;

use super::{Pace, Pause, ProfileStatus, SpoolStatus, Status, judge};
use crate::admin::Health;
use crate::desk::{ClaimMap, Desk};
use crate::guarantee::Guarantee;
use crate::metrics::PauseReason;
use crate::queue::{CommitPulse, QueueStats};
use crate::secret::Secret;

/// A log that has not moved for so long while something waits on it is stalled. A flush on a disk
/// that works takes milliseconds, on one that struggles seconds.
const STALL_MIN: Duration = Duration::from_secs(30);

/// What is known at start and stays.
pub struct Facts {
    /// The agent's version.
    pub version: &'static str,
    /// This process, by a random id of its own.
    pub instance: String,
    /// What *durable* is worth here.
    pub guarantee: Guarantee,
    /// Where the log is.
    pub data_dir: PathBuf,
    /// Free bytes that are left to others.
    pub free_reserve_bytes: u64,
    /// The configured profiles.
    pub profiles: Vec<ProfileFacts>,
}

/// A configured profile.
pub struct ProfileFacts {
    /// Its name.
    pub name: String,
    /// Where it sends.
    pub url: String,
    /// Whose pace it shares.
    pub account: String,
    /// Its key as it is now.
    pub key: watch::Receiver<Option<Secret>>,
    /// Where the key comes from.
    pub key_source: Option<String>,
}

/// What the drain shows.
#[derive(Debug, Clone, Default)]
pub struct DrainView {
    /// Unknown keys' profiles, with the profile that each is claimed for.
    pub claims: ClaimMap,
    /// Profiles of keys that clients handed over.
    pub handed_over: Vec<ProfileStatus>,
    /// Every pause.
    pub pauses: Vec<PauseView>,
    /// Every account.
    pub pace: Vec<Pace>,
    /// When the upstream last confirmed an event, milliseconds since 1970.
    pub last_delivered_at_ms: Option<u64>,
    /// For how long one of its loops should have turned, and did not. An upstream that is away keeps
    /// none from turning.
    pub overdue: Option<Duration>,
}

/// A pause of one profile.
#[derive(Debug, Clone)]
pub struct PauseView {
    /// Which profile.
    pub profile: String,
    /// The kind that it holds for, by its code; `None`: all.
    pub route: Option<u8>,
    /// Why.
    pub reason: PauseReason,
    /// Why, in words for a person.
    pub words: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// When a record is tried again, milliseconds since 1970, if that is known.
    pub next_probe_ms: Option<u64>,
}

type View<T> = Box<dyn Fn() -> T + Send + Sync>;

/// The board.
pub struct Board {
    facts: Facts,
    started_at_ms: u64,
    /// What is still to come, by part, in the order it was first reported.
    waiting_for: Mutex<Vec<(&'static str, String)>>,
    pulse: Arc<CommitPulse>,
    queue: OnceLock<View<QueueStats>>,
    drain: OnceLock<View<DrainView>>,
    desk: OnceLock<Desk>,
    spool: OnceLock<View<SpoolStatus>>,
}

impl Board {
    /// An empty board: not ready until every one of `parts` has reported [`ready`](Self::ready).
    pub fn new(facts: Facts, parts: &[&'static str]) -> Self {
        let waiting_for = parts.iter().map(|part| (*part, "not started".to_owned())).collect();
        Self {
            facts,
            started_at_ms: now_ms(),
            waiting_for: Mutex::new(waiting_for),
            pulse: Arc::default(),
            queue: OnceLock::new(),
            drain: OnceLock::new(),
            desk: OnceLock::new(),
            spool: OnceLock::new(),
        }
    }

    /// `part` says what it is doing before it is ready, such as `reading segment 3 of 90`.
    pub fn starting(&self, part: &'static str, doing: impl Into<String>) {
        let doing = doing.into();
        let mut waiting_for = self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting_for.iter_mut().find(|(name, _)| *name == part) {
            Some((_, text)) => *text = doing,
            None => waiting_for.push((part, doing)),
        }
    }

    /// Whether what is durable outlives the machine, or the container.
    pub fn is_flushed(&self) -> bool {
        self.facts.guarantee.flushed
    }

    /// `part` is ready.
    pub fn ready(&self, part: &'static str) {
        self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, _)| *name != part);
    }

    /// What is still to come; empty once the agent is ready.
    pub fn waiting_for(&self) -> Vec<String> {
        let waiting_for = self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner);
        waiting_for.iter().map(|(part, doing)| format!("{part}: {doing}")).collect()
    }

    /// Where intake notes its commits, so that a stalled log is noticed.
    pub fn pulse(&self) -> &Arc<CommitPulse> {
        &self.pulse
    }

    /// Why the log or the drain is stalled, if one is.
    pub fn stalled(&self) -> Option<String> {
        self.stalled_for(STALL_MIN)
    }

    /// The same for a time other than what health goes by.
    pub fn stalled_for(&self, min: Duration) -> Option<String> {
        if let Some(still) = self.pulse.still_for(Instant::now()).filter(|still| *still >= min) {
            return Some(format!("the log has not moved for {} s while events wait on it", still.as_secs()));
        }
        let overdue = self.drain_view()?.overdue.filter(|overdue| *overdue >= min)?;
        Some(format!("the drain should have gone on {} s ago", overdue.as_secs()))
    }

    /// Shows the queue's counts from now on. The first call counts.
    pub fn attach_queue(&self, stats: impl Fn() -> QueueStats + Send + Sync + 'static) {
        let _ = self.queue.set(Box::new(stats));
    }

    /// Shows the drain's view from now on. The first call counts.
    pub fn attach_drain(&self, view: impl Fn() -> DrainView + Send + Sync + 'static) {
        let _ = self.drain.set(Box::new(view));
    }

    /// Lets the control socket ask `desk` from now on. The first call counts.
    pub fn attach_desk(&self, desk: Desk) {
        let _ = self.desk.set(desk);
    }

    /// What a person may ask for, once the log is open.
    pub fn desk(&self) -> Option<&Desk> {
        self.desk.get()
    }

    /// Shows what lies in the spool folders from now on. The first call counts.
    pub fn attach_spool(&self, view: impl Fn() -> SpoolStatus + Send + Sync + 'static) {
        let _ = self.spool.set(Box::new(view));
    }

    /// What lies in the spool folders, once that is attached.
    pub fn spool_status(&self) -> Option<SpoolStatus> {
        self.spool.get().map(|view| view())
    }

    /// The queue's counts, once it is attached.
    pub fn queue_stats(&self) -> Option<QueueStats> {
        self.queue.get().map(|stats| stats())
    }

    /// What the drain shows, once it is attached.
    pub fn drain_view(&self) -> Option<DrainView> {
        self.drain.get().map(|view| view())
    }

    /// A snapshot at `now_ms`, milliseconds since 1970.
    pub fn status(&self, now_ms: u64) -> Status {
        let stats = self.queue_stats().unwrap_or_default();
        let drain = self.drain_view().unwrap_or_default();
        let mut status = Status {
            version: self.facts.version.to_owned(),
            instance: self.facts.instance.clone(),
            uptime_s: now_ms.saturating_sub(self.started_at_ms) / 1000,
            health: Health::Ok,
            reasons: Vec::new(),
            guarantee: self.facts.guarantee.clone(),
            data_dir: self.facts.data_dir.display().to_string(),
            profiles: self.profiles(&stats, &drain, now_ms),
            pace: drain.pace,
            last_delivered_at_ms: drain.last_delivered_at_ms,
            oldest_age_s: None,
            log_bytes: stats.log_bytes,
            log_capacity_bytes: stats.log_bytes_max,
            disk_free_bytes: stats.disk_free_bytes,
            free_reserve_bytes: self.facts.free_reserve_bytes,
            imbalance: stats.imbalance,
            damaged_regions: stats.damaged_regions,
            lost: stats.lanes.iter().map(|lane| lane.ledger.lost).sum(),
            quarantine_bytes: stats.quarantine_bytes,
            disk_errors: stats.disk_errors,
            waiting_for: self.waiting_for(),
            stalled: self.stalled(),
            refusing: self.pulse.refusing(Instant::now()),
            spool: self.spool_status().unwrap_or_default(),
        };
        status.oldest_age_s = status.profiles.iter().filter_map(|profile| profile.oldest_age_s).max();
        (status.health, status.reasons) = judge(&status);
        status
    }

    fn profiles(&self, stats: &QueueStats, drain: &DrainView, now_ms: u64) -> Vec<ProfileStatus> {
        let configured = self.facts.profiles.iter().map(|facts| ProfileStatus {
            name: facts.name.clone(),
            url: Some(facts.url.clone()),
            account: Some(facts.account.clone()),
            key: facts.key.borrow().as_ref().map(Secret::masked),
            key_source: facts.key_source.clone(),
            ..ProfileStatus::default()
        });
        let mut profiles: Vec<ProfileStatus> = configured.chain(drain.handed_over.iter().cloned()).collect();
        for (name, claimed_as) in &drain.claims {
            let mut configured = profiles.iter().take(self.facts.profiles.len());
            let of = configured.find(|profile| profile.name == **claimed_as).cloned();
            let claimed = named(&mut profiles, name);
            // One that is configured by now needs no claim.
            if claimed.url.is_none() {
                let name = claimed.name.clone();
                *claimed = ProfileStatus {
                    name,
                    claimed_as: Some(claimed_as.to_string()),
                    ..of.unwrap_or_default()
                };
            }
        }
        for lane in &stats.lanes {
            let profile = named(&mut profiles, &lane.lane.profile);
            profile.waiting += lane.waiting;
            profile.dead += lane.ledger.dead;
            profile.delivered += lane.ledger.delivered;
            if lane.oldest_received_at_ms > 0 {
                let age_s = now_ms.saturating_sub(lane.oldest_received_at_ms) / 1000;
                profile.oldest_age_s = profile.oldest_age_s.max(Some(age_s));
            }
        }
        for pause in &drain.pauses {
            named(&mut profiles, &pause.profile).paused.push(Pause {
                route: pause.route.map(|code| Kind::from_code(code).map_or("other", Kind::name).to_owned()),
                reason: pause.reason.name().to_owned(),
                words: pause.words.clone(),
                since_ms: pause.since_ms,
                next_probe_ms: pause.next_probe_ms,
            });
        }
        profiles
    }
}

/// The profile `name`, added if it is not configured any more.
fn named<'a>(profiles: &'a mut Vec<ProfileStatus>, name: &str) -> &'a mut ProfileStatus {
    let index = profiles.iter().position(|profile| profile.name == name).unwrap_or_else(|| {
        profiles.push(ProfileStatus { name: name.to_owned(), ..ProfileStatus::default() });
        profiles.len() - 1
    });
    &mut profiles[index]
}

/// Wall clock, milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
