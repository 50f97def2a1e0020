//! What one process keeps in memory, and the connection that it goes out on. All of it is behind one lock,
//! held for a few lines and at most one system call: a send that does not wait.
//!
//! Events have numbers without gaps, are kept in their order until the agent has answered for them or they
//! are in a spool file, and go out in that order: on a connection, numbers that are outstanding go up. What
//! the agent has no room for now is sent again once nothing else is outstanding, all from the front.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use revenium_event::Producer;
use revenium_event::limits::LINE_BYTES_MAX;
use revenium_event::line::Code;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::event;
use crate::outcome::{DurableError, LossReason, Stats};
use crate::trouble::Trouble;
use crate::waiter::Waiter;

/// Longest line that is sent by the thread that emits it; longer ones take their time elsewhere.
// An eighth of a socket's usual buffer: it is nearly always taken whole.
pub(crate) const DIRECT_BYTES_MAX: usize = 32_000;

/// Bytes that the background thread sends at a time, so that it holds the lock for microseconds.
const PUMP_BYTES: usize = 16 << 10;
/// Lines that it sends at a time.
const PUMP_LINES: usize = 32;

/// Memory of an event beside its bytes.
const LINE_OVERHEAD_BYTES: usize = size_of::<Line>() + 16;

/// Events that are outstanding at most.
// Enough for 50,000 a second through a disk that takes 10 ms, and as many as fit into the socket.
const OUTSTANDING_MAX: usize = 512;

/// Events whose number the agent may not have kept, after which a new producer begins.
// Each may end an unbroken run of numbers, as may each that is outstanding, and the agent remembers 1,024
// runs of a producer's.
const HOLES_MAX: u32 = 500;

const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

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

/// A connection.
#[derive(Debug)]
struct Link {
    stream: Arc<UnixStream>,
    /// Every kept line up to this number was handed over, but for what is in `rest`.
    sent_upto: u64,
    /// What the kernel has not taken yet of what was begun; goes before anything else.
    rest: Vec<u8>,
    rest_at: usize,
    is_broken: bool,
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

/// What one more call of [`State::pump`] would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Nothing: all that may be sent is sent.
    All,
    /// Send more.
    More,
    /// Nothing until the socket has room.
    Full,
    /// Nothing: there is no connection, or it broke.
    Broken,
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

    /// Hands the newest event to the kernel, if all before it are there and it can be done at once.
    pub(crate) fn send_newest(&mut self) -> bool {
        let (Some(line), Some(link)) = (self.kept.back(), &mut self.link) else { return false };
        let is_next = link.sent_upto == line.n - 1 && link.rest_at == link.rest.len();
        if !is_next
            || link.is_broken
            || self.is_held
            || self.switch_at.is_some()
            || self.kept.len() > OUTSTANDING_MAX
            || line.bytes().len() > DIRECT_BYTES_MAX
        {
            return false;
        }
        let bytes = line.bytes();
        match rustix::net::send(&*link.stream, bytes, FLAGS) {
            Ok(count) => {
                link.sent_upto = line.n;
                if count < bytes.len() {
                    link.leave(&bytes[count..]);
                }
                let is_whole = count == bytes.len();
                let n = line.n;
                self.note_sent(n);
                is_whole
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => false,
            Err(_) => {
                link.is_broken = true;
                false
            }
        }
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

    /// Whether something is kept that was not handed to the kernel.
    pub(crate) fn has_unsent(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            link.rest_at < link.rest.len() || self.kept.back().is_some_and(|last| last.n > link.sent_upto)
        })
    }

    /// Whether [`Self::pump`] would try to send something.
    pub(crate) fn may_pump(&self) -> bool {
        let Some(link) = &self.link else { return false };
        if link.rest_at < link.rest.len() {
            return true;
        }
        let first = self.kept.partition_point(|line| line.n <= link.sent_upto);
        let last = self.switch_at.map_or(u64::MAX, |at| at - 1);
        !self.is_held
            && first.saturating_sub(self.deferred) < OUTSTANDING_MAX
            && self.kept.get(first).is_some_and(|line| line.n <= last)
    }

    /// Sends nothing for now but what was begun. Ends with [`Self::resend`].
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
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

