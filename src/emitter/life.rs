//! One process's share of an emitter, and finding one's own after a fork.
//!
//! A child inherits all memory, locks included, and of the threads only the one that forked. So a child
//! must not touch a lock of its parent's, and must not send what is its parent's to send. Each process
//! has a life of its own, with lock, events, numbers, connection and thread; the pid says which, and it is
//! read before any lock is. Claiming a life takes atomics only, so a fork cannot catch it half done.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::event::EventfdFlags;

use crate::state::State;

/// Processes in a row, each forked from the one before and each with events of its own.
pub(crate) const LIVES_MAX: usize = 16;

/// What one process has of an emitter.
#[derive(Debug)]
pub(crate) struct Life {
    /// 0: nobody's yet. Never changes again.
    pid: AtomicI32,
    state: Mutex<State>,
    /// Told when events settled while somebody flushes, and when the thread has ended.
    pub(crate) progress: Condvar,
    /// Wakes the background thread.
    wake: OnceLock<OwnedFd>,
}

impl Life {
    const fn new() -> Self {
        Self {
            pid: AtomicI32::new(0),
            state: Mutex::new(State::new()),
            progress: Condvar::new(),
            wake: OnceLock::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held left counts at worst; the events matter more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What wakes the background thread, made at the first call.
    pub(crate) fn waker(&self) -> rustix::io::Result<&OwnedFd> {
        if let Some(wake) = self.wake.get() {
            return Ok(wake);
        }
        let new = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(self.wake.get_or_init(|| new))
    }

    /// Wakes the background thread, if there is one.
    pub(crate) fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            // It fails if it was woken 2^64 times and never looked: then it is awake.
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }

    /// Forgets what woke us.
    pub(crate) fn clear_wake(&self) {
        if let Some(wake) = self.wake.get() {
            let _ = rustix::io::read(wake, &mut [0; 8]);
        }
    }
}

/// All lives of an emitter: this process's, and those of the processes that it was forked from.
#[derive(Debug)]
pub(crate) struct Lives {
    all: [Life; LIVES_MAX],
    /// The latest claimed one, or one before it.
    latest: AtomicUsize,
}

impl Lives {
    /// Lives of which this process has the first.
    pub(crate) fn new() -> Self {
        let lives = Self { all: [const { Life::new() }; LIVES_MAX], latest: AtomicUsize::new(0) };
        lives.all[0].pid.store(own_pid(), Ordering::Release);
        lives
    }

    /// This process's life, and which one it is; `None` if there is none left. Takes no lock.
    pub(crate) fn own(&self) -> Option<(usize, &Life)> {
        let pid = own_pid();
        let mut at = self.latest.load(Ordering::Acquire);
        loop {
            let life = self.all.get(at)?;
            match life.pid.load(Ordering::Acquire) {
                found if found == pid && !self.is_followed(at) => return Some((at, life)),
                // If it fails, another thread of this process was faster.
                0 => {
                    let claimed = life.pid.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Acquire);
                    if claimed.is_ok() {
                        self.latest.fetch_max(at, Ordering::AcqRel);
                        return Some((at, life));
                    }
                }
                // An ancestor's.
                _ => at += 1,
            }
        }
    }

    /// This process's life, if it has begun one. Takes no lock.
    pub(crate) fn begun(&self) -> Option<&Life> {
        let pid = own_pid();
        self.all.iter().rfind(|life| life.pid.load(Ordering::Acquire) == pid)
    }

    pub(crate) fn life(&self, at: usize) -> &Life {
        &self.all[at]
    }

    /// Whether a later life was claimed: then this one was of an ancestor with a pid that came again.
    fn is_followed(&self, at: usize) -> bool {
        self.all.get(at + 1).is_some_and(|next| next.pid.load(Ordering::Relaxed) != 0)
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_life_and_its_child_the_next() {
        let lives = Lives::new();
        let (at, _) = lives.own().unwrap();
        assert_eq!((at, lives.own().unwrap().0), (0, 0));
        // As in a child: the life that was claimed is of another process.
        lives.all[0].pid.store(1, Ordering::Release);
        assert!(lives.begun().is_none());
        assert_eq!(lives.own().unwrap().0, 1);
        assert_eq!(lives.own().unwrap().0, 1);
        assert!(lives.begun().is_some());
        for at in 1..LIVES_MAX {
            lives.all[at].pid.store(1, Ordering::Release);
        }
        assert!(lives.own().is_none(), "no lives are left");
    }

    #[test]
    fn all_threads_of_a_process_claim_the_same_life() {
        let lives = Lives::new();
        lives.all[0].pid.store(1, Ordering::Release);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(lives.own().unwrap().0, 1));
            }
        });
    }
}
