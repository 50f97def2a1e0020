//! How the agent does, as one word with its reasons. Pure.
//!
//! *failing*: money is at risk, or events are refused. *degraded*: nothing is lost, but a person
//! should look. Every reason can be ended by what it asks for; counts that only grow (regions that
//! were damaged once) are shown, and don't count against health for ever.

use serde::{Deserialize, Serialize};

use super::Status;

/// An event that has waited so long is worth a look, whatever the cause.
const OLDEST_AGE_S_MAX: u64 = 15 * 60;

/// In words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing to do.
    Ok,
    /// Nothing is lost; a person should look.
    Degraded,
    /// Events are refused, or cannot be accounted for.
    Failing,
}

impl Health {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// Judges everything in `status` but its own `health` and `reasons`.
pub fn judge(status: &Status) -> (Health, Vec<String>) {
    let mut reasons = Vec::new();
    let mut add = |health: Health, condition: bool, reason: &dyn Fn() -> String| {
        if condition {
            reasons.push((health, reason()));
        }
    };
    let s = status;
    let log_is_open = s.log_capacity_bytes > 0;
    let dead: u64 = s.profiles.iter().map(|profile| profile.dead).sum();
    let oldest_age_s = s.oldest_age_s.unwrap_or(0);
    // Nine tenths, without overflow.
    let nearly_full = s.log_bytes >= s.log_capacity_bytes - s.log_capacity_bytes / 10;

    add(Health::Failing, s.stalled.is_some(), &|| s.stalled.clone().unwrap_or_default());
    add(Health::Failing, s.refusing.is_some(), &|| {
        format!("events are refused: {}", s.refusing.as_deref().unwrap_or_default())
    });
    add(Health::Failing, s.imbalance > 0, &|| format!("the ledger is {} events out of balance", s.imbalance));
    // The segments that are there still take events, so these two only announce the one above.
    add(Health::Degraded, log_is_open && s.log_bytes >= s.log_capacity_bytes, &|| {
        "the log cannot grow any more: events are refused once its last segment is full".to_owned()
    });
    add(Health::Degraded, log_is_open && s.disk_free_bytes < s.free_reserve_bytes, &|| {
        "the disk is full up to its reserve: events are refused once the last segment is full".to_owned()
    });
    add(Health::Degraded, !s.waiting_for.is_empty(), &|| format!("not ready: {}", s.waiting_for.join("; ")));
    add(Health::Degraded, log_is_open && nearly_full && s.log_bytes < s.log_capacity_bytes, &|| {
        "the log is nine tenths full".to_owned()
    });
    for profile in &s.profiles {
        for pause in &profile.paused {
            let route = pause.route.as_deref().unwrap_or("everything");
            add(Health::Degraded, true, &|| format!("{}: {route} is paused: {}", profile.name, pause.words));
        }
    }
    add(Health::Degraded, dead > 0, &|| format!("{dead} dead letters wait for a person"));
    add(Health::Degraded, oldest_age_s > OLDEST_AGE_S_MAX, &|| {
        format!("the oldest event has waited for {} minutes", oldest_age_s / 60)
    });
    add(Health::Degraded, s.disk_errors > 0, &|| {
        format!("{} writes or flushes failed since start: look at the disk", s.disk_errors)
    });
    add(Health::Degraded, s.quarantine_bytes > 0, &|| {
        format!("{} damaged bytes are quarantined; {} events were lost", s.quarantine_bytes, s.lost)
    });
    for problem in &s.spool.problems {
        add(Health::Degraded, true, &|| format!("spool: {problem}"));
    }
    add(Health::Degraded, s.spool.quarantine_bytes > 0, &|| {
        format!("bad lines of spool files are kept in {}/spool-quarantine: look at them", s.data_dir)
    });
    add(Health::Degraded, !s.guarantee.flushed, &|| format!("durability is {}", s.guarantee.text));

    let health = reasons.iter().map(|(health, _)| *health).max().unwrap_or(Health::Ok);
    reasons.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
    (health, reasons.into_iter().map(|(_, reason)| reason).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Pause, ProfileStatus};

    #[test]
    fn health_is_the_worst_of_its_reasons() {
        type Spoil = fn(&mut Status);
        let table: [(Spoil, Health, &[&str]); 18] = [
            (|_| {}, Health::Ok, &[]),
            (
                |s| s.stalled = Some("the log has not moved for 40 s".to_owned()),
                Health::Failing,
                &["the log has not moved for 40 s"],
            ),
            (
                |s| s.refusing = Some("the log is full".to_owned()),
                Health::Failing,
                &["events are refused: the log is full"],
            ),
            (|s| s.imbalance = 2, Health::Failing, &["the ledger is 2 events out of balance"]),
            (
                |s| s.disk_errors = 1,
                Health::Degraded,
                &["1 writes or flushes failed since start: look at the disk"],
            ),
            (
                |s| s.log_bytes = 1000,
                Health::Degraded,
                &["the log cannot grow any more: events are refused once its last segment is full"],
            ),
            (|s| s.log_bytes = 900, Health::Degraded, &["the log is nine tenths full"]),
            (|s| s.log_bytes = 899, Health::Ok, &[]),
            (
                |s| s.disk_free_bytes = 99,
                Health::Degraded,
                &["the disk is full up to its reserve: events are refused once the last segment is full"],
            ),
            (
                |s| s.waiting_for = vec!["index: 3 of 9 segments".to_owned()],
                Health::Degraded,
                &["not ready: index: 3 of 9 segments"],
            ),
            (
                |s| {
                    let pause = |route: Option<&str>, words: &str| Pause {
                        route: route.map(str::to_owned),
                        reason: "key".to_owned(),
                        words: words.to_owned(),
                        since_ms: 0,
                        next_probe_ms: None,
                    };
                    s.profiles[0].paused = vec![pause(None, "401"), pause(Some("tool"), "404")];
                },
                Health::Degraded,
                &["default: everything is paused: 401", "default: tool is paused: 404"],
            ),
            (|s| s.profiles[0].dead = 3, Health::Degraded, &["3 dead letters wait for a person"]),
            (
                |s| s.oldest_age_s = Some(901),
                Health::Degraded,
                &["the oldest event has waited for 15 minutes"],
            ),
            (|s| (s.damaged_regions, s.lost) = (1, 2), Health::Ok, &[]),
            (
                |s| (s.quarantine_bytes, s.lost) = (512, 2),
                Health::Degraded,
                &["512 damaged bytes are quarantined; 2 events were lost"],
            ),
            (
                |s| s.spool.problems = vec!["/s/f.jsonl: the log is full".to_owned()],
                Health::Degraded,
                &["spool: /s/f.jsonl: the log is full"],
            ),
            (
                |s| (s.spool.quarantine_bytes, s.spool.left_alone) = (4096, 1),
                Health::Degraded,
                &[
                    "bad lines of spool files are kept in /var/lib/revenium-agent/spool-quarantine: look at them",
                ],
            ),
            (
                |s| {
                    s.guarantee.flushed = false;
                    s.guarantee.text = "weaker: tmpfs is memory".to_owned();
                    s.imbalance = 1;
                },
                Health::Failing,
                &["the ledger is 1 events out of balance", "durability is weaker: tmpfs is memory"],
            ),
        ];
        for (spoil, health, reasons) in table {
            let mut status = crate::admin::tests::healthy();
            status.profiles = vec![ProfileStatus { name: "default".to_owned(), ..ProfileStatus::default() }];
            spoil(&mut status);
            let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect::<Vec<_>>();
            assert_eq!(judge(&status), (health, reasons));
        }
    }

    #[test]
    fn before_the_log_is_open_it_is_not_full() {
        let mut status = crate::admin::tests::healthy();
        (status.log_bytes, status.log_capacity_bytes, status.disk_free_bytes) = (0, 0, 0);
        assert_eq!(judge(&status).0, Health::Ok);
    }
}
