//! The clock: against the upstream's `Date`, and against what the log was last written at.
//!
//! Revenium bills by the times in the events, TLS fails a day off, and what waits is waited for by it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Finding, Id};
use crate::commands::run::FOLDERS;
use crate::systemd::age;

/// From here on a person should look: far more than an answer takes.
const WARN_FROM: Duration = Duration::from_secs(5 * 60);

/// From here on events are billed on another day.
const PROBLEM_FROM: Duration = Duration::from_secs(24 * 3600);

/// Files of the log that are looked at.
const FILES_MAX: usize = 10_000;

/// This machine's time, seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// When the log was last written, as far as this user may know.
pub(super) fn last_written_s(data_dir: &Path) -> Option<u64> {
    let written = |entry: fs::DirEntry| entry.metadata().ok()?.modified().ok();
    let files = fs::read_dir(data_dir.join(FOLDERS[0])).ok()?.flatten().take(FILES_MAX);
    let last = files.filter_map(written).max()?;
    last.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The upstream's clock as it was heard, with ours at that moment, seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) host: String,
    pub(super) theirs_s: u64,
    pub(super) ours_s: u64,
}

/// The worst of all that is known.
pub(super) fn judge(heard: &[Heard], written_s: Option<u64>, now_s: u64, data_dir: &Path) -> Finding {
    let worst = heard.iter().max_by_key(|heard| heard.theirs_s.abs_diff(heard.ours_s));
    let next = "`timedatectl` shows whether the clock is kept; `timedatectl set-ntp true` keeps it";
    if let Some(Heard { host, theirs_s, ours_s }) = worst {
        let off = Duration::from_secs(theirs_s.abs_diff(*ours_s));
        let side = if ours_s > theirs_s { "ahead of" } else { "behind" };
        let cause = format!(
            "this machine is {} {side} {host}: events are billed at the wrong time",
            age(off.as_secs())
        );
        if off >= PROBLEM_FROM {
            return Finding::problem(Id::Clock, "", cause, next);
        }
        if off >= WARN_FROM {
            return Finding::warning(Id::Clock, "", cause, next);
        }
    }
    // The disk's word: a file cannot have been written later than now.
    let ahead = Duration::from_secs(written_s.unwrap_or(0).saturating_sub(now_s));
    if ahead >= WARN_FROM {
        let dir = data_dir.display();
        let cause = format!(
            "the log in {dir} was last written {} from now: the clock was set back",
            age(ahead.as_secs())
        );
        return if ahead >= PROBLEM_FROM {
            Finding::problem(Id::Clock, "", cause, next)
        } else {
            Finding::warning(Id::Clock, "", cause, next)
        };
    }
    match worst {
        Some(Heard { host, theirs_s, ours_s }) => {
            Finding::ok(Id::Clock, "", format!("within {} s of {host}", theirs_s.abs_diff(*ours_s) + 1))
        }
        None => Finding::unknown(Id::Clock, "", "no upstream told its time", "`timedatectl`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level::{self, Ok, Problem, Unknown, Warning};

    #[test]
    fn minutes_are_worth_a_look_and_a_day_is_wrong_on_either_side() {
        const NOW: u64 = 1_800_000_000;
        let level = |theirs_s: Option<u64>, written_s: Option<u64>| -> (Level, String) {
            let heard = theirs_s.map(|theirs_s| Heard { host: "h".to_owned(), theirs_s, ours_s: NOW });
            let found = judge(heard.as_slice(), written_s, NOW, Path::new("/d"));
            (found.level, found.cause)
        };
        for (theirs_s, written_s, expected, words) in [
            (Some(NOW), None, Ok, "within 1 s of h"),
            (Some(NOW + 299), Some(NOW - 1_000_000), Ok, "within 300 s"),
            (Some(NOW + 300), None, Warning, "is 5 min behind h"),
            (Some(NOW - 7200), None, Warning, "is 2 h ahead of h"),
            (Some(NOW - 86_400), None, Problem, "is 24 h ahead of h"),
            (Some(NOW + 172_800), None, Problem, "is 2 d behind h"),
            (Some(NOW), Some(NOW + 299), Ok, "within"),
            (None, Some(NOW + 3600), Warning, "/d was last written 60 min from now"),
            (None, Some(NOW + 86_400), Problem, "was last written 24 h from now"),
            (None, Some(NOW), Unknown, "no upstream told its time"),
        ] {
            let (found, cause) = level(theirs_s, written_s);
            assert_eq!(found, expected, "{theirs_s:?} {written_s:?}");
            assert!(cause.contains(words), "{cause}");
        }
    }
}
