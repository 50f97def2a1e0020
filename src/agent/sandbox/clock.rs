//! The time the stand-in lives in: the wall clock, or one a test holds in its hand.
//!
//! Windows (idempotency, transaction ids, rate limits) ask this clock and nothing else, so that
//! a day can pass in a test by [`Clock::advance`]. Latencies and faults use real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `Some`: time stands still here, apart from `ahead_ms`.
    still_at_ms: Option<u64>,
    ahead_ms: AtomicU64,
}

impl Clock {
    /// The machine's wall clock.
    pub fn system() -> Self {
        Self(Arc::new(Inner { still_at_ms: None, ahead_ms: AtomicU64::new(0) }))
    }

    /// A clock that stands at `now_ms` and moves only by [`Clock::advance`].
    pub fn manual(now_ms: u64) -> Self {
        Self(Arc::new(Inner { still_at_ms: Some(now_ms), ahead_ms: AtomicU64::new(0) }))
    }

    /// Now, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        let base_ms = self
            .0
            .still_at_ms
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_ms));
        base_ms.saturating_add(self.0.ahead_ms.load(Ordering::Relaxed))
    }

    /// Lets `by` pass at once, for every clone.
    pub fn advance(&self, by: Duration) {
        self.0.ahead_ms.fetch_add(whole_ms(by), Ordering::Relaxed);
    }
}

/// `span` in whole milliseconds; the largest number for spans beyond it.
pub(super) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_manual_clock_move_together() {
        let clock = Clock::manual(1_000);
        let other = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!((clock.now_ms(), other.now_ms()), (3_000, 3_000));
    }

    #[test]
    fn the_system_clock_can_be_set_forward() {
        let clock = Clock::system();
        let before_ms = clock.now_ms();
        clock.advance(Duration::from_secs(3_600));
        assert!(clock.now_ms() >= before_ms + 3_600_000);
    }
}
