//! What one account's loop has under way: requests, claims, and watches for a changed key.
//!
//! Each is a task of one set that the loop owns and joins, so that a slow answer, a slow disk and
//! the loop do not wait for each other. Bounded by the pace (requests) and by two claims a lane.

use std::sync::Arc;

use revenium_store::{End, Record, Seq};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::queue::{Queue, ReadError};
use crate::upstream::{ApiKey, Reply, SendError, Transport};

/// Something that ended.
#[derive(Debug)]
pub(super) enum Event {
    /// A request; boxed, since it is far larger than the rest.
    Answered(Box<Answered>),
    Claimed(Claim, Result<Vec<Record>, ReadError>),
    /// The profile at this place may have another key.
    KeyChanged(usize),
}

/// A request that ended.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) record: Record,
    pub(super) sent: Sent,
    pub(super) answer: Result<Reply, SendError>,
}

/// How a request went out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// The lane's place in the account.
    pub(super) lane: usize,
    pub(super) at: Instant,
    pub(super) at_ms: u64,
    pub(super) is_probe: bool,
    pub(super) key_number: u32,
}

/// A claim that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// The lane's place in the account.
    pub(super) lane: usize,
    pub(super) end: End,
    pub(super) records_max: usize,
    pub(super) is_probe: bool,
}

#[derive(Debug, Default)]
pub(super) struct Work {
    tasks: JoinSet<Event>,
    claims: usize,
}

impl Work {
    pub(super) fn send<T: Transport>(&mut self, transport: &Arc<T>, record: Record, sent: Sent, key: ApiKey) {
        let transport = transport.clone();
        self.tasks.spawn(async move {
            let answer = transport.send(&record, &key).await;
            Event::Answered(Box::new(Answered { record, sent, answer }))
        });
    }

    pub(super) fn claim<Q: Queue>(
        &mut self,
        queue: &Arc<Q>,
        lane: revenium_store::Lane,
        claim: Claim,
        now_ms: u64,
    ) {
        let queue = queue.clone();
        self.claims += 1;
        self.tasks.spawn(async move {
            let claimed = queue.claim(&lane, claim.end, claim.records_max, now_ms).await;
            Event::Claimed(claim, claimed)
        });
    }

    pub(super) fn watch_key<K: Send + Sync + 'static>(
        &mut self,
        profile: usize,
        mut key: watch::Receiver<K>,
    ) {
        self.tasks.spawn(async move {
            if key.changed().await.is_err() {
                // Nobody can change it any more.
                std::future::pending::<()>().await;
            }
            Event::KeyChanged(profile)
        });
    }

    pub(super) fn has_claims(&self) -> bool {
        self.claims > 0
    }

    /// The next thing to end; `None` if nothing is under way. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<Event, JoinError>> {
        let ended = self.tasks.join_next().await;
        self.note(ended)
    }

    /// The next thing that has ended already.
    pub(super) fn try_next(&mut self) -> Option<Result<Event, JoinError>> {
        let ended = self.tasks.try_join_next();
        self.note(ended)
    }

    /// Gives up what is under way. What has ended all the same still comes out of [`Work::next`].
    pub(super) fn abandon(&mut self) {
        self.tasks.abort_all();
    }

    fn note(&mut self, ended: Option<Result<Event, JoinError>>) -> Option<Result<Event, JoinError>> {
        if let Some(Ok(Event::Claimed(..))) = &ended {
            self.claims -= 1;
        }
        ended
    }
}

/// A request on its way, as far as its record has to be settled if no answer comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) seq: Seq,
    pub(super) attempts: u32,
    pub(super) first_attempt_at_ms: u64,
}

impl Flight {
    pub(super) fn of(record: &Record, sent_at_ms: u64) -> Self {
        let first = record.first_attempt_at_ms;
        Self {
            seq: record.seq,
            attempts: record.attempts.saturating_add(1),
            first_attempt_at_ms: if first == 0 { sent_at_ms } else { first },
        }
    }
}
