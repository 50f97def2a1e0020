//! A value that threads wait for: all that the store's threads wait for goes through here.
//!
//! Built with `--cfg shuttle`, the waiting is the scheduler's of a test (`schedule_tests`), which tries the orders that
//! threads may take turns in.

use std::sync::PoisonError;
use std::time::Duration;

#[cfg(shuttle)]
use shuttle::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(shuttle))]
use std::sync::{Condvar, Mutex, MutexGuard};

/// A value that threads wait for.
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// The value. A holder that panicked does not matter, as in `shared::lock`.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value and wakes whoever waits for it.
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let result = f(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `ready` or until `at_most` has passed; gives the value either way.
    pub(crate) fn wait(&self, at_most: Duration, mut ready: impl FnMut(&mut T) -> bool) -> MutexGuard<'_, T> {
        let waited = self.changed.wait_timeout_while(self.lock(), at_most, |v| !ready(v));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
