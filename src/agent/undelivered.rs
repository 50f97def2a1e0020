//! What a stopped agent's log still holds, in a note beside the log.
//!
//! Whoever removes the agent for good has no program left to ask the log with. So a clean stop leaves a
//! note when nothing is taken in any more, and the next start takes it away before anything is: where it
//! is, it is true. Without it, or with any other words than [`NOTHING`], the log counts as holding events.
//! Spool files and quarantined bytes are files, which anyone can see; the note does not speak of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use revenium_store::QueueStats;

/// The note's name in the data directory; ops/deb/postrm reads it.
const NAME: &str = "undelivered";

/// Every event was delivered, or discarded by a person.
const NOTHING: &str = "nothing";

/// Takes the note away, durably.
pub(crate) fn forget(data_dir: &Path) -> io::Result<()> {
    match fs::remove_file(data_dir.join(NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    File::open(data_dir)?.sync_all()
}

/// Leaves the note; gives its words.
pub(crate) fn leave(data_dir: &Path, stats: &QueueStats) -> io::Result<String> {
    let words = words(stats);
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
    let mut note = options.open(data_dir.join(NAME))?;
    writeln!(note, "{words}")?;
    note.sync_all()?;
    Ok(words)
}

/// A ledger that does not balance is no proof of nothing.
fn words(stats: &QueueStats) -> String {
    let waiting: u64 = stats.lanes.iter().map(|lane| lane.waiting).sum();
    let dead: u64 = stats.lanes.iter().map(|lane| lane.ledger.dead).sum();
    let count = |n: u64, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
    let mut parts = Vec::new();
    if waiting > 0 {
        parts.push(count(waiting, "event that waits", "events that wait"));
    }
    if dead > 0 {
        parts.push(count(dead, "dead letter", "dead letters"));
    }
    if stats.imbalance > 0 {
        parts
            .push(count(stats.imbalance, "event that cannot be", "events that cannot be") + " accounted for");
    }
    if parts.is_empty() { NOTHING.to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revenium_store::{Lane, LaneStats, Ledger};

    fn stats(lanes: &[(u64, u64)], imbalance: u64) -> QueueStats {
        let lane = |&(waiting, dead): &(u64, u64)| LaneStats {
            lane: Lane { profile: "default".into(), route: 0 },
            waiting,
            claimed: 0,
            oldest_received_at_ms: 0,
            ledger: Ledger { dead, delivered: 7, discarded: 7, lost: 7, ..Ledger::default() },
        };
        QueueStats { lanes: lanes.iter().map(lane).collect(), imbalance, ..QueueStats::default() }
    }

    #[test]
    fn nothing_is_said_only_of_nothing() {
        for (lanes, imbalance, expected) in [
            (&[][..], 0, "nothing"),
            (&[(0, 0), (0, 0)], 0, "nothing"),
            (&[(1, 0)], 0, "1 event that waits"),
            (&[(2, 1), (3, 1)], 0, "5 events that wait, 2 dead letters"),
            (&[(0, 1)], 0, "1 dead letter"),
            (&[(0, 0)], 1, "1 event that cannot be accounted for"),
        ] {
            assert_eq!(words(&stats(lanes, imbalance)), expected);
        }
    }

    #[test]
    fn a_note_is_gone_once_it_is_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        leave(dir.path(), &stats(&[(12, 0)], 0)).expect("written");
        leave(dir.path(), &stats(&[], 0)).expect("written");
        let note = dir.path().join(NAME);
        assert_eq!(fs::read_to_string(&note).expect("read"), "nothing\n");
        forget(dir.path()).expect("removed");
        assert!(!note.exists());
        forget(dir.path()).expect("there was none");
    }
}
