//! The handle that applications hold: emitting, waiting for durable, flushing, closing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::builder::{Builder, Config};
use crate::carrier::Carrier;
use crate::event::Event;
use crate::life::{Life, Lives};
use crate::outcome::{DurableError, Emitted, FlushReport, LossReason, Stats};
use crate::state::Thread;
use crate::trouble::Trouble;
use crate::waiter::Waiter;

/// Stack of the background thread: for callbacks, mostly; it takes what it touches.
const STACK_BYTES: usize = 256 << 10;

/// The pause before another try to start the thread.
const START_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What dropping the last handle waits beyond its deadline, for the thread to say that it has ended.
const CLOSE_SLACK: Duration = Duration::from_millis(250);

/// Hands events to the agent. A clone is the same emitter; keep one for the whole process.
///
/// [`emit`](Self::emit) never waits, never panics, and uses bounded memory. Events are kept until the agent
/// says that they are durable; while none is there they are flushed to spool files, and handed in when it is
/// back. Nothing is printed: losses go to [`Builder::on_loss`] and [`stats`](Self::stats).
///
/// The first event starts one background thread. Dropping the last handle hands over or spools what is left,
/// within [`Builder::close_within`]. A process that ends without that, by `process::exit` or by being killed,
/// loses only what is in its memory and not yet in the kernel ([`Emitted::Queued`]).
///
/// After a fork the child has no part in what its parent emitted; its own events go over a connection of its
/// own. (Calls made in a child between `fork` and `exec` must be async-signal-safe, which these are not.)
#[derive(Clone)]
pub struct Emitter {
    handle: Arc<Handle>,
}

/// What all clones share; closes when the last is dropped.
struct Handle {
    core: Arc<Core>,
}

/// What handles and background threads share.
pub(crate) struct Core {
    pub(crate) config: Arc<Config>,
    pub(crate) lives: Lives,
    disabled: AtomicU64,
    too_deep: AtomicU64,
}

impl Emitter {
    /// An emitter set up by the environment alone: see [`place`](crate::place) for the variables.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Sets one up.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn of(config: Arc<Config>) -> Self {
        let core =
            Core { config, lives: Lives::new(), disabled: AtomicU64::new(0), too_deep: AtomicU64::new(0) };
        Self { handle: Arc::new(Handle { core: Arc::new(core) }) }
    }

    /// Emits an event, without waiting: it goes to the kernel by one non-blocking send, or stays in memory for
    /// the background thread if the agent is away, the socket full or the event over 32,000 bytes. Microseconds
    /// in either case.
    ///
    /// ```no_run
    /// use revenium_emitter::{Emitter, Event};
    ///
    /// let emitter = Emitter::new();
    /// emitter.emit(Event::completion("claude-sonnet-4").input_tokens(25).output_tokens(15));
    /// ```
    pub fn emit(&self, event: Event) -> Emitted {
        let core = &self.handle.core;
        match core.take(event, None, !core.config.is_buffered) {
            Ok(true) => Emitted::Sent,
            Ok(false) => Emitted::Queued,
            Err(reason) => Emitted::Dropped(reason),
        }
    }

    /// Emits an event and waits until the agent has said that it is durable, for `deadline` at most. Blocks;
    /// not for the callbacks, whose thread would have to answer it.
    ///
    /// After an error, [`DurableError::may_be_durable`] says whether it is still on its way: then it must not
    /// be emitted again.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use revenium_emitter::{DurableError, Emitter, Event};
    ///
    /// # let event = Event::completion("claude-sonnet-4").input_tokens(25).output_tokens(15);
    /// match Emitter::new().emit_durable(event, Duration::from_secs(1)) {
    ///     Ok(()) => println!("durable"),
    ///     Err(DurableError::Refused(why)) => println!("not billable: {why}"),
    ///     Err(error) if error.may_be_durable() => println!("on its way: {error}"),
    ///     Err(error) => println!("lost: {error}"),
    /// }
    /// ```
    pub fn emit_durable(&self, event: Event, deadline: Duration) -> Result<(), DurableError> {
        let waiter = Arc::new(Waiter::default());
        self.handle.core.take(event, Some(Arc::clone(&waiter)), true).map_err(DurableError::Dropped)?;
        waiter.wait(deadline)
    }

    /// [`emit_durable`](Self::emit_durable) without blocking, on any runtime: the background thread wakes the
    /// task. The event is emitted by this call. Cancel-safe: dropping the future only stops waiting, and the
    /// event goes on as after [`DurableError::TimedOut`]; a deadline is the runtime's to set.
    #[cfg(feature = "async")]
    pub fn emit_durable_async(&self, event: Event) -> crate::Durable {
        let waiter = Arc::new(Waiter::default());
        let taken = self.handle.core.take(event, Some(Arc::clone(&waiter)), true);
        crate::Durable::new(taken.map(|_| waiter).map_err(DurableError::Dropped))
    }

    /// Waits until everything emitted so far is durable with the agent, or spooled, or refused; for `deadline`
    /// at most. What the agent has not answered for by half of it is spooled. Blocks.
    ///
    /// ```
    /// use std::time::Duration;
    /// use revenium_emitter::Emitter;
    ///
    /// let report = Emitter::new().flush(Duration::from_secs(1));
    /// assert!(report.is_complete(), "{} events are still in memory", report.in_memory);
    /// ```
    pub fn flush(&self, deadline: Duration) -> FlushReport {
        let nothing = FlushReport { in_memory: 0, spooled: 0, durable: 0, refused: 0 };
        self.handle.core.lives.begun().map_or(nothing, |life| flush(life, deadline))
    }

    /// Counts of this process so far.
    pub fn stats(&self) -> Stats {
        let core = &self.handle.core;
        let mut stats = core.lives.begun().map_or(Stats::ZERO, |life| life.lock().stats());
        stats.in_memory_bytes_max = core.config.bounds.bytes_max as u64;
        for (reason, counter) in
            [(LossReason::Disabled, &core.disabled), (LossReason::ForkDepth, &core.too_deep)]
        {
            let events = counter.load(Ordering::Relaxed);
            stats.emitted += events;
            stats.lose(reason, events);
        }
        stats
    }

    /// What stands between this process and the agent, if something does since it last answered. Its text is
    /// one line for a person.
    pub fn last_error(&self) -> Option<Trouble> {
        self.handle.core.lives.begun().and_then(|life| life.lock().trouble.clone())
    }
}

