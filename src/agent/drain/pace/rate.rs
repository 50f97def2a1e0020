//! How fast one agent may send so that all agents of the account together stay under its limit.
//!
//! Revenium counts the requests of an account in windows of one second and tells every answer how
//! many are left. That number is the one thing that all agents share, so it is what they steer by,
//! without talking to each other:
//!
//! - An agent gathers for a *round*: the answers to what it sent over a second, four at least. The
//!   largest share of the window that it saw in use stands for the load of all agents.
//! - Then it multiplies its rate by `√(aim / load)`, bounded, and adds `√rate / 10`. All agents
//!   multiply alike and the slow ones add relatively more, so that rates drift together: additive
//!   increase and multiplicative decrease, with the load as the signal instead of a loss.
//! - An answer that finds the window nearly used up holds the agent until the next window.
//! - A 429 halves the rate, once per round trip.
//!
//! A rate starts at [`START`], since an agent that is new cannot know how many are new with it: 200
//! that start together send a few hundred in their first second, not 4,000. Alone on an account it
//! sees an empty window and is at half the limit within five rounds. A rate that is not used
//! shrinks, so that a quiet fleet cannot burst on what its members learned alone. Without window
//! headers a rate doubles until the first 429, and from half of it goes on additively.
//!
//! Pure: `now` is given, randomness is seeded.

use std::time::Duration;

use tokio::time::Instant;

use super::super::random::Random;
use crate::upstream::RateWindow;

/// Requests per second of an agent that knows nothing.
pub(super) const START: f64 = 2.0;
/// No agent goes slower: it could not learn that there is room again.
const MIN: f64 = 0.1;
/// No agent goes faster unless told to: ten times what Revenium allows an account.
const MAX: f64 = 10_000.0;
/// The share of the window that the agents aim to use together. What is left is for bursts, for
/// newcomers, and for the load that is there but was not seen: a few answers miss the peak.
const AIM: f64 = 0.6;
/// Growth and shrinking of one round, at most.
const GROWTH_MAX: f64 = 8.0;
const SHRINK_MAX: f64 = 0.7;
/// Growth of one round when nothing tells the load.
const BLIND_GROWTH: f64 = 2.0;
/// A round ends when what was sent over this time has been answered, so many times at least.
const ROUND: Duration = Duration::from_secs(1);
const ROUND_ANSWERS: u32 = 4;
/// Above this share in use, an agent that sees it sends nothing more in the window.
const HOLD_ABOVE: f64 = 0.88;
/// How much sending may catch up with a clock that ticks in milliseconds and a loop that is late.
const CATCH_UP: Duration = Duration::from_millis(20);

/// The rate of one agent on one account.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    per_second: f64,
    /// Where growth turns additive when there are no window headers: half of what drew a 429.
    ceiling: Option<f64>,
    /// Whether answers change it.
    learns: bool,
    next_send: Instant,
    /// Nothing is sent before: the window was found nearly used up.
    held_until: Instant,
    last_send: Instant,
    decreased_at: Option<Instant>,
    round: Round,
}

#[derive(Debug, Clone)]
struct Round {
    started: Instant,
    sent: u32,
    answers: u32,
    /// Largest share of the window seen in use; `None` without headers.
    load: Option<f64>,
    /// Whether sending ever had to wait for the rate: else the rate says nothing.
    was_limiting: bool,
}

impl Round {
    fn new(now: Instant) -> Self {
        Self { started: now, sent: 0, answers: 0, load: None, was_limiting: false }
    }
}

impl Rate {
    /// Begins at `per_second` and learns.
    pub(super) fn adaptive(per_second: f64, now: Instant) -> Self {
        Self::new(per_second.clamp(MIN, MAX), true, now)
    }

    /// Stays at `per_second`.
    pub(super) fn fixed(per_second: f64, now: Instant) -> Self {
        Self::new(per_second.max(0.001), false, now)
    }

