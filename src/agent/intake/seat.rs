//! How many may be connected, and how much each user may send.
//!
//! A [`Seat`] is held for as long as a connection lives and is given back when it is dropped.
//! The pace of lines and of kept refusals is per user, not per connection, so that reconnecting
//! or connecting often buys nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::settings::Limits;

/// Users remembered after their last connection closed; beyond it they are forgotten.
const USERS_MAX: usize = 1024;

/// All seats of one socket.
#[derive(Debug)]
pub(super) struct Seats {
    limits: Limits,
    taken: AtomicUsize,
    users: Mutex<HashMap<u32, Arc<User>>>,
}

/// What all connections of one user share.
#[derive(Debug)]
struct User {
    connections: AtomicUsize,
    lines: Option<Mutex<Bucket>>,
    refusals: Mutex<Bucket>,
    /// Lines in our log about this user's refused events.
    warnings: Mutex<Bucket>,
    uid: u32,
}

/// Lines a second in our log about one user's refused events, and how many at once: the sender is
/// told of each, and so is the metric; the log only has to say that there are some.
const WARNINGS_PER_SECOND: u32 = 1;
const WARNINGS_BURST: u32 = 5;

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    user: Arc<User>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// All of this many are taken.
    InAll(usize),
    /// This user has this many.
    OfUser(usize),
}

impl fmt::Display for NoSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InAll(max) => write!(f, "all {max} connections are taken (socket.connections_max)"),
            Self::OfUser(max) => {
                write!(f, "your user has {max} connections (socket.connections_per_uid_max)")
            }
        }
    }
}

impl Seats {
    /// Seats within `limits`, none taken.
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { limits: limits.clone(), taken: AtomicUsize::new(0), users: Mutex::default() })
    }

    /// A seat for a connection of `uid`.
    pub(super) fn take(self: &Arc<Self>, uid: u32, now: Instant) -> Result<Seat, NoSeat> {
        // Held to the end, so that no two take the last one.
        let mut users = held(&self.users);
        if self.taken.load(Ordering::Relaxed) >= self.limits.connections_max {
            return Err(NoSeat::InAll(self.limits.connections_max));
        }
        if users.len() >= USERS_MAX {
            users.retain(|_, user| user.connections.load(Ordering::Relaxed) > 0);
        }
        let user = users.entry(uid).or_insert_with(|| Arc::new(User::new(uid, &self.limits, now)));
        let of_user_max = self.limits.connections_per_uid_max;
        if of_user_max > 0 && user.connections.load(Ordering::Relaxed) >= of_user_max {
            return Err(NoSeat::OfUser(of_user_max));
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        user.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Seat { seats: Arc::clone(self), user: Arc::clone(user) })
    }
}

impl User {
    fn new(uid: u32, limits: &Limits, now: Instant) -> Self {
        let pace = limits.lines_per_second_per_uid_max;
        Self {
            connections: AtomicUsize::new(0),
            // One second's worth may come at once.
            lines: (pace > 0).then(|| Mutex::new(Bucket::new(pace, pace, now))),
            refusals: Mutex::new(Bucket::new(
                limits.kept_refusals_per_second_per_uid_max,
                limits.kept_refusals_burst_per_uid,
                now,
            )),
            warnings: Mutex::new(Bucket::new(WARNINGS_PER_SECOND, WARNINGS_BURST, now)),
            uid,
        }
    }
}

impl Seat {
    /// Counts `lines` against the user's pace; returns how long not to read on.
    pub(super) fn lines(&self, lines: u32, now: Instant) -> Duration {
        match &self.user.lines {
            Some(bucket) => held(bucket).take(lines, now),
            None => Duration::ZERO,
        }
    }

    /// Whether one more refused event of this user may be kept as a dead letter.
    pub(super) fn may_keep_refusal(&self, now: Instant) -> bool {
        held(&self.user.refusals).try_take(now)
    }

    /// Whether our log may have one more line about a refused event of this user.
    pub(super) fn may_warn(&self, now: Instant) -> bool {
        held(&self.user.warnings).try_take(now)
    }

    /// Whose seat it is.
    pub(super) fn uid(&self) -> u32 {
        self.user.uid
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.fetch_sub(1, Ordering::Relaxed);
        self.user.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A poisoned lock guards counters that are valid after every statement.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(in_all: usize, of_user: usize) -> Arc<Seats> {
        Seats::new(&Limits {
            connections_max: in_all,
            connections_per_uid_max: of_user,
            lines_per_second_per_uid_max: 10,
            kept_refusals_burst_per_uid: 1,
            ..Limits::default()
        })
    }

    #[test]
    fn seats_are_bounded_in_all_and_per_user_and_come_back() {
        let seats = seats(3, 2);
        let now = Instant::now();
        let first = seats.take(1, now).unwrap();
        let _second = seats.take(1, now).unwrap();
        assert_eq!(seats.take(1, now).unwrap_err(), NoSeat::OfUser(2));
        let _third = seats.take(2, now).unwrap();
        assert_eq!(seats.take(2, now).unwrap_err(), NoSeat::InAll(3));
        drop(first);
        assert!(seats.take(1, now).is_ok());
    }

    #[test]
    fn without_a_bound_of_its_own_a_user_may_take_all_seats() {
        let seats = seats(3, 0);
        let taken: Vec<_> = (0..3).map(|_| seats.take(1, Instant::now()).unwrap()).collect();
        assert_eq!(seats.take(1, Instant::now()).unwrap_err(), NoSeat::InAll(3));
        drop(taken);
    }

    #[test]
    fn a_pace_is_shared_by_a_users_connections_and_outlives_them() {
        let seats = seats(9, 9);
        let now = Instant::now();
        let first = seats.take(1, now).unwrap();
        assert_eq!(first.lines(10, now), Duration::ZERO);
        assert!(first.may_keep_refusal(now));
        drop(first);
        let second = seats.take(1, now).unwrap();
        assert_eq!(second.lines(5, now), Duration::from_millis(500));
        assert!(!second.may_keep_refusal(now));
        let other = seats.take(2, now).unwrap();
        assert_eq!(other.lines(5, now), Duration::ZERO);
        assert!(other.may_keep_refusal(now));
        let said = (0..100).filter(|_| other.may_warn(now)).count();
        assert_eq!((said, other.uid()), (WARNINGS_BURST as usize, 2));
    }
}
