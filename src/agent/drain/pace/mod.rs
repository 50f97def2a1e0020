//! When the next request to an account may go.
//!
//! Four things have a say, the strictest wins: a wait that a 429 asked for, an outage, a run of
//! permanent refusals, and the rate with the number of requests in flight (rate × round trip).
//! After a wait one probe goes first. What was learned and what was asked for survives a restart.
//!
//! Pure: `now` is given, randomness is seeded, and nothing here waits.

mod budget;
mod outage;
mod rate;
mod saved;

use std::time::Duration;

use tokio::time::Instant;

use self::budget::Budget;
use self::outage::Outage;
use self::rate::Rate;
use super::backoff::Backoff;
use super::random::Random;
use crate::upstream::RateWindow;

/// How fast to send to an account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pacing {
    /// Find the pace that the account allows.
    Adaptive,
    /// So many requests per second, whatever the answers tell (a 429's wait is still obeyed).
    Fixed(f64),
    /// As fast as requests in flight allow: for benchmarks and for upstreams of one's own.
    Unlimited,
}

/// Requests in flight when no limit is set: with answers after 300 ms, enough for Revenium's 1,000/s.
pub const IN_FLIGHT_MAX: usize = 512;

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Now.
    Open,
    /// Not before.
    At(Instant),
    /// Not before an answer comes.
    Busy,
}

/// What one answer tells about the account.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    pub(super) sent_at: Instant,
    pub(super) kind: Kind<'a>,
    /// The wait that was asked for.
    pub(super) after: Option<Duration>,
    pub(super) window: Option<RateWindow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Delivered,
    /// 429, with the upstream's reason.
    Throttled(&'a str),
    /// 5xx, 408, or nothing heard.
    Failed,
    /// A 4xx that repeating does not cure.
    Refused,
    /// Any other answer.
    Other,
}

/// A wait that a 429 asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Throttle {
    pub(super) until: Instant,
    pub(super) reason: String,
    /// 429s in a row, for the wait when none was asked for.
    count: u32,
}

/// One account's pace.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    pacing: Pacing,
    in_flight_max: usize,
    rate: Rate,
    /// Smoothed, in seconds; 0 before the first answer.
    round_trip_s: f64,
    throttle: Option<Throttle>,
    throttle_backoff: Backoff,
    outage: Outage,
    budget: Budget,
    random: Random,
}

impl Pace {
    /// A pace that knows nothing yet. `in_flight_max` of 0 is [`IN_FLIGHT_MAX`].
    pub(super) fn new(
        pacing: Pacing,
        in_flight_max: usize,
        backoff_max: Duration,
        random: Random,
        now: Instant,
    ) -> Self {
        let rate = match pacing {
            Pacing::Fixed(per_second) => Rate::fixed(per_second, now),
            Pacing::Adaptive | Pacing::Unlimited => Rate::adaptive(rate::START, now),
        };
        let backoff = Backoff::new(Duration::from_secs(1), backoff_max);
        Self {
            pacing,
            in_flight_max: if in_flight_max == 0 { IN_FLIGHT_MAX } else { in_flight_max },
            rate,
            round_trip_s: 0.0,
            throttle: None,
            throttle_backoff: backoff.clone(),
            outage: Outage::new(backoff),
            budget: Budget::new(0.0, now),
            random,
        }
    }

    /// Whether a request that is at hand may go, with `in_flight` on their way.
    pub(super) fn gate(&mut self, in_flight: usize, now: Instant) -> Gate {
        if let Some(throttle) = &self.throttle {
            // When the wait is over, one probe tells whether it is.
            if throttle.until > now {
                return Gate::At(throttle.until);
            }
            if in_flight > 0 {
                return Gate::Busy;
            }
        }
        for next in [self.outage.next_probe(), self.budget.next_send(now)].into_iter().flatten() {
            if in_flight > 0 {
                return Gate::Busy;
            }
            if next > now {
                return Gate::At(next);
            }
        }
        if in_flight >= self.in_flight_max() {
            return Gate::Busy;
        }
        if self.pacing == Pacing::Unlimited {
            return Gate::Open;
        }
        let at = self.rate.next_send(now);
        if at > now { Gate::At(at) } else { Gate::Open }
    }

