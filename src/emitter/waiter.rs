//! Somebody who waits to hear what becomes of one event: a blocked thread, or a task.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "async")]
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::outcome::DurableError;

/// Told once; later words are ignored.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    heard: Mutex<Heard>,
    told: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    outcome: Option<Result<(), DurableError>>,
    #[cfg(feature = "async")]
    waker: Option<Waker>,
}

impl Waiter {
    pub(crate) fn tell(&self, outcome: Result<(), DurableError>) {
        let mut heard = self.lock();
        heard.outcome.get_or_insert(outcome);
        #[cfg(feature = "async")]
        let waker = heard.waker.take();
        drop(heard);
        self.told.notify_all();
        #[cfg(feature = "async")]
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the word, until `deadline` after now.
    pub(crate) fn wait(&self, deadline: Duration) -> Result<(), DurableError> {
        let until = Instant::now().checked_add(deadline);
        let mut heard = self.lock();
        loop {
            if let Some(outcome) = heard.outcome.take() {
                return outcome;
            }
            // A deadline beyond what the clock can hold is none.
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(DurableError::TimedOut(deadline));
            }
            heard = self.told.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    #[cfg(feature = "async")]
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Result<(), DurableError>> {
        let mut heard = self.lock();
        match heard.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                heard.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
