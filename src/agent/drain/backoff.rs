//! How long to wait before the next try.
//!
//! Delays double from `first` to `max`; each is then scaled by a random factor in 0.5..1.0, so that
//! agents that failed together do not return together. A wait that the upstream asked for is a
//! floor: we never return earlier. Pure: this module returns durations, the drain sleeps.
//!
//! The only module that knows the `backoff` crate, and it takes nothing from it but the series:
//! its clock and its random numbers stay unused.

use std::time::Duration;

use backoff::SystemClock;
use backoff::backoff::Backoff as _;
use backoff::exponential::ExponentialBackoff;

use super::random::Random;

/// More doublings than lie between any two delays of use; the last one repeats.
const STEPS: usize = 24;

/// A series of delays.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    delays: [Duration; STEPS],
}

impl Backoff {
    /// Doubles from `first` to `max`.
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        let mut series = ExponentialBackoff::<SystemClock> {
            current_interval: first.min(max),
            initial_interval: first.min(max),
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: max,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let delays = std::array::from_fn(|_| series.next_backoff().unwrap_or(max).min(max));
        Self { delays }
    }

    /// The wait after try number `tries` (1 for the first), at least `floor`.
    pub(super) fn delay(&self, tries: u32, floor: Option<Duration>, random: &mut Random) -> Duration {
        let step = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX).min(STEPS - 1);
        let delay = self.delays[step].mul_f64(random.between(0.5, 1.0));
        match floor {
            // The floor is shared by all who were told it, so the jitter goes on top.
            Some(floor) if floor > delay => floor + delay.min(floor).mul_f64(0.2),
            _ => delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn delays_double_to_their_max_with_jitter_below() {
        let backoff = Backoff::new(seconds(1.0), seconds(60.0));
        let mut random = Random::seeded(7);
        let longest = [1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0];
        for (tries, longest) in (0..).zip(longest) {
            for _ in 0..200 {
                let delay = backoff.delay(tries, None, &mut random);
                let millisecond = seconds(0.001);
                assert!(
                    delay >= seconds(longest / 2.0) && delay <= seconds(longest) + millisecond,
                    "{tries} {delay:?}"
                );
            }
        }
        assert!(backoff.delay(u32::MAX, None, &mut random) <= seconds(60.0));
    }

    #[test]
    fn the_upstreams_wait_is_a_floor() {
        let backoff = Backoff::new(seconds(1.0), seconds(60.0));
        let mut random = Random::seeded(7);
        for floor in [0.0, 0.7, 1.0, 90.0, 3600.0].map(seconds) {
            for _ in 0..200 {
                let delay = backoff.delay(1, Some(floor), &mut random);
                assert!(
                    delay >= floor && delay <= floor.mul_f64(1.2).max(seconds(1.001)),
                    "{floor:?} {delay:?}"
                );
            }
        }
    }

    #[test]
    fn odd_bounds_are_no_panic() {
        let mut random = Random::seeded(7);
        assert_eq!(Backoff::new(seconds(5.0), Duration::ZERO).delay(3, None, &mut random), Duration::ZERO);
        assert!(Backoff::new(Duration::ZERO, seconds(1.0)).delay(30, None, &mut random) <= seconds(1.0));
        let whole = Backoff::new(seconds(10.0), seconds(10.0)).delay(9, None, &mut random);
        assert!(whole > seconds(5.0) && whole <= seconds(10.001), "{whole:?}");
    }
}