impl Default for Emitter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Core {
    /// Takes an event. Returns whether the kernel has it.
    fn take(
        self: &Arc<Self>,
        event: Event,
        waiter: Option<Arc<Waiter>>,
        is_direct: bool,
    ) -> Result<bool, LossReason> {
        if self.config.is_disabled {
            self.disabled.fetch_add(1, Ordering::Relaxed);
            return Err(LossReason::Disabled);
        }
        let Some((at, life)) = self.lives.own() else {
            self.too_deep.fetch_add(1, Ordering::Relaxed);
            return Err(LossReason::ForkDepth);
        };
        let bytes = event.finish(self.config.odd_profile.as_deref());
        let mut state = life.lock();
        let admitted = state.admit(bytes, waiter, &self.config.bounds);
        let is_sent = admitted.is_ok() && is_direct && state.send_newest();
        let is_startable = match state.thread {
            Thread::Running => false,
            Thread::None => true,
            Thread::Failed { again_at } => Instant::now() >= again_at,
        };
        let wakes = state.wants_wake(is_sent, &self.config.bounds);
        if is_startable {
            state.thread = Thread::Running;
        }
        drop(state);
        if is_startable {
            self.start(at, life);
        } else if wakes {
            life.wake();
        }
        admitted.map(|()| is_sent)
    }

    /// Starts the background thread of a life; whoever holds `Thread::Running` for it calls this.
    fn start(self: &Arc<Self>, at: usize, life: &Life) {
        let carrier = Carrier::new(Arc::clone(self), at);
        let started = life.waker().is_ok()
            && thread::Builder::new()
                .name("revenium-emitter".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || carrier.run())
                .is_ok();
        if !started {
            life.lock().thread = Thread::Failed { again_at: Instant::now() + START_AGAIN_AFTER };
        }
    }
}

fn flush(life: &Life, deadline: Duration) -> FlushReport {
    // A deadline beyond what the clock can hold is a day.
    let began = Instant::now();
    let deadline = deadline.min(Duration::from_secs(24 * 3600));
    let until = began + deadline;
    let mut state = life.lock();
    let (upto, before) = (state.last_n(), state.stats());
    state.flushers += 1;
    let spool_by = began + deadline / 2;
    state.spool_by = Some(state.spool_by.map_or(spool_by, |by| by.min(spool_by)));
    life.wake();
    while state.in_memory_upto(upto) > 0 {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || state.thread != Thread::Running {
            break;
        }
        let waited = life.progress.wait_timeout(state, left);
        state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
    }
    state.flushers -= 1;
    if state.flushers == 0 {
        state.spool_by = None;
    }
    let after = state.stats();
    FlushReport {
        in_memory: state.in_memory_upto(upto) as u64,
        spooled: after.spooled - before.spooled,
        durable: after.durable - before.durable,
        refused: after.refused() - before.refused(),
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A child that emitted nothing has nothing to close, and its parent's is not its own.
        let Some(life) = self.core.lives.begun() else { return };
        let close_within = self.core.config.close_within.min(Duration::from_secs(24 * 3600));
        let until = Instant::now() + close_within;
        let mut state = life.lock();
        if state.thread != Thread::Running {
            for line in state.abandon() {
                line.tell(Err(DurableError::Dropped(LossReason::Closed)));
            }
            return;
        }
        state.close_by = Some(until);
        life.wake();
        while state.thread == Thread::Running {
            let left = (until + CLOSE_SLACK).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = life.progress.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}
