//! What the storm and its producers share: how much may be sent, how much was acknowledged.
//!
//! Every wait has a deadline and ends at once when a producer panicked.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine, shorter than anybody's patience.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

#[derive(Default)]
pub(crate) struct Stage {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    producers: Vec<Share>,
    acknowledged: u64,
    is_finishing: bool,
    is_outliving: bool,
    is_away: bool,
    has_failed: bool,
}

/// One producer's.
#[derive(Debug, Default, Clone)]
struct Share {
    /// Of what all are allowed it gets one in so many, as its events take that much longer.
    one_in: u64,
    /// New events that it may send.
    allowed: u64,
    /// Events that it sent and will send again if no answer comes.
    unsettled: usize,
}

impl Stage {
    /// For producers that get one in so many of what they are allowed.
    pub(crate) fn new(producers: impl IntoIterator<Item = u64>) -> Self {
        let producers = producers.into_iter().map(|one_in| Share { one_in, ..Share::default() }).collect();
        let state = State { producers, ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn producers(&self) -> usize {
        self.lock().producers.len()
    }

    /// Lets each producer send its part of so many more.
    pub(crate) fn allow(&self, more: &[u64]) {
        let mut state = self.lock();
        for (share, more) in state.producers.iter_mut().zip(more) {
            share.allowed += more.div_ceil(share.one_in);
        }
        self.changed.notify_all();
    }

    /// Once all is sent and answered, producers end.
    pub(crate) fn finish(&self) {
        self.lock().is_finishing = true;
        self.changed.notify_all();
    }

    /// Whether the agent of now will end in peace: what the kernel gets from an application is not lost.
    pub(crate) fn set_outliving(&self, is_outliving: bool) {
        self.lock().is_outliving = is_outliving;
    }

    pub(crate) fn is_outliving(&self) -> bool {
        self.lock().is_outliving
    }

    /// Whether there is nobody to send to, and no use in trying.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
        self.changed.notify_all();
    }

    /// Returns once there is somebody to send to, or the storm has failed.
    pub(crate) fn wait_there(&self) {
        let state = self.lock();
        // Without a deadline: it is the storm that has them.
        drop(self.changed.wait_while(state, |state| state.is_away && !state.has_failed));
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    /// Returns once so many events were acknowledged in all, or once nothing more is outstanding.
    pub(crate) fn wait_acknowledged(&self, events: u64) {
        self.wait("acknowledgements", |state| state.acknowledged >= events || state.is_quiet());
    }

    /// Returns once everything that was allowed is sent and settled.
    pub(crate) fn wait_quiet(&self) {
        self.wait("every producer's answers", State::is_quiet);
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().is_quiet()
    }

    fn wait(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        loop {
            assert!(!state.has_failed, "a producer failed, see above");
            if holds(&state) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "in vain for {DEADLINE:?}: {what}; producers: {:?}", state.producers);
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until a producer may send or the storm ends; false if it ends.
    pub(crate) fn has_work(&self, who: usize) -> bool {
        let mut state = self.lock();
        while state.producers[who].allowed == 0 {
            if state.is_finishing {
                return false;
            }
            // Without a deadline: it is the storm that has them.
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Takes up to `at_most` of what a producer may send. It is unsettled from now on, so that it is not quiet
    /// before the producer tells how it stands.
    pub(crate) fn take(&self, who: usize, at_most: u64) -> u64 {
        let share = &mut self.lock().producers[who];
        let taken = share.allowed.min(at_most);
        share.allowed -= taken;
        share.unsettled += usize::try_from(taken).expect("is small");
        taken
    }

    /// A producer tells how it stands.
    pub(crate) fn note(&self, who: usize, acknowledged: u64, unsettled: usize) {
        let mut state = self.lock();
        state.acknowledged += acknowledged;
        state.producers[who].unsettled = unsettled;
        self.changed.notify_all();
    }

    /// Waits a moment for anything to change; for a producer that finds no agent.
    pub(crate) fn pause(&self, at_most: Duration) {
        drop(self.changed.wait_timeout(self.lock(), at_most));
    }

    pub(crate) fn fail(&self) {
        self.lock().has_failed = true;
        self.changed.notify_all();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.lock().has_failed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_quiet(&self) -> bool {
        self.producers.iter().all(|share| share.allowed == 0 && share.unsettled == 0)
    }
}