    /// A request goes out now.
    pub(super) fn sent(&mut self, now: Instant) {
        if self.pacing != Pacing::Unlimited {
            self.rate.sent(now, &mut self.random);
        }
    }

    /// A request ended. True if something changed that has to survive a restart at once.
    pub(super) fn answered(&mut self, answer: &Answer<'_>, now: Instant) -> bool {
        let was_spent = self.budget.is_spent();
        match answer.kind {
            Kind::Failed => {
                self.outage.failed(answer.sent_at, answer.after, now, &mut self.random);
                return false;
            }
            Kind::Throttled(reason) => {
                self.outage.answered(answer.sent_at);
                self.rate.throttled(answer.sent_at, now);
                self.throttle(reason, answer, now);
                return true;
            }
            Kind::Delivered => self.budget.delivered(),
            Kind::Refused => self.budget.refused(now),
            Kind::Other => {}
        }
        let took_s = now.saturating_duration_since(answer.sent_at).as_secs_f64();
        let weight = if self.round_trip_s == 0.0 { 1.0 } else { 0.125 };
        self.round_trip_s += (took_s - self.round_trip_s) * weight;
        self.rate.answered(answer.sent_at, answer.window, now, &mut self.random);
        self.outage.answered(answer.sent_at);
        let resumed = self.throttle.as_ref().is_some_and(|throttle| answer.sent_at >= throttle.until);
        if resumed {
            self.throttle = None;
        }
        resumed || was_spent != self.budget.is_spent()
    }

    /// A key or a URL is another: refusals that it may have caused count no more.
    pub(super) fn forgive(&mut self) {
        self.budget.forgive();
    }

    fn throttle(&mut self, reason: &str, answer: &Answer<'_>, now: Instant) {
        let (until, count) = match &self.throttle {
            // Another of those that were on their way when the first was answered.
            Some(throttle) if answer.sent_at < throttle.until => (throttle.until, throttle.count),
            Some(throttle) => (now, throttle.count.saturating_add(1)),
            None => (now, 1),
        };
        let wait = match answer.after {
            // All of the account's agents were told the same: they do not return together.
            Some(after) => after + Duration::from_secs_f64(self.random.unit() * spread_s(after)),
            None => self.throttle_backoff.delay(count, None, &mut self.random),
        };
        let reason = reason.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
        self.throttle = Some(Throttle { until: until.max(now + wait), reason, count });
    }

    /// Requests that may be in flight: what the rate needs at this round trip, and half as much again.
    pub(super) fn in_flight_max(&self) -> usize {
        if self.pacing != Pacing::Adaptive {
            return self.in_flight_max;
        }
        let needed = (self.rate.per_second() * self.round_trip_s * 1.5).ceil();
        // Capped by in_flight_max before the cast, and never negative.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let needed = needed.min(self.in_flight_max as f64) as usize;
        needed.max(2).min(self.in_flight_max)
    }

    /// Requests per second now; `None` if there is no limit.
    pub(super) fn per_second(&self) -> Option<f64> {
        (self.pacing != Pacing::Unlimited).then(|| self.rate.per_second())
    }

    /// The wait that a 429 asked for, if it is not over.
    pub(super) fn throttled(&self, now: Instant) -> Option<&Throttle> {
        self.throttle.as_ref().filter(|throttle| throttle.until > now)
    }

    /// Until when nothing at all may go: a wait that was asked for, or an outage between two probes.
    pub(super) fn closed_until(&self, now: Instant) -> Option<Instant> {
        let throttled = self.throttled(now).map(|throttle| throttle.until);
        throttled.max(self.outage.next_probe().filter(|next| *next > now))
    }

    /// Since when the upstream has been failing, and when the next probe goes.
    pub(super) fn outage(&self) -> Option<(Instant, Instant)> {
        self.outage.since().zip(self.outage.next_probe())
    }

    /// Whether a run of permanent refusals has slowed sending down.
    pub(super) fn is_slowed_by_refusals(&self) -> bool {
        self.budget.is_spent()
    }
}

/// Over how many seconds returns are spread after a wait: a tenth of it, at least one.
fn spread_s(after: Duration) -> f64 {
    (after.as_secs_f64() / 10.0).max(1.0)
}

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod tests;
