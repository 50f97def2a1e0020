//! One timer for all that a connection waits for, moved as seldom as possible.
//!
//! Deadlines here move ahead with every byte; moving a timer each time would cost more than the
//! bytes. So it stays where it is until it fires, and then whoever set it looks again.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that fires at the earliest deadline it was told, or before.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    is_set: bool,
}

impl Alarm {
    /// Wakes the task at `due` or earlier. Call it at the end of every poll, with what is due then.
    pub(super) fn set(&mut self, due: Option<Instant>, now: Instant, cx: &mut Context<'_>) {
        let Some(due) = due else { return };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if self.is_set && sleep.deadline() > now && sleep.deadline() <= due {
            return;
        }
        sleep.as_mut().reset(due);
        self.is_set = sleep.as_mut().poll(cx).is_pending();
        if !self.is_set {
            // Due already: look again at once.
            cx.waker().wake_by_ref();
        }
    }
}