    fn new(per_second: f64, learns: bool, now: Instant) -> Self {
        Self {
            per_second,
            ceiling: None,
            learns,
            next_send: now,
            held_until: now,
            last_send: now,
            decreased_at: None,
            round: Round::new(now),
        }
    }

    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }

    /// When the next request may go. Asked only with a request at hand.
    pub(super) fn next_send(&mut self, now: Instant) -> Instant {
        let idle = now.saturating_duration_since(self.last_send);
        if self.learns && idle > ROUND * 2 {
            self.per_second = after_idle(self.per_second, idle);
            self.last_send = now;
            self.round = Round::new(now);
        }
        let at = self.next_send.max(self.held_until);
        if at > now {
            self.round.was_limiting = true;
        }
        at
    }

    /// A request goes out now.
    pub(super) fn sent(&mut self, now: Instant, random: &mut Random) {
        self.round.sent += 1;
        self.last_send = now;
        let interval = Duration::from_secs_f64(random.between(0.75, 1.25) / self.per_second);
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        self.next_send = self.next_send.max(earliest) + interval;
    }

    /// An answer to a request sent at `sent_at` was heard.
    pub(super) fn answered(
        &mut self,
        sent_at: Instant,
        window: Option<RateWindow>,
        now: Instant,
        random: &mut Random,
    ) {
        if !self.learns {
            return;
        }
        let load = window.map(|window| 1.0 - f64::from(window.remaining) / f64::from(window.limit));
        if load.is_some_and(|load| load > HOLD_ABOVE) {
            self.held_until = now + Duration::from_secs_f64(random.between(0.3, 1.0));
        }
        // What was sent before the last change tells of the load before it.
        let Some(sent_into) = sent_at.checked_duration_since(self.round.started) else { return };
        self.round.answers += 1;
        if let Some(load) = load {
            self.round.load = Some(self.round.load.unwrap_or(0.0).max(load));
        }
        if sent_into >= ROUND && self.round.answers >= ROUND_ANSWERS {
            let elapsed = now.saturating_duration_since(self.round.started);
            self.per_second = self.round.rate_after(self.per_second, self.ceiling, elapsed);
            self.round = Round::new(now);
            // A wait that was drawn at a slower rate is not served to its end.
            self.next_send = self.next_send.min(now + Duration::from_secs_f64(1.0 / self.per_second));
        }
    }

    /// A 429 to a request sent at `sent_at`: one decrease for all that were on their way together.
    pub(super) fn throttled(&mut self, sent_at: Instant, now: Instant) {
        if !self.learns || self.decreased_at.is_some_and(|decreased_at| sent_at <= decreased_at) {
            return;
        }
        self.per_second = (self.per_second / 2.0).max(MIN);
        self.ceiling = Some(self.per_second);
        self.decreased_at = Some(now);
        self.round = Round::new(now);
    }
}

/// What is left of a rate that was not used for `idle`: a quarter less each second, down to
/// [`START`].
pub(super) fn after_idle(per_second: f64, idle: Duration) -> f64 {
    let kept = per_second * 0.75f64.powf(idle.as_secs_f64());
    per_second.min(kept.max(START))
}

impl Round {
    /// The rate that follows from what this round saw.
    fn rate_after(&self, rate: f64, ceiling: Option<f64>, elapsed: Duration) -> f64 {
        let used = f64::from(self.sent) / elapsed.as_secs_f64();
        let rate = match (self.was_limiting, self.load) {
            // Something else was slower than the rate, so that it says nothing about what is possible.
            (false, _) if used < rate / 2.0 => rate.min((rate * 0.75).max(used * 1.5).max(START)),
            (false, Some(load)) if load > AIM => rate * towards_aim(load),
            (false, _) => rate,
            (true, Some(load)) => rate * towards_aim(load) + rate.sqrt() / 10.0,
            (true, None) => match ceiling {
                Some(ceiling) if rate >= ceiling => rate + (ceiling / 50.0).max(rate.sqrt() / 10.0),
                _ => rate * BLIND_GROWTH,
            },
        };
        rate.clamp(MIN, MAX)
    }
}

fn towards_aim(load: f64) -> f64 {
    (AIM / load.max(0.0001)).sqrt().clamp(SHRINK_MAX, GROWTH_MAX)
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
