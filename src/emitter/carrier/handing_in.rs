//! Handing in the spool's files, on a thread of its own that lives as long as that takes, so that events go on
//! meanwhile. The machine's spool is left to its agent.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Carrier;
use crate::place::SYSTEM_SPOOL;
use crate::spool::{HandIn, Report};
use crate::trouble::Trouble;

/// After connecting, live events go first.
const BEGIN_AFTER: Duration = Duration::from_millis(100);

/// After spooling to an agent that is there and does not answer.
const BEGIN_LATER: Duration = Duration::from_secs(5);

/// The pause while files are left doubles from the first to the last of these.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long one run may take.
const RUN_FOR: Duration = Duration::from_secs(60);

const STACK_BYTES: usize = 256 << 10;

/// The state of handing in.
#[derive(Default)]
pub(super) struct HandingIn {
    running: Option<Running>,
    stop: Arc<AtomicBool>,
    due: Option<Instant>,
    pauses: u32,
}

/// A run under way, and what it came to: told before we are woken, since a thread that has nothing left to
/// do but to end has not ended yet.
struct Running {
    thread: JoinHandle<()>,
    ended: Receiver<io::Result<Report>>,
}

impl HandingIn {
    /// There is a connection: see what lies in the spool.
    pub(super) fn schedule(&mut self, now: Instant) {
        let at = now + BEGIN_AFTER;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// A file was written.
    pub(super) fn schedule_later(&mut self, now: Instant) {
        self.due.get_or_insert(now + BEGIN_LATER);
    }

    /// Ends a run soon, and waits for it.
    pub(super) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            let _ = running.thread.join();
        }
    }
}

impl Carrier {
    /// When to begin. `None` while a run goes on, whose end wakes us, or where nothing is ours to hand in.
    pub(super) fn hand_in_due(&self) -> Option<Instant> {
        let place = self.places().get(self.place?)?;
        let may = self.stream.is_some() && !self.is_denied && place.spool != Path::new(SYSTEM_SPOOL);
        self.handing_in.due.filter(|_| may && self.handing_in.running.is_none())
    }

    pub(super) fn hand_in_if_due(&mut self, now: Instant) {
        let ended = self.handing_in.running.as_ref().map(|running| running.ended.try_recv());
        if let Some(Ok(_) | Err(TryRecvError::Disconnected)) = ended
            && let Some(running) = self.handing_in.running.take()
        {
            let _ = running.thread.join();
            // A run that broke off is tried again.
            self.handed_in(
                ended.and_then(Result::ok).unwrap_or_else(|| Err(io::ErrorKind::Other.into())),
                now,
            );
        }
        if self.hand_in_due().is_none_or(|due| now < due) {
            return;
        }
        let Some(place) = self.place.and_then(|at| self.places().get(at)).cloned() else { return };
        self.handing_in.due = None;
        let (core, at, stop) = (Arc::clone(&self.core), self.at, Arc::clone(&self.handing_in.stop));
        let (tell, ended) = channel();
        let run = move || {
            let hand_in =
                HandIn { dir: &place.spool, sockets: &[place.socket], until: now + RUN_FOR, stop: &stop };
            // Nobody takes it once the carrier has ended.
            let _ = tell.send(hand_in.run());
            core.lives.life(at).wake();
        };
        let thread = thread::Builder::new().name("revenium-spool".to_owned()).stack_size(STACK_BYTES);
        match thread.spawn(run) {
            Ok(thread) => self.handing_in.running = Some(Running { thread, ended }),
            Err(error) => self.handed_in(Err(error), now),
        }
    }

    fn handed_in(&mut self, ended: io::Result<Report>, now: Instant) {
        let report = ended.unwrap_or_else(|_| Report { left: 1, ..Report::default() });
        self.state().handed_in(report.events);
        if report.bad > 0
            && let Some(place) = self.place.and_then(|at| self.places().get(at))
        {
            let message = format!("{} lines of its files are no events; they are in bad/", report.bad);
            self.trouble(Trouble::Spool { dir: place.spool.clone(), message });
        }
        if report.left == 0 {
            self.handing_in.pauses = 0;
            return;
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << self.handing_in.pauses.min(16)).min(PAUSE_MAX);
        self.handing_in.pauses += 1;
        self.handing_in.due = Some(now + pause);
    }
}
