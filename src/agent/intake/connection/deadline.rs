//! What a connection does not wait for any longer, and when it looks again.
//!
//! | what lasts | for | then |
//! |---|---|---|
//! | a line without its newline | `line_timeout` | is refused, the connection closed |
//! | answers that nobody reads | `answer_timeout` | are dropped; what was sent is still taken |
//! | silence | `idle_after` | the buffers are given back |
//! | silence | `idle_max` | the connection is closed; what comes just then is still taken |

use std::task::Context;

use tokio::time::Instant;

use super::{Connection, Desk, Input, Shared, unix_ms};
use crate::intake::wire::Wire;
use crate::queue::Queue;

impl<Q: Queue, W: Wire> Connection<'_, Q, W> {
    /// Acts on whatever has lasted too long.
    pub(super) fn heed_time(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.throttled_until.is_some_and(|until| now >= until) {
            self.throttled_until = None;
            self.read_at = now;
        }
        if self.line_deadline().is_some_and(|at| now >= at) {
            let Shared { door, observer, limits, .. } = self.shared;
            observer.line_timed_out();
            let desk = Desk { door, seat: &self.seat, observer: &**observer, now, now_ms: unix_ms() };
            self.session.unfinished(limits.line_timeout, &desk, &mut self.building);
            self.input = Input::Done;
            self.hand_over(now, cx);
        }
        if self.answer_deadline().is_some_and(|at| now >= at) {
            self.shared.observer.stalled();
            self.answers.give_up();
            self.close_to_more(now);
        }
        if self.idle_deadline().is_some_and(|at| now >= at) {
            self.lines.shrink(true);
            self.answers.shrink();
        }
        if self.end_deadline().is_some_and(|at| now >= at) {
            // What comes just now is still read; the end follows it.
            self.read_at = now;
            self.close_to_more(now);
        }
    }

    /// When to look again if nothing else happens.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let deadlines = [
            // Past, it waits for room, and room wakes.
            self.left_until.filter(|until| *until > now),
            self.throttled_until,
            self.line_deadline(),
            self.answer_deadline(),
            self.idle_deadline(),
            self.end_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn line_deadline(&self) -> Option<Instant> {
        let is_waiting = self.input == Input::Open
            && self.throttled_until.is_none()
            && !self.is_held_back
            && self.lines.is_unfinished();
        is_waiting.then(|| self.read_at + self.shared.limits.line_timeout)
    }

    fn answer_deadline(&self) -> Option<Instant> {
        let limits = &self.shared.limits;
        let timeout = if self.is_stopping { limits.answer_timeout_stopping } else { limits.answer_timeout };
        self.answers.waiting_since().map(|since| since + timeout)
    }

    fn idle_deadline(&self) -> Option<Instant> {
        (self.is_idle() && self.lines.bytes_held() > 0).then(|| self.read_at + self.shared.limits.idle_after)
    }

    fn end_deadline(&self) -> Option<Instant> {
        let idle_max = self.shared.limits.idle_max.filter(|_| self.is_idle())?;
        self.read_at.checked_add(idle_max)
    }

    fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.answers.is_empty() && !self.lines.is_unfinished()
    }
}
