//! What a run did, printed whether it passes or fails.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use revenium_agent::sandbox::Snapshot;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seed: u64,
    pub(crate) kills: u64,
    pub(crate) in_start: u64,
    pub(crate) after_acknowledgement: u64,
    pub(crate) running: u64,
    pub(crate) idle: u64,
    pub(crate) stopping: u64,
    pub(crate) stops: u64,
    pub(crate) index_losses: u64,
    pub(crate) waiting_most: u64,
    pub(crate) wrong_key_lives: u64,
    pub(crate) start_longest: Duration,
    pub(crate) took: Duration,
    /// Told by metrics before a kill, so it may have been more.
    pub(crate) duplicates: u64,
    /// Of the present life, when last looked at.
    pub(crate) life_duplicates: u64,
    pub(crate) sent: u64,
    pub(crate) resent: u64,
    pub(crate) connections: u64,
    pub(crate) acknowledged: u64,
    pub(crate) in_doubt: u64,
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
    pub(crate) upstream: Snapshot,
}

impl Tally {
    pub(crate) fn faults(&self) -> u64 {
        self.upstream.injected.values().sum()
    }

    /// On stderr itself, which the test harness doesn't hold back.
    pub(crate) fn print(&self) {
        let _ = write!(io::stderr(), "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self;
        writeln!(f, "crash storm: seed {}, {} kills in {:.0?}", t.seed, t.kills, t.took)?;
        writeln!(
            f,
            "  killed     {} starting, {} after an acknowledgement, {} running, {} with nothing to do, \
             {} stopping; {} stops came first; index deleted {} times; longest start {:.0?}",
            t.in_start,
            t.after_acknowledgement,
            t.running,
            t.idle,
            t.stopping,
            t.stops,
            t.index_losses,
            t.start_longest
        )?;
        writeln!(
            f,
            "  producers  {} events sent, {} resends, {} connections; {} acknowledged, {} in doubt",
            t.sent, t.resent, t.connections, t.acknowledged, t.in_doubt
        )?;
        writeln!(
            f,
            "  agent      {} delivered, {} dead letters, {} or more duplicates recognised, {} waiting at most",
            t.delivered, t.dead, t.duplicates, t.waiting_most
        )?;
        let counts = &t.upstream.counts;
        writeln!(
            f,
            "  upstream   {} attempts, {} billed, {} answered again, {} refused for the key in {} lives; \
             {} faults of {} kinds:",
            counts.attempts,
            counts.billed,
            counts.replayed,
            counts.unauthorized,
            t.wrong_key_lives,
            t.faults(),
            t.upstream.injected.len()
        )?;
        let faults: Vec<String> =
            t.upstream.injected.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        writeln!(f, "             {}", faults.join(", "))
    }
}
