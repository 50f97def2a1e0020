//! What the drain and the lanes show on the board. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::admin::{DrainView, Pace, PauseView};
use crate::desk::{ClaimMap, is_unknown_key};
use crate::drain::{AccountStatus, PauseStatus, PauseWhy};
use crate::metrics::PauseReason;
use crate::queue::LaneStats;

/// Whose records are sent.
pub(super) struct Drained<'a> {
    /// The configured profiles.
    pub(super) configured: &'a BTreeSet<Arc<str>>,
    /// Unknown keys' profiles, with the profile that each is claimed for.
    pub(super) claims: &'a ClaimMap,
    /// Whether clients hand their keys over: then a profile without one is no trouble until events wait for it.
    pub(super) takes_keys: bool,
}

impl Drained<'_> {
    /// Why nothing of `profile` is sent, if nothing is.
    fn objection(&self, profile: &str) -> Option<String> {
        match self.claims.get(profile) {
            _ if self.configured.contains(profile) => None,
            Some(claimed_as) if self.configured.contains(claimed_as) => None,
            Some(claimed_as) => Some(format!("claimed as {claimed_as}, which is not configured")),
            None if is_unknown_key(profile) => {
                Some(format!("unknown API key: revenium-agent profile claim {profile} --as NAME"))
            }
            None => Some("profile not configured".to_owned()),
        }
    }
}

/// The drain's accounts as the board shows them, and lanes that nobody drains.
pub(super) fn view(accounts: &[AccountStatus], lanes: &[LaneStats], drained: &Drained<'_>) -> DrainView {
    let waits = |profile: &str| lanes.iter().any(|lane| lane.waiting > 0 && *lane.lane.profile == *profile);
    let is_trouble =
        |pause: &&PauseStatus| !drained.takes_keys || pause.why != PauseWhy::NoKey || waits(&pause.profile);
    let pauses = accounts.iter().flat_map(|account| &account.pauses).filter(is_trouble).map(pause);
    DrainView {
        claims: drained.claims.clone(),
        handed_over: Vec::new(),
        pauses: pauses.chain(not_sent(lanes, drained)).collect(),
        pace: accounts.iter().map(pace).collect(),
        last_delivered_at_ms: accounts
            .iter()
            .map(|account| account.delivered_at_ms)
            .filter(|at| *at > 0)
            .max(),
        overdue: None,
    }
}

fn pause(pause: &PauseStatus) -> PauseView {
    let (reason, words) = match pause.why {
        PauseWhy::NoKey => (PauseReason::NoKey, pause.words.clone()),
        PauseWhy::Blocked if pause.status == 0 => (PauseReason::Other, pause.words.clone()),
        PauseWhy::Blocked => {
            (PauseReason::of_status(pause.status), format!("{} ({})", pause.words, pause.status))
        }
    };
    PauseView {
        profile: pause.profile.clone(),
        route: pause.route,
        reason,
        words,
        since_ms: pause.since_ms,
        next_probe_ms: pause.next_probe_ms,
    }
}

