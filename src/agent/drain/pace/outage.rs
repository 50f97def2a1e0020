//! When an upstream is down: one request at a time, seldom, until one is answered.
//!
//! A run of failures (5xx, 408, silence) begins an outage. In it one probe is in flight at most;
//! each that fails doubles the wait for the next. The first answer to a request that was sent
//! since ends it at once. Failures of requests that were on their way before count once, as the
//! outage that they began.

use std::time::Duration;

use tokio::time::Instant;

use super::super::backoff::Backoff;
use super::super::random::Random;

/// Failures in a row that make an outage: more than one broken connection takes with it.
const FAILURES: u32 = 5;

#[derive(Debug, Clone)]
pub(super) struct Outage {
    backoff: Backoff,
    failures: u32,
    down: Option<Down>,
}

#[derive(Debug, Clone)]
struct Down {
    since: Instant,
    probes: u32,
    next_probe: Instant,
}

impl Outage {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0, down: None }
    }

    /// When the next probe may go, if there is an outage.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.down.as_ref().map(|down| down.next_probe)
    }

    pub(super) fn since(&self) -> Option<Instant> {
        self.down.as_ref().map(|down| down.since)
    }

    /// A request failed. `after` is the wait that the upstream asked for, if it said anything.
    pub(super) fn failed(
        &mut self,
        sent_at: Instant,
        after: Option<Duration>,
        now: Instant,
        random: &mut Random,
    ) {
        self.failures = self.failures.saturating_add(1);
        match &mut self.down {
            None if self.failures < FAILURES => {}
            None => {
                let next_probe = now + self.backoff.delay(1, after, random);
                self.down = Some(Down { since: now, probes: 1, next_probe });
            }
            Some(down) if sent_at < down.since => {}
            Some(down) => {
                down.probes = down.probes.saturating_add(1);
                down.next_probe = now + self.backoff.delay(down.probes, after, random);
            }
        }
    }

    /// A request was answered, with whatever else than a failure. True if this ends an outage.
    pub(super) fn answered(&mut self, sent_at: Instant) -> bool {
        if self.down.as_ref().is_some_and(|down| sent_at < down.since) {
            return false;
        }
        self.failures = 0;
        self.down.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_leave_one_probe_that_goes_ever_more_seldom() {
        let mut random = Random::seeded(3);
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut outage = Outage::new(Backoff::new(Duration::from_secs(1), Duration::from_secs(60)));
        for n in 0..4 {
            outage.failed(start, None, at(f64::from(n) / 10.0), &mut random);
        }
        assert!(!outage.answered(start));
        for _ in 0..4 {
            outage.failed(start, None, start, &mut random);
        }
        assert_eq!(outage.next_probe(), None);
        outage.failed(start, None, at(1.0), &mut random);
        let first = outage.next_probe().expect("an outage");
        // What was on its way before neither doubles the wait nor ends it.
        outage.failed(start, None, at(1.1), &mut random);
        assert!(!outage.answered(start));
        assert_eq!(outage.next_probe(), Some(first));
        let (mut now, mut waits) = (first, Vec::new());
        for _ in 0..8 {
            outage.failed(now, None, now, &mut random);
            let next = outage.next_probe().expect("still down");
            waits.push((next - now).as_secs_f64());
            now = next;
        }
        for (wait, longest) in waits.iter().zip([2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]) {
            assert!(*wait > longest * 0.49 && *wait < longest * 1.01, "{waits:?}");
        }
        assert!(outage.answered(now));
        assert_eq!(outage.next_probe(), None);
    }

    #[test]
    fn a_probe_waits_as_long_as_the_upstream_asks() {
        let mut random = Random::seeded(3);
        let start = Instant::now();
        let mut outage = Outage::new(Backoff::new(Duration::from_secs(1), Duration::from_secs(60)));
        for _ in 0..5 {
            outage.failed(start, Some(Duration::from_secs(120)), start, &mut random);
        }
        assert!(outage.next_probe().expect("an outage") >= start + Duration::from_secs(120));
    }
}
