//! The background thread: connects, sends what `emit` could not, reads answers, spools and hands in.
//!
//! One per process and emitter, started by the first event. It never holds the lock over a wait, and what
//! can wait is bounded: a poll until the next thing that is due. It ends when the last handle is dropped.

mod handing_in;
mod spooling;

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use revenium_event::Producer;
use revenium_event::line::{Answer, Code, Hello, VERSION};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::rand::GetRandomFlags;

use crate::builder::Place;
use crate::emitter::Core;
use crate::inbox::Inbox;
use crate::life::Life;
use crate::link;
use crate::outcome::{DurableError, Loss, LossReason, Refused};
use crate::state::{Attention, Line, Pumped, State, Thread};
use crate::trouble::Trouble;
use handing_in::HandingIn;
use spooling::Spooling;

/// The pause after the first failed connect; it doubles up to one of the others, and is scaled by a random
/// factor in 0.5..1.0, so that processes that lost an agent together do not come back together.
const CONNECT_PAUSE_FIRST: Duration = Duration::from_millis(10);
/// With events in memory.
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// With none, or when the agent wants nothing of us.
const CONNECT_PAUSE_IDLE_MAX: Duration = Duration::from_secs(10);

/// The pause before sending again what the agent had no room for; it doubles.
const RESEND_PAUSE_FIRST: Duration = Duration::from_millis(100);
const RESEND_PAUSE_MAX: Duration = Duration::from_secs(2);

/// An agent that denied us gets no event for so long after connecting: it may deny us again.
const PROBATION: Duration = Duration::from_millis(200);

/// How often to look while events are under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while no agent is there.
const LOOK_EVERY_AWAY: Duration = Duration::from_millis(200);
/// How often to look for buffered events.
const LOOK_EVERY_BUFFERED: Duration = Duration::from_millis(5);

/// So long after the last event the thread sleeps until it is woken, which costs whoever wakes it a system
/// call.
const ASLEEP_AFTER: Duration = Duration::from_secs(5);
/// The same for buffered events, for which looking costs more.
const ASLEEP_AFTER_BUFFERED: Duration = Duration::from_millis(250);

/// Losses of one reason are reported this far apart.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// See the module's text.
pub(crate) struct Carrier {
    core: Arc<Core>,
    /// Which life of the emitter's is ours.
    at: usize,
    stream: Option<Arc<UnixStream>>,
    inbox: Inbox,
    /// The place that was last connected to.
    place: Option<usize>,
    connect_at: Instant,
    /// Connections in a row that failed or brought nothing.
    failures: u32,
    /// The last try to connect failed.
    is_away: bool,
    /// The agent turned us away, and has answered nothing since.
    is_denied: bool,
    resend_at: Instant,
    resend_pause: Duration,
    /// Since when nothing was answered although something is in memory.
    quiet_since: Instant,
    /// When the last event was emitted, as far as was looked.
    active_at: Instant,
    seen_n: u64,
    /// The socket has no room.
    is_full: bool,
    spooling: Spooling,
    handing_in: HandingIn,
    /// Durable events, on their way out of memory.
    settled: Vec<Line>,
    report_at: Instant,
    /// What was reported as being in the way.
    known: Vec<Trouble>,
    random: u64,
}

impl Carrier {
    pub(crate) fn new(core: Arc<Core>, at: usize) -> Self {
        let now = Instant::now();
        let spooling = Spooling::new(core.config.spool_limits, now);
        Self {
            core,
            at,
            stream: None,
            inbox: Inbox::default(),
            place: None,
            connect_at: now,
            failures: 0,
            is_away: false,
            is_denied: false,
            resend_at: now,
            resend_pause: RESEND_PAUSE_FIRST,
            quiet_since: now,
            active_at: now,
            seen_n: 0,
            is_full: false,
            spooling,
            handing_in: HandingIn::default(),
            settled: Vec::new(),
            report_at: now,
            known: Vec::new(),
            random: 1,
        }
    }

