//! A budget of permanent refusals, so that Revenium never has to block us for them.
//!
//! Revenium blocks an account that keeps sending broken requests (`error-pattern`, up to an hour,
//! all traffic). Each permanent 4xx is a point, deliveries and time take points away; from
//! [`POINTS`] on, requests go one at a time with a wait between them that doubles to a minute. Where
//! Revenium's own threshold lies is not documented; a handful in a row is surely below it.

use std::time::Duration;

use tokio::time::Instant;

/// Points from which sending slows down.
const POINTS: f64 = 5.0;
/// More points than this change nothing: the wait is at its longest.
const POINTS_MAX: f64 = 10.0;
/// A delivery takes away this much: one refusal in six requests is too many.
const PER_DELIVERY: f64 = 0.2;
/// And this time takes away one.
const PER_POINT: Duration = Duration::from_secs(300);
/// The first wait; it doubles with each point.
const WAIT: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(super) struct Budget {
    points: f64,
    at: Instant,
    next_send: Instant,
}

impl Budget {
    pub(super) fn new(points: f64, now: Instant) -> Self {
        let mut budget = Self { points: points.clamp(0.0, POINTS_MAX), at: now, next_send: now };
        if budget.is_spent() {
            budget.next_send = now + budget.wait();
        }
        budget
    }

    pub(super) fn points(&self) -> f64 {
        self.points
    }

    /// Whether requests go one at a time, not before the returned instant.
    pub(super) fn next_send(&mut self, now: Instant) -> Option<Instant> {
        self.forget(now);
        self.is_spent().then_some(self.next_send)
    }

    pub(super) fn is_spent(&self) -> bool {
        self.points >= POINTS
    }

    pub(super) fn refused(&mut self, now: Instant) {
        self.forget(now);
        self.points = (self.points + 1.0).min(POINTS_MAX);
        self.next_send = now + self.wait();
    }

    pub(super) fn delivered(&mut self) {
        // One delivery after a row of refusals: what was wrong is over, or was about those records.
        // The next refusal slows down again, though.
        self.points = (self.points.min(POINTS) - PER_DELIVERY).max(0.0);
    }

    /// What was refused, a key say, is another now: it may be tried at once. The next refusal slows
    /// down again.
    pub(super) fn forgive(&mut self) {
        self.points = self.points.min(POINTS - PER_DELIVERY);
    }

    fn forget(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64() / PER_POINT.as_secs_f64();
        self.points = (self.points - passed).max(0.0);
        self.at = now;
    }

    fn wait(&self) -> Duration {
        WAIT.mul_f64((self.points - POINTS).max(0.0).exp2()).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_refusals_in_a_row_slow_right_down_and_a_delivery_ends_it() {
        let mut now = Instant::now();
        let mut budget = Budget::new(0.0, now);
        let mut waits = Vec::new();
        for _ in 0..11 {
            budget.refused(now);
            let next = budget.next_send(now).unwrap_or(now);
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [0, 0, 0, 0, 2, 3, 7, 15, 29, 55, 60]);
        budget.delivered();
        assert_eq!(budget.next_send(now), None);
        budget.refused(now);
        assert!(budget.next_send(now).is_some(), "the next refusal slows down again");
    }

    #[test]
    fn a_steady_share_of_refusals_is_slowed_too() {
        let now = Instant::now();
        let slowed_at = |delivered_each: u32| {
            let mut budget = Budget::new(0.0, now);
            (1..1000).find(|_| {
                budget.refused(now);
                let is_spent = budget.is_spent();
                (0..delivered_each).for_each(|_| budget.delivered());
                is_spent
            })
        };
        assert_eq!((slowed_at(1), slowed_at(4), slowed_at(5)), (Some(7), Some(22), None));
    }

    #[test]
    fn time_forgives_and_so_does_a_new_key() {
        let now = Instant::now();
        let mut budget = Budget::new(6.0, now);
        assert!(budget.next_send(now).is_some());
        assert_eq!(budget.next_send(now + PER_POINT * 2), None);
        let mut budget = Budget::new(9.0, now);
        budget.forgive();
        assert_eq!(budget.next_send(now), None);
        budget.refused(now);
        assert!(budget.next_send(now).is_some());
    }
}
