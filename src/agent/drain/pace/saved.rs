//! A pace across a restart: what was asked of us is kept, what was learned ages.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::super::clock::Now;
use super::{Pace, Pacing, Throttle, budget::Budget, rate, rate::Rate};
use crate::upstream::AFTER_MAX;

/// Kept by `Queue::put_state`, as JSON. Unknown members are ignored and missing ones default, so
/// that a version before or after this one reads it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Saved {
    at_ms: u64,
    per_second: f64,
    refusal_points: f64,
    throttled_until_ms: u64,
    throttle_reason: String,
}

impl Pace {
    /// What has to survive; well under the 4 KiB that a state may take.
    pub(in super::super) fn save(&self, now: Now) -> Vec<u8> {
        let throttle = self.throttled(now.at);
        let saved = Saved {
            at_ms: now.wall_ms,
            per_second: self.rate.per_second(),
            refusal_points: self.budget.points(),
            throttled_until_ms: throttle.map_or(0, |throttle| now.wall_ms_at(throttle.until)),
            throttle_reason: throttle.map(|throttle| throttle.reason.clone()).unwrap_or_default(),
        };
        serde_json::to_vec(&saved).unwrap_or_default()
    }

    /// Takes up what [`Pace::save`] gave. What cannot be read is as good as nothing.
    pub(in super::super) fn restore(&mut self, bytes: &[u8], now: Now) {
        let Ok(saved) = serde_json::from_slice::<Saved>(bytes) else { return };
        // A clock that was set back makes the state one of the future: then no time has passed.
        let down = Duration::from_millis(now.wall_ms.saturating_sub(saved.at_ms));
        if self.pacing == Pacing::Adaptive && saved.per_second.is_finite() {
            self.rate = Rate::adaptive(rate::after_idle(saved.per_second, down), now.at);
        }
        if saved.refusal_points.is_finite() {
            self.budget = Budget::new(saved.refusal_points, now.at);
        }
        let wait = Duration::from_millis(saved.throttled_until_ms.saturating_sub(now.wall_ms));
        if !wait.is_zero() {
            let until: Instant = now.at + wait.min(AFTER_MAX);
            self.throttle = Some(Throttle { until, reason: saved.throttle_reason, count: 1 });
        }
    }
}