    /// Runs to the end. A bug in it ends the thread; the next event starts another.
    pub(crate) fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let drawn = new_producer();
            self.random = u64::from_le_bytes(*drawn.as_bytes().first_chunk().expect("16 bytes")) | 1;
            while self.step() {
                self.wait();
            }
        }));
        {
            let mut state = self.state();
            match ended {
                Ok(()) => state.thread = Thread::None,
                Err(_) => state.recover(),
            }
        }
        self.life().progress.notify_all();
        self.handing_in.end();
    }

    fn life(&self) -> &Life {
        self.core.lives.life(self.at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.life().lock()
    }

    fn places(&self) -> &[Place] {
        &self.core.config.places
    }

    /// Does what is due. False when there is nothing more to do, ever.
    fn step(&mut self) -> bool {
        let now = Instant::now();
        self.state().attention = Attention::Awake;
        if self.stream.is_some() && !self.state().is_linked() {
            self.read_answers(now);
            self.lost(now);
        }
        if self.stream.is_none() && (now >= self.connect_at || self.may_connect_early(now)) {
            self.connect(now);
        }
        self.read_answers(now);
        self.pump();
        self.resend_if_due(now);
        if self.state().switch_producer(new_producer) {
            (self.stream, self.inbox, self.connect_at) = (None, Inbox::default(), now);
        }
        self.spool_if_due(now);
        self.hand_in_if_due(now);
        self.report(now, false);
        self.look(now)
    }

    /// Notes how things are. False when closing is done.
    fn look(&mut self, now: Instant) -> bool {
        let life = self.core.lives.life(self.at);
        let mut state = life.lock();
        if state.in_memory() == 0 {
            self.quiet_since = now;
        }
        if state.last_n() != self.seen_n {
            (self.seen_n, self.active_at) = (state.last_n(), now);
        }
        if state.flushers > 0 {
            life.progress.notify_all();
        }
        let Some(by) = state.close_by else { return true };
        if state.in_memory() > 0 && now < by {
            return true;
        }
        let left = state.abandon();
        state.disconnected();
        drop(state);
        for line in left {
            line.tell(Err(DurableError::Dropped(LossReason::Closed)));
        }
        self.report(now, true);
        false
    }

    fn connect(&mut self, now: Instant) {
        let sockets: Vec<_> = self.places().iter().map(|place| place.socket.clone()).collect();
        let (stream, at) = match link::connect_first(&sockets) {
            Ok((stream, socket)) => (stream, sockets.iter().position(|other| other == socket)),
            Err(tried) => {
                self.is_away = true;
                self.back_off(now);
                self.trouble(Trouble::of_connecting(&tried));
                return;
            }
        };
        if let Some(bytes) = self.core.config.send_buffer_bytes {
            // For tests; without it they would merely test less.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, bytes);
        }
        let stream = Arc::new(stream);
        let mut state = self.state();
        let producer = *state.producer.get_or_insert_with(new_producer);
        let mut hello = Vec::new();
        self.hello(producer).write(&mut hello);
        state.connected(Arc::clone(&stream), hello);
        if self.is_denied {
            state.hold();
        }
        drop(state);
        if self.is_denied {
            self.resend_at = now + PROBATION;
        }
        self.stream = Some(stream);
        self.place = at;
        self.is_away = false;
        self.is_full = false;
        self.quiet_since = now;
        self.handing_in.schedule(now);
    }

    /// Whether the pause was for an idle process, and it has events now.
    fn may_connect_early(&self, now: Instant) -> bool {
        !self.is_denied && self.connect_at > now + CONNECT_PAUSE_MAX && self.state().in_memory() > 0
    }

    fn hello(&self, producer: Producer) -> Hello {
        Hello { v: VERSION, producer: Some(producer), profile: self.core.config.profile.clone() }
    }

    fn lost(&mut self, now: Instant) {
        self.state().disconnected();
        self.stream = None;
        self.inbox = Inbox::default();
        self.back_off(now);
    }

    fn back_off(&mut self, now: Instant) {
        let is_idle = self.is_denied || self.state().in_memory() == 0;
        let max = if is_idle { CONNECT_PAUSE_IDLE_MAX } else { CONNECT_PAUSE_MAX };
        let pause = CONNECT_PAUSE_FIRST.saturating_mul(1 << self.failures.min(16)).min(max);
        self.failures += 1;
        self.connect_at = now + pause.mul_f64(self.jitter());
    }

    /// A random factor in 0.5..1.0.
    fn jitter(&mut self) -> f64 {
        // xorshift64: never 0 once it is not.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let bits = u32::try_from(self.random >> 32).unwrap_or(0);
        0.5 + f64::from(bits) / f64::from(u32::MAX) / 2.0
    }

    fn read_answers(&mut self, now: Instant) {
        while let Some(stream) = self.stream.clone() {
            match (&*stream).read(self.inbox.room()) {
                Ok(0) => return self.lost(now),
                Ok(count) => {
                    self.inbox.filled(count);
                    self.take_answers(now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.lost(now),
            }
        }
    }

    fn take_answers(&mut self, now: Instant) {
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut turned_away = None;
        while let Some(line) = inbox.next() {
            let answer = line.ok().and_then(|line| Answer::parse(line).ok());
            turned_away = match answer {
                Some(Answer::Durable { upto }) => {
                    self.durable(upto, now);
                    None
                }
                Some(Answer::Refused { n: Some(n), code, field, message }) => {
                    self.refused(n, code, field.as_deref(), &message, now);
                    None
                }
                Some(Answer::Refused { n: None, code, message, .. }) => Some((code, message.into_owned())),
                _ => Some((Code::Invalid, "it does not answer as an agent does".to_owned())),
            };
            if turned_away.is_some() {
                break;
            }
        }
        self.inbox = inbox;
        if let Some((code, message)) = turned_away {
            self.turned_away(code, message, now);
        }
    }

    fn durable(&mut self, upto: u64, now: Instant) {
        let mut settled = std::mem::take(&mut self.settled);
        {
            let mut state = self.state();
            state.durable(upto, &mut settled);
            if !settled.is_empty() {
                state.trouble = None;
            }
        }
        if !settled.is_empty() {
            self.progressed(now);
            self.resend_pause = RESEND_PAUSE_FIRST;
            self.spooling.outage_ended();
            self.known.clear();
        }
        for line in settled.drain(..) {
            line.tell(Ok(()));
        }
        self.settled = settled;
    }

    fn refused(&mut self, n: u64, code: Code, field: Option<&str>, message: &str, now: Instant) {
        let line = self.state().refused(n, code);
        match line {
            Some(line) => {
                self.progressed(now);
                let (reason, field) = (LossReason::of(code), field.map(str::to_owned));
                let refused = Refused { reason, field, message: message.to_owned() };
                line.tell(Err(DurableError::Refused(refused)));
            }
            None if matches!(code, Code::Full | Code::Disk | Code::Stopping) => {
                if self.resend_at <= now {
                    self.resend_at = now + self.resend_pause;
                    self.resend_pause = (self.resend_pause * 2).min(RESEND_PAUSE_MAX);
                }
                self.trouble(Trouble::Refused { message: message.to_owned() });
            }
            // A resend's second answer.
            None => {}
        }
    }

    fn progressed(&mut self, now: Instant) {
        self.quiet_since = now;
        self.failures = 0;
        self.is_denied = false;
    }

    /// The agent wants nothing of this connection.
    fn turned_away(&mut self, code: Code, message: String, now: Instant) {
        // Stopping is no refusal: the next agent is to be found soon.
        self.is_denied |= code != Code::Stopping;
        let socket = self.place.and_then(|at| self.places().get(at)).map(|place| place.socket.clone());
        self.trouble(match (code, socket) {
            (Code::Denied, Some(socket)) => Trouble::Denied { socket, message },
            _ => Trouble::Refused { message },
        });
        self.lost(now);
    }

    fn pump(&mut self) {
        loop {
            let pumped = self.state().pump();
            match pumped {
                Pumped::More => {}
                Pumped::Full => return self.is_full = true,
                Pumped::All | Pumped::Broken => return self.is_full = false,
            }
        }
    }

    fn resend_if_due(&mut self, now: Instant) {
        if self.stream.is_none() || now < self.resend_at {
            return;
        }
        // It was not turned away again.
        self.is_denied = false;
        let resends = {
            let mut state = self.state();
            let may = state.may_resend();
            if may {
                state.resend();
            }
            may
        };
        if resends {
            self.pump();
        }
    }

    /// Notes what is in the way, and says so once.
    fn trouble(&mut self, trouble: Trouble) {
        {
            let mut state = self.state();
            // That the spool cannot be written matters because of something else, which counts more.
            if state.trouble.is_none() || !matches!(trouble, Trouble::Spool { .. }) {
                state.trouble = Some(trouble.clone());
            }
        }
        if self.known.iter().any(|known| known.is_like(&trouble)) {
            return;
        }
        if let Some(callback) = &self.core.config.on_trouble {
            // Its panic is its own.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(&trouble)));
        }
        self.known.push(trouble);
    }

    /// Reports losses that were not reported yet.
    fn report(&mut self, now: Instant, is_last: bool) {
        if now < self.report_at && !is_last {
            return;
        }
        let (lost, trouble) = {
            let mut state = self.state();
            (state.take_unreported(), state.trouble.clone())
        };
        if lost.is_empty() {
            return;
        }
        self.report_at = now + REPORT_EVERY;
        let Some(callback) = &self.core.config.on_loss else { return };
        for (reason, events) in lost {
            let loss = Loss { reason, events, trouble: trouble.clone() };
            let _ = catch_unwind(AssertUnwindSafe(|| callback(&loss)));
        }
    }

    /// Waits until something is due, the agent answers or takes more, or somebody wakes us.
    fn wait(&mut self) {
        let now = Instant::now();
        let is_buffered = self.core.config.is_buffered;
        let (attention, due, is_waiting_for_room) = {
            let mut state = self.state();
            let is_linked = self.stream.is_some();
            let is_busy = state.in_memory() > 0;
            let has_unsent = is_linked && state.has_unsent();
            let may_pump = is_linked && state.may_pump();
            let idle_for = now.saturating_duration_since(self.active_at);
            let mut due: Option<Instant> = None;
            let mut at_the_latest = |at: Option<Instant>| {
                due = due.into_iter().chain(at).min();
            };
            at_the_latest((may_pump && !self.is_full).then_some(now));
            let look_every = match (is_busy, is_linked) {
                (true, true) => Some(LOOK_EVERY),
                (true, false) => Some(LOOK_EVERY_AWAY),
                (false, _) => (!is_buffered && idle_for < ASLEEP_AFTER).then_some(LOOK_EVERY),
            };
            at_the_latest(look_every.map(|every| now + every));
            at_the_latest(
                (is_buffered && idle_for < ASLEEP_AFTER_BUFFERED).then_some(now + LOOK_EVERY_BUFFERED),
            );
            at_the_latest((!is_linked).then_some(self.connect_at));
            at_the_latest((is_linked && state.may_resend()).then_some(self.resend_at));
            at_the_latest(state.has_unreported().then_some(self.report_at));
            at_the_latest(
                is_busy.then_some(state.spool_by).flatten().map(|by| by.max(self.spooling.again_at())),
            );
            at_the_latest(state.close_by.map(|by| {
                let half = by.checked_sub(self.core.config.close_within / 2).unwrap_or(by);
                if half > now { half } else { by.min(now + LOOK_EVERY_AWAY / 4) }
            }));
            at_the_latest(self.handing_in.due().filter(|_| is_linked));
            state.attention = if is_buffered {
                if idle_for < ASLEEP_AFTER_BUFFERED { Attention::Awake } else { Attention::Asleep }
            } else if has_unsent || (is_busy && !is_linked) {
                Attention::Awake
            } else if is_busy || idle_for < ASLEEP_AFTER || !is_linked {
                Attention::Listening
            } else {
                Attention::Asleep
            };
            (state.attention, due, may_pump && self.is_full)
        };
        debug_assert!(attention != Attention::Awake || due.is_some());
        let timeout = due.map(|due| due.saturating_duration_since(now));
        // More than it can hold would be years.
        let timeout =
            timeout.map(|wait| Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 }));
        let life = self.core.lives.life(self.at);
        let Ok(wake) = life.waker() else { return };
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        if let Some(stream) = &self.stream {
            let room = if is_waiting_for_room { PollFlags::OUT } else { PollFlags::empty() };
            fds.push(PollFd::new(&**stream, PollFlags::IN | room));
        }
        // It fails when a signal comes, or for want of memory: looking again is right in both cases.
        let _ = rustix::event::poll(&mut fds, timeout.as_ref());
        if !fds[0].revents().is_empty() {
            life.clear_wake();
        }
        if fds.get(1).is_some_and(|fd| fd.revents().contains(PollFlags::OUT)) {
            self.is_full = false;
        }
    }
}

/// 128 random bits.
fn new_producer() -> Producer {
    let mut bits = [0; 16];
    let drawn = rustix::rand::getrandom(&mut bits, GetRandomFlags::NONBLOCK);
    if drawn != Ok(bits.len()) {
        // Early in a boot, or where the call is forbidden: the standard library's way finds other sources.
        use std::hash::{BuildHasher, RandomState};
        for half in bits.chunks_mut(8) {
            let drawn = RandomState::new().hash_one((Instant::now(), std::process::id()));
            half.copy_from_slice(&drawn.to_le_bytes());
        }
    }
    Producer::from_bytes(bits)
}
