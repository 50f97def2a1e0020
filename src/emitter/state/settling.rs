//! How events leave memory: durable, refused, spooled, or given up.

use std::collections::VecDeque;

use revenium_event::Producer;
use revenium_event::line::Code;

use super::{Line, State};
use crate::outcome::LossReason;

/// Events whose number the agent may not have kept, after which a new producer begins.
// Each may end an unbroken run of numbers, as may each that is outstanding, and the agent remembers 1,024
// runs of a producer's.
const HOLES_MAX: u32 = 500;

impl State {
    /// Events up to `upto` that were sent are durable. They go to `settled`, to be freed without the lock.
    pub(crate) fn durable(&mut self, upto: u64, settled: &mut Vec<Line>) {
        let Some(link) = &self.link else { return };
        let upto = upto.min(link.sent_upto);
        let count = self.kept.partition_point(|line| line.n <= upto);
        let mut again = Vec::new();
        for line in self.kept.drain(..count) {
            if line.is_deferred {
                again.push(line);
            } else {
                self.kept_bytes -= line.cost();
                self.stats.durable += 1;
                settled.push(line);
            }
        }
        for line in again.into_iter().rev() {
            self.kept.push_front(line);
        }
    }

    /// The agent did not take the event with this number. Gives it back if that is for good.
    pub(crate) fn refused(&mut self, n: u64, code: Code) -> Option<Line> {
        let at = self.kept.binary_search_by_key(&n, |line| line.n).ok()?;
        if matches!(code, Code::Full | Code::Disk | Code::Stopping | Code::Busy | Code::Denied) {
            let line = &mut self.kept[at];
            self.deferred += usize::from(!std::mem::replace(&mut line.is_deferred, true));
            self.is_held = true;
            return None;
        }
        let line = self.kept.remove(at)?;
        self.deferred -= usize::from(line.is_deferred);
        self.kept_bytes -= line.cost();
        self.lose(LossReason::of(code), 1);
        self.holes += 1;
        if self.holes >= HOLES_MAX && self.switch_at.is_none() {
            // What was sent, or may be in a file, keeps its producer; the rest is nobody's yet.
            self.switch_at = Some(self.first_sent_upto + 1);
        }
        Some(line)
    }

    /// Whether a new producer is due and no event of the old one is left. Then `producer` is taken over,
    /// and the connection, which is the old one's, ended.
    pub(crate) fn switch_producer(&mut self, new: impl FnOnce() -> Producer) -> bool {
        let Some(at) = self.switch_at else { return false };
        if self.parked > 0 || self.kept.front().is_some_and(|line| line.n < at) {
            return false;
        }
        self.producer = Some(new());
        self.switch_at = None;
        self.holes = 0;
        self.disconnected();
        true
    }

    /// Takes what is kept out, to be spooled: events of one producer, in order, of `bytes_max` together.
    /// They count as in memory until [`Self::spooled`] or [`Self::unpark`].
    pub(crate) fn park(&mut self, bytes_max: u64) -> VecDeque<Line> {
        let end = self.switch_at.unwrap_or(u64::MAX);
        let mut bytes = 0;
        let fits = |line: &&Line| {
            bytes += line.bytes().len() as u64;
            line.n < end && bytes <= bytes_max
        };
        let count = self.kept.iter().take_while(fits).count();
        let rest = self.kept.split_off(count);
        let parked = std::mem::replace(&mut self.kept, rest);
        self.parked = parked.len();
        self.parked_upto = parked.back().map_or(0, |line| line.n);
        parked
    }

    /// What was parked is in a spool file.
    pub(crate) fn spooled(&mut self, parked: &VecDeque<Line>) {
        for line in parked {
            self.kept_bytes -= line.cost();
            self.deferred -= usize::from(line.is_deferred);
            self.stats.spooled += 1;
        }
        if let Some(last) = parked.back() {
            // What was not sent by now will not be: it does not count as sent.
            self.first_sent_upto = self.first_sent_upto.max(last.n);
            if let Some(link) = &mut self.link {
                link.sent_upto = link.sent_upto.max(last.n);
            }
        }
        self.parked = 0;
        self.is_over_half_told = false;
    }

    /// What was parked could not be spooled: it goes back to the front.
    pub(crate) fn unpark(&mut self, mut parked: VecDeque<Line>) {
        parked.append(&mut self.kept);
        self.kept = parked;
        self.parked = 0;
    }

    /// Gives up all that is kept.
    pub(crate) fn abandon(&mut self) -> VecDeque<Line> {
        let left = std::mem::take(&mut self.kept);
        self.kept_bytes = 0;
        self.deferred = 0;
        if !left.is_empty() {
            self.lose(LossReason::Closed, left.len() as u64);
        }
        left
    }
}
