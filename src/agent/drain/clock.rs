//! The two clocks of the drain: one to measure waits with, one to write down.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Never steps back; ends with the process.
    pub(super) at: Instant,
    /// Milliseconds since 1970; what survives a restart is written in these.
    pub(super) wall_ms: u64,
}

impl Now {
    /// The wall clock's reading at `at`, past or to come.
    pub(super) fn wall_ms_at(self, at: Instant) -> u64 {
        let ahead = millis(at.saturating_duration_since(self.at));
        let behind = millis(self.at.saturating_duration_since(at));
        self.wall_ms.saturating_add(ahead).saturating_sub(behind)
    }

    /// The instant of a reading to come; `self.at` for one that has passed.
    pub(super) fn instant_at(self, wall_ms: u64) -> Instant {
        self.at + Duration::from_millis(wall_ms.saturating_sub(self.wall_ms))
    }
}

/// `duration` in milliseconds, as many as a u64 holds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where the drain gets the time from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// The system's.
    System,
    /// Counts on from `wall_ms` at `at` with tokio's clock, which a test can stop and turn, and is as many
    /// milliseconds ahead as the test sets it.
    #[cfg(test)]
    From(Now, &'static std::sync::atomic::AtomicI64),
}

impl Clock {
    /// What the wall clock would read at `now` had nobody set it since this process first asked for this.
    pub(super) fn unset_ms(self, now: Now) -> u64 {
        static FIRST: OnceLock<Now> = OnceLock::new();
        match self {
            Self::System => FIRST.get_or_init(|| now).wall_ms_at(now.at),
            #[cfg(test)]
            Self::From(origin, _) => origin.wall_ms_at(now.at),
        }
    }

    pub(super) fn now(self) -> Now {
        let at = Instant::now();
        match self {
            Self::System => {
                let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                Now { at, wall_ms: millis(since_1970.unwrap_or_default()) }
            }
            #[cfg(test)]
            Self::From(origin, ahead_ms) => {
                let ahead_ms = ahead_ms.load(std::sync::atomic::Ordering::Relaxed);
                Now { at, wall_ms: origin.wall_ms_at(at).saturating_add_signed(ahead_ms) }
            }
        }
    }
}
