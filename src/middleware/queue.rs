//! Results of a batch on their way to the emitter, no faster than it gets rid of them.
//!
//! They are many at once. The download's next piece waits until there is room for what the last one brought, so that
//! none is dropped for want of it. An emitter that can neither send nor spool is waited for once, and then no more.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use revenium_emitter::{Durable, Emitter, Event};
use tokio::time::{Timeout, timeout};

/// Longest wait for room. The emitter needs two seconds to see that an agent answers nothing, and then it spools.
const ROOM_TIME_MAX: Duration = Duration::from_secs(10);

/// What one piece of a download brought.
pub(crate) struct Queue {
    emitter: Emitter,
    waiting: VecDeque<Event>,
    /// Has an end once the emitter has got rid of what it was given last.
    room: Option<Pin<Box<Timeout<Durable>>>>,
    /// Waiting has helped so far.
    waits: bool,
}

impl Queue {
    pub(crate) fn new(emitter: Emitter) -> Self {
        Self { emitter, waiting: VecDeque::new(), room: None, waits: true }
    }

    pub(crate) fn extend(&mut self, events: impl IntoIterator<Item = Event>) {
        self.waiting.extend(events);
    }

    /// Emits what waits, as far as there is room. Ready once nothing waits.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(room) = &mut self.room {
                self.waits = ready!(room.as_mut().poll(cx)).is_ok();
                self.room = None;
            }
            let Some(event) = self.waiting.pop_front() else { return Poll::Ready(()) };
            let durable = self.emitter.emit_durable_async(event);
            if self.waits && self.is_crowded() {
                self.room = Some(Box::pin(timeout(ROOM_TIME_MAX, durable)));
            }
        }
    }

    /// Emits all that waits: nobody asks for more.
    pub(crate) fn finish(&mut self) {
        for event in self.waiting.drain(..) {
            // What becomes of it, the emitter counts and tells.
            self.emitter.emit(event);
        }
    }

    /// From here on the emitter spools at once, if no agent is there.
    fn is_crowded(&self) -> bool {
        let stats = self.emitter.stats();
        stats.in_memory_bytes > stats.in_memory_bytes_max / 2
    }
}
