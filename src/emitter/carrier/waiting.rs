//! How long to wait, and for what.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::Carrier;
use crate::state::Attention;

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

impl Carrier {
    /// Waits until something is due, the agent answers or takes more, or somebody wakes us.
    pub(super) fn wait(&mut self) {
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
            at_the_latest(self.hand_in_due());
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
