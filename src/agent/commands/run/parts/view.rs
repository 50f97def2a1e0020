//! What the drain and the lanes show on the board. Pure.

use std::collections::BTreeSet;

use crate::admin::{DrainView, Pace, PauseView};
use crate::drain::{AccountStatus, PauseStatus, PauseWhy};
use crate::metrics::PauseReason;
use crate::queue::LaneStats;

/// The drain's accounts as the board shows them, and lanes that no configured profile drains.
pub(super) fn view(
    accounts: &[AccountStatus],
    lanes: &[LaneStats],
    configured: &BTreeSet<String>,
) -> DrainView {
    let pauses = accounts.iter().flat_map(|account| &account.pauses).map(pause);
    DrainView {
        pauses: pauses.chain(not_configured(lanes, configured)).collect(),
        pace: accounts.iter().map(pace).collect(),
        last_delivered_at_ms: accounts
            .iter()
            .map(|account| account.delivered_at_ms)
            .filter(|at| *at > 0)
            .max(),
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

/// A profile that records wait for and that isn't configured (any more): nothing of it is sent or
/// dropped until it is configured again.
fn not_configured<'a>(
    lanes: &'a [LaneStats],
    configured: &'a BTreeSet<String>,
) -> impl Iterator<Item = PauseView> + 'a {
    let waiting = lanes.iter().filter(|lane| lane.waiting > 0 && !configured.contains(&*lane.lane.profile));
    let profiles: BTreeSet<&str> = waiting.clone().map(|lane| &*lane.lane.profile).collect();
    profiles.into_iter().map(move |profile| {
        let of_profile = waiting.clone().filter(|lane| &*lane.lane.profile == profile);
        PauseView {
            profile: profile.to_owned(),
            route: None,
            reason: PauseReason::NotConfigured,
            words: "profile not configured".to_owned(),
            since_ms: of_profile.map(|lane| lane.oldest_received_at_ms).min().unwrap_or(0),
            next_probe_ms: None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Lane;

    #[test]
    fn records_of_a_profile_that_is_gone_show_as_paused() {
        let lane = |profile: &str, route, waiting| LaneStats {
            lane: Lane { profile: profile.into(), route },
            waiting,
            claimed: 0,
            oldest_received_at_ms: 100 + u64::from(route),
            ledger: revenium_store::Ledger::default(),
        };
        let lanes = [lane("here", 0, 5), lane("gone", 3, 2), lane("gone", 1, 2), lane("emptied", 0, 0)];
        let view = view(&[], &lanes, &BTreeSet::from(["here".to_owned()]));
        let pauses: Vec<_> =
            view.pauses.iter().map(|pause| (pause.profile.as_str(), pause.reason, pause.since_ms)).collect();
        assert_eq!(pauses, [("gone", PauseReason::NotConfigured, 101)]);
        assert_eq!(view.pauses[0].words, "profile not configured");
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
        let view = view(&[account], &[], &BTreeSet::new());
        assert_eq!(
            (view.pauses[0].reason, view.pauses[0].words.as_str()),
            (PauseReason::Key, "Invalid API key (401)")
        );
        assert_eq!(view.last_delivered_at_ms, None);
    }
}
