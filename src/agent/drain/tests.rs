//! The drain between a queue in memory and a scripted upstream, on a stopped clock.
//!
//! `flow`: what an answer does to its record. `way`: keys, pauses, waits, outages. `share`: lanes,
//! accounts, ends, and stopping. `turned`: a wall clock that is set. `hang`: a loop that is held. `week`: a long outage.

mod flow;
mod hang;
mod memory;
mod script;
mod share;
mod turned;
mod way;
mod week;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::memory::MemoryQueue;
use self::script::{Said, Script};
use super::clock::{Clock, Now};
use super::*;
use crate::upstream::ApiKey;

/// Midnight of some day, so that wall clock readings are told from waits.
const START_MS: u64 = 1_800_000_000_000;

/// A queue, an upstream, and drains that come and go between them.
struct Stage {
    queue: Arc<MemoryQueue>,
    upstream: Arc<Script>,
    settings: Settings,
    profiles: Vec<Profile>,
    keys: Vec<watch::Sender<Option<ApiKey>>>,
    clock: Clock,
    /// How far the wall clock is set ahead, in milliseconds.
    ahead_ms: &'static AtomicI64,
    random: Random,
}

fn key(text: &str) -> Option<ApiKey> {
    Some(ApiKey::new(text).expect("a key"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Stage {
    /// One profile `p` on account `a`, with the key `right`, as fast as it goes.
    fn new(upstream: Script) -> Self {
        let ahead_ms: &'static AtomicI64 = Box::leak(Box::default());
        let clock = Clock::From(Now { at: Instant::now(), wall_ms: START_MS }, ahead_ms);
        let mut stage = Self {
            queue: Arc::new(MemoryQueue::new(clock)),
            upstream: Arc::new(upstream),
            settings: Settings { pacing: Pacing::Unlimited, ..Settings::default() },
            profiles: Vec::new(),
            keys: Vec::new(),
            clock,
            ahead_ms,
            random: Random::seeded(42),
        };
        stage.profile("p", "a", key("right"));
        stage
    }

    fn profile(&mut self, name: &str, account: &str, key: Option<ApiKey>) {
        let (sender, key) = watch::channel(key);
        self.keys.push(sender);
        self.profiles.push(Profile {
            name: name.into(),
            account: account.into(),
            upstream: "https://upstream".to_owned(),
            key,
        });
    }

    fn drain(&mut self) -> Drain<MemoryQueue, Script, Script> {
        Drain::with_clock(
            self.settings.clone(),
            self.profiles.clone(),
            self.queue.clone(),
            self.upstream.clone(),
            self.upstream.clone(),
            self.clock,
            &mut self.random,
        )
    }

    /// A drain from start to stop, with `seconds` of virtual time in between.
    async fn drain_for(&mut self, seconds: u64) -> Summary {
        self.queue.reopen();
        let drain = self.drain();
        drain.run(sleep(Duration::from_secs(seconds))).await.expect("no panic")
    }

    /// The same beside `meanwhile`, which ends before.
    async fn drain_while(&mut self, seconds: u64, meanwhile: impl Future<Output = ()>) -> Summary {
        self.queue.reopen();
        let drain = self.drain();
        let (ended, ()) = tokio::join!(drain.run(sleep(Duration::from_secs(seconds))), meanwhile);
        ended.expect("no panic")
    }
}
