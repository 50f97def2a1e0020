//! `status`: how the running agent does, on one screen or as JSON.

use std::fmt::Write;

use super::{data_dir, no_answer, plain};
use crate::admin::{self, Health, Pace, SpoolStatus, Status};
use crate::cli::StatusArgs;
use crate::exit::{Exit, Failure, OrExit};

/// Asks the agent on the configured data directory. Exits with `Usage` (2) if none answers.
pub fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    let data_dir = data_dir(&args.config)?;
    let json = admin::ask(&data_dir, "/status").map_err(|error| no_answer(&data_dir, &error))?;
    let status: Status = serde_json::from_str(&json)
        .or_exit(Exit::Usage, "the agent's answer cannot be read; is it of another version?")?;
    super::print(&if args.json { json + "\n" } else { render(&status) })?;
    Ok(if status.health == Health::Ok { Exit::Ok } else { Exit::Failure })
}

/// One screen for a person.
fn render(status: &Status) -> String {
    let mut text = format!("revenium-agent {}  {}", status.version, status.health.name());
    let _ = writeln!(text, "  up {}", age(status.uptime_s));
    for reason in &status.reasons {
        let _ = writeln!(text, "  ! {}", plain(reason));
    }
    let _ = writeln!(text, "\ndurability   {}", plain(&status.guarantee.text));
    let log = (bytes(status.log_bytes), bytes(status.log_capacity_bytes), bytes(status.disk_free_bytes));
    let _ = writeln!(text, "log          {} of {}, disk free {}", log.0, log.1, log.2);
    let _ = writeln!(text, "data         {}", plain(&status.data_dir));
    if status.damaged_regions + status.lost > 0 {
        let _ = writeln!(
            text,
            "damage       {} regions, {} events lost, since the log was made",
            status.damaged_regions, status.lost
        );
    }
    if let Some(spool) = spool_words(&status.spool) {
        let _ = writeln!(text, "spool        {spool}");
    }
    for pace in &status.pace {
        let _ = writeln!(text, "pace         {}: {}", plain(&pace.account), plain(&pace_words(pace)));
    }
    for profile in &status.profiles {
        let url = profile.url.as_deref().unwrap_or("not configured");
        let key = match (&profile.key, &profile.key_source) {
            (Some(key), Some(source)) => format!("key {key} ({source})"),
            (Some(key), None) => format!("key {key}"),
            (None, _) => "no key".to_owned(),
        };
        let claimed =
            profile.claimed_as.as_ref().map_or_else(String::new, |name| format!("  claimed as {name}"));
        let (name, key) = (plain(&profile.name), plain(&key));
        let _ = writeln!(text, "\nprofile {name}  {}  {key}{}", plain(url), plain(&claimed));
        let oldest =
            profile.oldest_age_s.map_or_else(String::new, |s| format!(", the oldest for {}", age(s)));
        let _ = writeln!(
            text,
            "  {} waiting{oldest}; {} dead; {} delivered",
            profile.waiting, profile.dead, profile.delivered
        );
        for pause in &profile.paused {
            let route = pause.route.as_deref().unwrap_or("everything");
            let _ = writeln!(text, "  paused: {}: {}", plain(route), plain(&pause.words));
        }
    }
    text
}

/// What lies in the spool folders, if anything does.
pub(crate) fn spool_words(spool: &SpoolStatus) -> Option<String> {
    let mut words = Vec::new();
    if spool.waiting_files > 0 {
        let oldest = spool.oldest_age_s.map_or_else(String::new, |s| format!(", the oldest for {}", age(s)));
        words.push(format!("{} files ({}) wait{oldest}", spool.waiting_files, bytes(spool.waiting_bytes)));
    }
    if spool.left_alone > 0 {
        words.push(format!("{} left alone", spool.left_alone));
    }
    if spool.quarantine_bytes > 0 {
        words.push(format!("{} of bad lines are kept", bytes(spool.quarantine_bytes)));
    }
    (!words.is_empty()).then(|| words.join("; "))
}

/// An account's pace for people.
pub(crate) fn pace_words(pace: &Pace) -> String {
    let rate = pace.requests_per_second.map_or("no limit".to_owned(), |rate| format!("{rate:.1} requests/s"));
    let note = pace.note.as_deref().map_or(String::new(), |note| format!("; {note}"));
    format!("{rate}, {} in flight{note}", pace.in_flight)
}

/// Seconds for people: the two largest units.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Bytes for people: one decimal of the largest unit.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        // In tenths, rounded down, without leaving whole numbers.
        Some((unit, shift)) => {
            format!("{}.{} {unit}", bytes >> shift, ((bytes & ((1 << shift) - 1)) * 10) >> shift)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Pause, ProfileStatus};

    #[test]
    fn a_screen_tells_what_matters() {
        let mut status = crate::admin::tests::healthy();
        status.health = Health::Degraded;
        status.reasons = vec!["default: everything is paused: the key is refused (401)".to_owned()];
        status.profiles = vec![ProfileStatus {
            name: "default".to_owned(),
            url: Some("https://api.revenium.ai".to_owned()),
            account: Some("api.revenium.ai".to_owned()),
            key: Some("rev_mk_…ghij".to_owned()),
            key_source: Some("/etc/key\u{1b}[2J".to_owned()),
            claimed_as: None,
            waiting: 12,
            dead: 1,
            delivered: 100,
            oldest_age_s: Some(125),
            paused: vec![Pause {
                route: None,
                reason: "key".to_owned(),
                words: "the key is refused (401)".to_owned(),
                since_ms: 0,
                next_probe_ms: None,
            }],
        }];
        status.pace = vec![
            Pace {
                account: "api.revenium.ai".to_owned(),
                requests_per_second: Some(20.0),
                in_flight: 3,
                note: None,
            },
            Pace {
                account: "lan".to_owned(),
                requests_per_second: None,
                in_flight: 0,
                note: Some("no answer since 5m".to_owned()),
            },
        ];
        status.lost = 2;
        (status.spool.waiting_files, status.spool.waiting_bytes) = (3, 4096);
        (status.spool.oldest_age_s, status.spool.left_alone) = (Some(61), 1);
        assert_eq!(
            render(&status),
            "revenium-agent 1.2.3  degraded  up 1h 1m\n\
             \x20 ! default: everything is paused: the key is refused (401)\n\
             \n\
             durability   flushed to the device (ext4)\n\
             log          100 B of 1000 B, disk free 1.5 MiB\n\
             data         /var/lib/revenium-agent\n\
             damage       0 regions, 2 events lost, since the log was made\n\
             spool        3 files (4.0 KiB) wait, the oldest for 1m 1s; 1 left alone\n\
             pace         api.revenium.ai: 20.0 requests/s, 3 in flight\n\
             pace         lan: no limit, 0 in flight; no answer since 5m\n\
             \n\
             profile default  https://api.revenium.ai  key rev_mk_…ghij (/etc/key\u{fffd}[2J)\n\
             \x20 12 waiting, the oldest for 2m 5s; 1 dead; 100 delivered\n\
             \x20 paused: everything: the key is refused (401)\n"
        );
    }

    #[test]
    fn numbers_are_for_people() {
        for (value, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (10 << 30, "10.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(value), shown);
        }
        for (value, shown) in [(59, "59s"), (60, "1m 0s"), (3661, "1h 1m"), (90_000, "1d 1h")] {
            assert_eq!(age(value), shown);
        }
    }
}
