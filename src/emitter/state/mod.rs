//! What one process keeps in memory, and the connection that it goes out on. All of it is behind one lock,
//! held for a few lines and at most one system call: a send that does not wait.
//!
//! Events have numbers without gaps, are kept in their order until the agent has answered for them or they
//! are in a spool file, and go out in that order: on a connection, numbers that are outstanding go up. What
//! the agent has no room for now is sent again once nothing else is outstanding, all from the front.

mod sending;
mod settling;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use revenium_event::Producer;
use revenium_event::limits::LINE_BYTES_MAX;

use crate::event;
use crate::outcome::{DurableError, LossReason, Stats};
use crate::trouble::Trouble;
use crate::waiter::Waiter;
use sending::Link;
pub(crate) use sending::Pumped;

/// Memory of an event beside its bytes.
const LINE_OVERHEAD_BYTES: usize = size_of::<Line>() + 16;

/// An event that is kept.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) n: u64,
    bytes: Vec<u8>,
    start: usize,
    /// The agent had no room for it on this connection.
    is_deferred: bool,
    waiter: Option<Arc<Waiter>>,
}

impl Line {
    /// The line with its newline.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn tell(&self, outcome: Result<(), DurableError>) {
        if let Some(waiter) = &self.waiter {
            waiter.tell(outcome);
        }
    }

    fn cost(&self) -> usize {
        self.bytes.capacity() + LINE_OVERHEAD_BYTES
    }
}

/// What the background thread is about to do, so that whoever emits knows whether to wake it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attention {
    /// It will look by itself, soon.
    Awake,
    /// It listens to the agent, and looks now and then.
    Listening,
    /// It looks at nothing until it is woken.
    Asleep,
}

/// Where the background thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thread {
    None,
    /// It could not be started; not tried again before.
    Failed {
        again_at: Instant,
    },
    Running,
}

/// Bounds on what is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: usize,
    pub(crate) events_max: usize,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) producer: Option<Producer>,
    next_n: u64,
    kept: VecDeque<Line>,
    kept_bytes: usize,
    /// Events that are being spooled, out of `kept` and still in memory: how many, and the last number.
    parked: usize,
    parked_upto: u64,
    link: Option<Link>,
    deferred: usize,
    /// Something was deferred: nothing new is sent until all is answered and sent again.
    is_held: bool,
    holes: u32,
    /// Numbers from here on belong to the next producer.
    switch_at: Option<u64>,
    first_sent_upto: u64,
    stats: Stats,
    unreported: [u64; LossReason::ALL.len()],
    pub(crate) attention: Attention,
    is_over_half_told: bool,
    pub(crate) thread: Thread,
    /// Flushes that wait.
    pub(crate) flushers: usize,
    /// A flush wants what is not durable by then in the spool.
    pub(crate) spool_by: Option<Instant>,
    pub(crate) close_by: Option<Instant>,
    pub(crate) trouble: Option<Trouble>,
}

impl State {
    pub(crate) const fn new() -> Self {
        Self {
            producer: None,
            next_n: 1,
            kept: VecDeque::new(),
            kept_bytes: 0,
            parked: 0,
            parked_upto: 0,
            link: None,
            deferred: 0,
            is_held: false,
            holes: 0,
            switch_at: None,
            first_sent_upto: 0,
            stats: Stats::ZERO,
            unreported: [0; LossReason::ALL.len()],
            attention: Attention::Awake,
            is_over_half_told: false,
            thread: Thread::None,
            flushers: 0,
            spool_by: None,
            close_by: None,
            trouble: None,
        }
    }

    /// Numbers and keeps a finished event. It is lost and counted if there is no room.
    pub(crate) fn admit(
        &mut self,
        mut bytes: Vec<u8>,
        waiter: Option<Arc<Waiter>>,
        bounds: &Bounds,
    ) -> Result<(), LossReason> {
        self.stats.emitted += 1;
        // Its number's room is longer than any number, and its newline does not count.
        if bytes.len() > LINE_BYTES_MAX {
            return Err(self.lose(LossReason::TooLarge, 1));
        }
        let start = event::number(&mut bytes, self.next_n);
        let line = Line { n: self.next_n, bytes, start, is_deferred: false, waiter };
        let events = self.kept.len() + self.parked;
        if events >= bounds.events_max || self.kept_bytes + line.cost() > bounds.bytes_max {
            return Err(self.lose(LossReason::MemoryFull, 1));
        }
        self.next_n += 1;
        self.kept_bytes += line.cost();
        self.kept.push_back(line);
        Ok(())
    }

    /// Whether the background thread is to be woken, now that an event was admitted; it is told once.
    pub(crate) fn wants_wake(&mut self, is_sent: bool, bounds: &Bounds) -> bool {
        let is_over_half = self.kept_bytes > bounds.bytes_max / 2 || self.in_memory() > bounds.events_max / 2;
        let wants = match self.attention {
            Attention::Asleep => true,
            Attention::Listening => !is_sent,
            Attention::Awake => false,
        } || (is_over_half && !self.is_over_half_told);
        self.is_over_half_told |= is_over_half;
        if wants {
            self.attention = Attention::Awake;
        }
        wants
    }

    /// After the background thread broke off: what it held is lost.
    pub(crate) fn recover(&mut self) {
        let lost = std::mem::take(&mut self.parked) as u64;
        if lost > 0 {
            self.lose(LossReason::Closed, lost);
        }
        self.kept_bytes = self.kept.iter().map(Line::cost).sum();
        self.disconnected();
        self.thread = Thread::None;
    }

    /// Events in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.kept.len() + self.parked
    }

    /// Events in memory with numbers up to `n`.
    pub(crate) fn in_memory_upto(&self, n: u64) -> usize {
        let parked = if self.parked_upto <= n { self.parked } else { self.parked.min(1) };
        self.kept.partition_point(|line| line.n <= n) + parked
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The number of the latest event.
    pub(crate) fn last_n(&self) -> u64 {
        self.next_n - 1
    }

    pub(crate) fn lose(&mut self, reason: LossReason, events: u64) -> LossReason {
        self.stats.lose(reason, events);
        self.unreported[reason as usize] += events;
        reason
    }

    /// Losses that were not reported yet; they count as reported from now on.
    pub(crate) fn take_unreported(&mut self) -> Vec<(LossReason, u64)> {
        let mut found = Vec::new();
        for reason in LossReason::ALL {
            match std::mem::take(&mut self.unreported[reason as usize]) {
                0 => {}
                events => found.push((reason, events)),
            }
        }
        found
    }

    pub(crate) fn has_unreported(&self) -> bool {
        self.unreported != [0; LossReason::ALL.len()]
    }

    pub(crate) fn handed_in(&mut self, events: u64) {
        self.stats.handed_in += events;
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.stats;
        (stats.in_memory, stats.in_memory_bytes) = (self.in_memory() as u64, self.kept_bytes as u64);
        stats
    }
}