    /// Sends some of what waits.
    pub(crate) fn pump(&mut self) -> Pumped {
        let Some(link) = &mut self.link else { return Pumped::Broken };
        if link.is_broken {
            return Pumped::Broken;
        }
        if link.rest_at < link.rest.len() {
            return link.send_rest();
        }
        if self.is_held {
            return Pumped::All;
        }
        let first = self.kept.partition_point(|line| line.n <= link.sent_upto);
        let last = self.switch_at.map_or(u64::MAX, |at| at - 1);
        let mut slices = [IoSlice::new(&[]); PUMP_LINES];
        let (mut count, mut bytes) = (0, 0);
        let room = OUTSTANDING_MAX.saturating_sub(first.saturating_sub(self.deferred)).min(PUMP_LINES);
        for line in self.kept.range(first..) {
            if count == room || bytes >= PUMP_BYTES || line.n > last {
                break;
            }
            slices[count] = IoSlice::new(line.bytes());
            bytes += line.bytes().len();
            count += 1;
        }
        if count == 0 {
            return Pumped::All;
        }
        let sent =
            rustix::net::sendmsg(&*link.stream, &slices[..count], &mut SendAncillaryBuffer::default(), FLAGS);
        let mut sent = match sent {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::NOBUFS) => return Pumped::Full,
            Err(Errno::INTR) => return Pumped::More,
            Err(_) => {
                link.is_broken = true;
                return Pumped::Broken;
            }
        };
        for line in self.kept.range(first..first + count) {
            if sent == 0 {
                break;
            }
            let taken = sent.min(line.bytes().len());
            link.sent_upto = line.n;
            if taken < line.bytes().len() {
                link.leave(&line.bytes()[taken..]);
            }
            sent -= taken;
        }
        let upto = link.sent_upto;
        self.note_sent(upto);
        Pumped::More
    }

    fn note_sent(&mut self, upto: u64) {
        let new = upto.saturating_sub(self.first_sent_upto);
        self.stats.sent += new;
        self.first_sent_upto += new;
    }

    /// Begins a connection with its hello. All that is kept goes out on it.
    pub(crate) fn connected(&mut self, stream: Arc<UnixStream>, hello: Vec<u8>) {
        let sent_upto = self.kept.front().map_or(self.next_n, |line| line.n) - 1;
        self.link = Some(Link { stream, sent_upto, rest: hello, rest_at: 0, is_broken: false });
        self.undefer();
    }

    /// Ends the connection. The other side sees the end even if a forked child has a copy of it.
    pub(crate) fn disconnected(&mut self) {
        if let Some(link) = self.link.take() {
            // It fails if the other side is gone, and then the same holds.
            let _ = rustix::net::shutdown(&*link.stream, rustix::net::Shutdown::Write);
        }
        self.undefer();
    }

    fn undefer(&mut self) {
        self.is_held = false;
        if self.deferred > 0 {
            self.deferred = 0;
            self.kept.iter_mut().for_each(|line| line.is_deferred = false);
        }
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.is_broken)
    }

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

    /// Whether some events were deferred and nothing else is outstanding: time to send them again.
    pub(crate) fn may_resend(&self) -> bool {
        self.is_held && self.outstanding() == 0
    }

    /// Sends all that is kept again, from the front. Only when [`Self::may_resend`].
    pub(crate) fn resend(&mut self) {
        self.undefer();
        if let (Some(link), Some(first)) = (&mut self.link, self.kept.front()) {
            link.sent_upto = first.n - 1;
        }
    }

    /// Events that were handed over on this connection and not answered.
    pub(crate) fn outstanding(&self) -> usize {
        let Some(link) = &self.link else { return 0 };
        self.kept.partition_point(|line| line.n <= link.sent_upto).saturating_sub(self.deferred)
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

impl Link {
    /// Keeps what the kernel did not take.
    fn leave(&mut self, rest: &[u8]) {
        self.rest.clear();
        self.rest.extend_from_slice(rest);
        self.rest_at = 0;
    }

    fn send_rest(&mut self) -> Pumped {
        let rest = &self.rest[self.rest_at..];
        match rustix::net::send(&*self.stream, &rest[..rest.len().min(PUMP_BYTES * 4)], FLAGS) {
            Ok(count) => self.rest_at += count,
            Err(Errno::AGAIN | Errno::NOBUFS) => return Pumped::Full,
            Err(Errno::INTR) => {}
            Err(_) => {
                self.is_broken = true;
                return Pumped::Broken;
            }
        }
        if self.rest_at == self.rest.len() {
            self.rest = Vec::new();
            self.rest_at = 0;
        }
        Pumped::More
    }
}