fn pace(account: &AccountStatus) -> Pace {
    let mut notes = Vec::new();
    if let Some((_, reason)) = &account.throttled {
        let reason = if reason.is_empty() { "429" } else { reason };
        notes.push(format!("waits as the upstream asked ({reason})"));
    }
    let trouble = account.trouble.as_ref();
    if account.outage.is_some() {
        let why = trouble.map_or("", |trouble| trouble.words.as_str());
        notes.push(format!("the upstream fails, probing: {why}"));
    } else if let Some(trouble) = trouble.filter(|trouble| trouble.at_ms >= account.delivered_at_ms) {
        // Before enough was met for a pause, this is all there is to see of a wrong key or URL.
        notes.push(match trouble.status {
            0 => format!("nothing delivered since: {}", trouble.words),
            status => format!("nothing delivered since: {} ({status})", trouble.words),
        });
    }
    if account.is_slowed_by_refusals {
        notes.push("slowed down after a run of refusals".to_owned());
    }
    Pace {
        account: account.account.clone(),
        requests_per_second: account.requests_per_second,
        in_flight: account.in_flight as u64,
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

/// A profile that records wait for and that isn't configured (any more), nor claimed: nothing of it is
/// sent or dropped until it is.
fn not_sent(lanes: &[LaneStats], drained: &Drained<'_>) -> Vec<PauseView> {
    let waiting = lanes.iter().filter(|lane| lane.waiting > 0);
    let profiles: BTreeSet<&str> = waiting.clone().map(|lane| &*lane.lane.profile).collect();
    let pause = |profile: &str| {
        let of_profile = waiting.clone().filter(|lane| *lane.lane.profile == *profile);
        Some(PauseView {
            profile: profile.to_owned(),
            route: None,
            reason: PauseReason::NotConfigured,
            words: drained.objection(profile)?,
            since_ms: of_profile.map(|lane| lane.oldest_received_at_ms).min().unwrap_or(0),
            next_probe_ms: None,
        })
    };
    profiles.into_iter().filter_map(pause).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Lane;

    #[test]
    fn records_that_nobody_sends_show_as_paused_with_what_to_do() {
        let lane = |profile: &str, route, waiting| LaneStats {
            lane: Lane { profile: profile.into(), route },
            waiting,
            claimed: 0,
            oldest_received_at_ms: 100 + u64::from(route),
            ledger: revenium_store::Ledger::default(),
        };
        let waits = |profile| lane(profile, 0, 1);
        let mut lanes =
            vec![lane("here", 0, 5), lane("gone", 3, 2), lane("gone", 1, 2), lane("emptied", 0, 0)];
        lanes.extend(["key-a", "key-b", "key-c"].map(waits));
        let claims = [("key-a", "here"), ("key-b", "gone")];
        let claims = claims.map(|(name, of)| (name.into(), of.into())).into();
        let drained =
            Drained { configured: &BTreeSet::from(["here".into()]), claims: &claims, takes_keys: false };
        let view = view(&[], &lanes, &drained);
        let pauses: Vec<_> =
            view.pauses.iter().map(|p| (p.profile.as_str(), p.words.as_str(), p.since_ms)).collect();
        let unknown = "unknown API key: revenium-agent profile claim key-c --as NAME";
        assert_eq!(
            pauses,
            [
                ("gone", "profile not configured", 101),
                ("key-b", "claimed as gone, which is not configured", 100),
                ("key-c", unknown, 100)
            ]
        );
        assert!(view.pauses.iter().all(|pause| pause.reason == PauseReason::NotConfigured));
    }

    #[test]
    fn the_last_failure_is_shown_until_something_is_delivered() {
        let trouble = crate::drain::Trouble {
            lane: Lane { profile: "default".into(), route: 0 },
            outcome: "blocked",
            status: 401,
            words: "the API key is not accepted".to_owned(),
            at_ms: 500,
        };
        let note = |delivered_at_ms| {
            let trouble = Some(trouble.clone());
            pace(&AccountStatus { trouble, delivered_at_ms, ..AccountStatus::default() }).note
        };
        assert_eq!(note(499).as_deref(), Some("nothing delivered since: the API key is not accepted (401)"));
        assert_eq!(note(501), None);
    }

    #[test]
    fn a_pause_tells_the_status_that_was_met() {
        let status = PauseStatus {
            profile: "default".to_owned(),
            route: None,
            why: PauseWhy::Blocked,
            status: 401,
            words: "Invalid API key".to_owned(),
            since_ms: 7,
            next_probe_ms: Some(9),
        };
        let account = AccountStatus { pauses: vec![status], delivered_at_ms: 0, ..AccountStatus::default() };
        let drained = Drained { configured: &BTreeSet::new(), claims: &ClaimMap::new(), takes_keys: false };
        let view = view(&[account], &[], &drained);
        assert_eq!(
            (view.pauses[0].reason, view.pauses[0].words.as_str()),
            (PauseReason::Key, "Invalid API key (401)")
        );
        assert_eq!(view.last_delivered_at_ms, None);
    }
}
