//! A pace that may be borrowed against: so many a second, with a reserve for bursts.
//!
//! Taking always succeeds; what it returns is how long to wait before taking again. A caller
//! who handles whole batches thus never has to cut one. Pure: the clock is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A pace of `per_second` with a burst of `burst`.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second: f64::from(per_second), burst: f64::from(burst), left: f64::from(burst), at: now }
    }

    /// Takes `count`, and returns how long to wait before the next is due; zero while there is some left.
    pub(crate) fn take(&mut self, count: u32, now: Instant) -> Duration {
        self.refill(now);
        self.left -= f64::from(count);
        if self.left >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.left / self.per_second).unwrap_or(Duration::MAX)
    }

    /// Takes one if there is one.
    pub(crate) fn try_take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let is_there = self.left >= 1.0;
        if is_there {
            self.left -= 1.0;
        }
        is_there
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.per_second).min(self.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_burst_the_wait_is_what_the_pace_needs_to_catch_up() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 50, start);
        assert_eq!(bucket.take(50, start), Duration::ZERO);
        assert_eq!(bucket.take(25, start), Duration::from_millis(250));
        assert_eq!(bucket.take(0, start + Duration::from_millis(250)), Duration::ZERO);
        assert_eq!(bucket.take(50, start + Duration::from_secs(60)), Duration::ZERO);
        assert_eq!(bucket.take(1, start + Duration::from_secs(60)), Duration::from_millis(10));
    }

    #[test]
    fn try_take_gives_only_what_is_there() {
        let start = Instant::now();
        let mut bucket = Bucket::new(2, 3, start);
        let given = (0..10).filter(|_| bucket.try_take(start)).count();
        assert_eq!(given, 3);
        assert!(!bucket.try_take(start + Duration::from_millis(400)));
        assert!(bucket.try_take(start + Duration::from_millis(500)));
    }

    #[test]
    fn a_pace_of_nothing_waits_for_ever_and_does_not_overflow() {
        let start = Instant::now();
        assert_eq!(Bucket::new(0, 0, start).take(1, start), Duration::MAX);
    }
}
