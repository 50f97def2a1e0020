//! The line that `systemctl status` shows. Pure.

use super::Phase;
use crate::admin::{Health, Status};
use crate::exit::Failure;

/// Longest line, in bytes; a message may have 4,096.
const BYTES_MAX: usize = 1000;

/// How the agent does.
pub(super) fn status(phase: Phase, status: &Status, now_ms: u64) -> String {
    let waiting: u64 = status.profiles.iter().map(|profile| profile.waiting).sum();
    let text = match phase {
        Phase::Starting => format!("starting: {}", status.waiting_for.join("; ")),
        Phase::Stopping(_) => format!("stopping: {waiting} waiting"),
        Phase::Ready => {
            let oldest = status.oldest_age_s.filter(|_| waiting > 0);
            let oldest = oldest.map_or_else(String::new, |s| format!(", oldest {}", age(s)));
            let ago = |at_ms| age(now_ms.saturating_sub(at_ms) / 1000) + " ago";
            let last = status.last_delivered_at_ms.map_or_else(|| "not since start".to_owned(), ago);
            let why = match (status.health, status.reasons.first()) {
                (Health::Ok, _) | (_, None) => String::new(),
                (health, Some(reason)) => format!("; {}: {reason}", health.name()),
            };
            format!("{waiting} waiting{oldest}; last delivered: {last}{why}")
        }
    };
    line(&text)
}

/// Why it ended.
pub(super) fn failed(failure: &Failure) -> String {
    line(&format!("failed: {failure}"))
}

/// On one line, since a second would be another variable, and not too long.
fn line(text: &str) -> String {
    let mut text = text.replace(char::is_control, " ");
    let whole = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=BYTES_MAX.min(text.len())).rev().find(whole).unwrap_or(0);
    text.truncate(end);
    text
}

/// `23 h`, `2 d`: in one unit, for a line.
pub(crate) fn age(s: u64) -> String {
    match s {
        0..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        7200..172_800 => format!("{} h", s / 3600),
        _ => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::ProfileStatus;
    use crate::exit::Exit;

    #[test]
    fn it_says_what_waits_how_long_and_what_is_wrong_on_one_line() {
        let mut s = crate::admin::tests::healthy();
        s.last_delivered_at_ms = None;
        let say = |s: &Status| status(Phase::Ready, s, 100_000);
        assert_eq!(say(&s), "0 waiting; last delivered: not since start");
        s.profiles = vec![ProfileStatus { waiting: 3, ..ProfileStatus::default() }];
        (s.oldest_age_s, s.last_delivered_at_ms) = (Some(7_300), Some(98_000));
        s.health = Health::Degraded;
        s.reasons = vec!["default: everything is paused: no\nREADY=1".to_owned(), "another".to_owned()];
        let said = "3 waiting, oldest 2 h; last delivered: 2 s ago; \
                    degraded: default: everything is paused: no READY=1";
        assert_eq!(say(&s), said);
        assert_eq!(status(Phase::Stopping(Duration::ZERO), &s, 0), "stopping: 3 waiting");
        s.waiting_for = vec!["log: being read: 37 % of 1.2 GiB".to_owned()];
        let starting = "starting: log: being read: 37 % of 1.2 GiB";
        assert_eq!(status(Phase::Starting, &s, 0), starting);
        s.reasons = vec!["x".to_owned() + &"ä".repeat(1000)];
        assert_eq!(say(&s).len(), 999, "it ends at a whole character");
        let failure = Failure::new(Exit::Config, "no key\n");
        assert_eq!(failed(&failure), "failed: no key ");
    }
}
