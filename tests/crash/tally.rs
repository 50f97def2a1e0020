//! What a run did, printed whether it passes or fails.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use revenium_agent::sandbox::Snapshot;

use crate::oracle::Way;

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
    /// Lives that ended in peace after applications were killed.
    pub(crate) outlived: u64,
    pub(crate) ways: BTreeMap<&'static str, Way>,
    pub(crate) resent: u64,
    pub(crate) connections: u64,
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
             {} stopping; {} stops came first; {} outlived killed applications; index deleted {} times; \
             longest start {:.0?}",
            t.in_start,
            t.after_acknowledgement,
            t.running,
            t.idle,
            t.stopping,
            t.stops,
            t.outlived,
            t.index_losses,
            t.start_longest
        )?;
        writeln!(
            f,
            "  producers  {} resends, {} connections, applications or gateways",
            t.resent, t.connections
        )?;
        for (name, way) in &t.ways {
            let counts = [
                ("acknowledged", way.acknowledged),
                ("spooled", way.spooled),
                ("answered, and the gateway ended in peace", way.ended),
                ("in the kernel, sender killed, agent not", way.kernel),
                ("not promised", way.in_doubt),
                ("of these billed", way.in_doubt_billed),
                ("sent or answered, sender killed, agent perhaps", way.both_killed),
                ("of these billed", way.both_killed_billed),
            ];
            let some = counts.iter().filter(|(_, count)| *count > 0);
            let counts: Vec<String> = some.map(|(what, count)| format!("{count} {what}")).collect();
            writeln!(f, "  {name:10} {} events: {}", way.sent, counts.join(", "))?;
        }
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
