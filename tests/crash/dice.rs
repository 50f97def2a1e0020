//! Chance that can be repeated: splitmix64.

use std::env;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The number in a variable of the environment, if it is set.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Where chance begins: in a variable of the environment, else by the clock.
pub(crate) fn seed(name: &str) -> u64 {
    number(name).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        now.as_secs() ^ u64::from(now.subsec_nanos()) << 32
    })
}

#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for a part, so that one part's throws don't change another's.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.throw())
    }

    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.throw() % (range.end() - range.start() + 1)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.throw().is_multiple_of(n)
    }

    /// Up to `at_most`, to the microsecond.
    pub(crate) fn duration(&mut self, at_most: Duration) -> Duration {
        let micros = u64::try_from(at_most.as_micros()).expect("is short");
        Duration::from_micros(self.between(0..=micros))
    }
}
