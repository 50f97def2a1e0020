//! Takes records out of the queue and gets them to their upstreams, each settled by itself.
//!
//! Per account one loop: a rolling window of requests in flight, filled within the account's
//! pace (`pace`) from its lanes in turn, leaving out what is paused (`pauses`). Every answer is
//! classified by `upstream` and settled at once:
//!
//! | outcome | the record | besides |
//! |---|---|---|
//! | `Delivered` | leaves the queue | |
//! | `Retry` | waits, with the same bytes and key, without limit of age | the pace slows, waits, or probes |
//! | `Refused` | becomes a dead letter | a run of them slows the account down |
//! | `Blocked` | waits | after three records the route, or the profile, pauses |
//!
//! A record that fails alone while others of its lane pass becomes a dead letter in the end
//! (`suspects`). Nothing else ends a record, and nothing here changes its bytes.
//!
//! Bounds: requests in flight, [`IN_FLIGHT_MAX`] an account by default; claimed records, a few
//! hundred a lane and fewer when they are large. The drain keeps no record that the queue does not
//! have: dropped at any moment it loses nothing, and what was on its way is sent again.

mod account;
mod backoff;
mod clock;
mod lane;
mod pace;
mod pauses;
mod profile;
mod random;
mod reason;
mod status;
mod suspects;
mod work;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use self::account::{Account, Shared};
use self::clock::Clock;
pub use self::pace::{IN_FLIGHT_MAX, Pacing};
pub use self::profile::{Profile, by_account};
use self::random::Random;
pub use self::reason::Reason;
pub use self::status::{AccountStatus, Observer, PauseStatus, PauseWhy, Settled, Status, Trouble};
use crate::queue::Queue;
use crate::upstream::Transport;

/// How to drain.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The pace of every account.
    pub pacing: Pacing,
    /// Requests in flight, for each account; 0 for [`IN_FLIGHT_MAX`].
    pub in_flight_max: usize,
    /// Longest wait between two tries of a record, unless the upstream asks for a longer one.
    pub backoff_max: Duration,
    /// How long requests in flight may take to end once the drain is told to stop.
    pub stop_deadline: Duration,
    /// The route that stands for its profile: if it is blocked, the whole profile pauses.
    pub main_route: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pacing: Pacing::Adaptive,
            in_flight_max: 0,
            backoff_max: Duration::from_secs(60),
            stop_deadline: Duration::from_secs(10),
            main_route: 0,
        }
    }
}

/// What a drain did from start to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records delivered.
    pub delivered: u64,
    /// Records that became dead letters.
    pub dead: u64,
    /// Answers after which a record waits for another try.
    pub postponed: u64,
    /// Requests that were still on their way at the deadline; their records are sent again.
    pub abandoned: u64,
}

impl Summary {
    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.dead += other.dead;
        self.postponed += other.postponed;
        self.abandoned += other.abandoned;
    }
}

/// Why a drain ended without being told to. Every record is still in the queue.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// A bug: the loop of an account, or one of its requests, panicked.
    #[error("the drain panicked")]
    Panicked(#[source] JoinError),
}

/// The drain of all accounts. [`Drain::run`] is to be spawned once.
pub struct Drain<Q, T, O> {
    accounts: Vec<Account<Q, T, O>>,
    queue: Arc<Q>,
    status: Status,
}

impl<Q: Queue, T: Transport, O: Observer> Drain<Q, T, O> {
    /// A drain of `queue` for `profiles`, grouped by their accounts. Lanes of other profiles are
    /// left alone.
    pub fn new(
        settings: Settings,
        profiles: Vec<Profile>,
        queue: Arc<Q>,
        transport: Arc<T>,
        observer: Arc<O>,
    ) -> Self {
        Self::with_clock(
            settings,
            profiles,
            queue,
            transport,
            observer,
            Clock::System,
            &mut Random::from_entropy(),
        )
    }

    fn with_clock(
        settings: Settings,
        profiles: Vec<Profile>,
        queue: Arc<Q>,
        transport: Arc<T>,
        observer: Arc<O>,
        clock: Clock,
        random: &mut Random,
    ) -> Self {
        let grouped: BTreeMap<Arc<str>, Vec<Profile>> = by_account(profiles);
        let named = |(account, profiles): (&Arc<str>, &Vec<Profile>)| AccountStatus {
            account: account.to_string(),
            profiles: profiles.iter().map(|profile| profile.name.to_string()).collect(),
            ..AccountStatus::default()
        };
        let status = Status::new(grouped.iter().map(named).collect());
        let shared = Arc::new(Shared {
            settings,
            queue: queue.clone(),
            transport,
            observer,
            status: status.clone(),
            clock,
        });
        let accounts = grouped.into_iter().enumerate();
        let accounts = accounts
            .map(|(index, (name, profiles))| Account::new(&shared, index, name, profiles, random))
            .collect();
        Self { accounts, queue, status }
    }

    /// Reads the drain's state while it runs and after.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Drains until `stop` is ready; then claims nothing more, lets requests in flight end until
    /// the deadline, gives back the rest and returns.
    ///
    /// Dropping the future ends all requests at once; nothing is lost by it.
    ///
    /// The accounts' loops and their requests are tasks of sets owned here and joined here: one
    /// request's work must not wait for another's.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<Summary, DrainError> {
        let (stop_sender, stop_receiver) = watch::channel(false);
        let (hint_sender, hint_receiver) = watch::channel(());
        let mut loops = JoinSet::new();
        for account in self.accounts {
            loops.spawn(account.run(hint_receiver.clone(), stop_receiver.clone()));
        }
        let mut summary = Summary::default();
        let mut is_stopping = false;
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop, if !is_stopping => {
                    is_stopping = true;
                    stop_sender.send_replace(true);
                }
                // One listener for all accounts: a queue's hint may wake only one.
                () = self.queue.changed(), if !is_stopping => hint_sender.send_replace(()),
                ended = loops.join_next(), if is_stopping || !loops.is_empty() => match ended {
                    None => return Ok(summary),
                    Some(Ok(ended)) => summary.add(ended?),
                    Some(Err(error)) => return Err(DrainError::Panicked(error)),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests;
