//! The background thread: connects, sends what `emit` could not, reads answers, spools and hands in.
//!
//! One per process and emitter, started by the first event. It never holds the lock over a wait, and what
//! can wait is bounded: a poll until the next thing that is due. It ends when the last handle is dropped.

mod answering;
mod connecting;
mod handing_in;
mod spooling;
mod waiting;

use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use crate::builder::Place;
use crate::emitter::Core;
use crate::inbox::Inbox;
use crate::life::Life;
use crate::outcome::{DurableError, Loss, LossReason};
use crate::state::{Attention, Line, Pumped, State, Thread};
use crate::trouble::Trouble;
use answering::RESEND_PAUSE_FIRST;
use connecting::new_producer;
use handing_in::HandingIn;
use spooling::Spooling;

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
            // What it said before it went.
            self.read_answers(now);
            if self.stream.is_some() {
                self.lost(now);
            }
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
}
