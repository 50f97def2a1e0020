//! From calls that have ended to events, beside the answers.
//!
//! A call's event is made and emitted right after its answer: by its connection after the turn that it ends in
//! (see [`super::turn`]), else by one loop. It is made here and not by the agent, because what a call cost is settled
//! by whoever saw it: an agent of any release takes a plain event, and a resend has the same bytes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use revenium_anthropic::{Call, Ended, Route, freeze};
use revenium_emitter::{Emitted, Emitter, Event};
use revenium_event::{Identity, Minted};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::warn;
use uuid::Uuid;

use super::exchange::Exchange;
use super::fetched::{self, Fetched, Piece};
use super::seen::Seen;
use super::settings::Settings;
use super::watch::Watch;
use super::{CameTo, Counter};
use crate::intake::{Bucket, unix_ms};
use crate::tasks::Group;

/// Ended calls that may wait for their event: far more than can end at once, about a kilobyte each.
const WAITING_MAX: usize = 4096;

/// Answers that are read on at a time.
const RESTS_MAX: usize = 256;

/// Lines a second in our log about calls that are not metered, or not passed on, and how many at once.
pub(super) const WARNINGS_PER_SECOND: u32 = 1;
pub(super) const WARNINGS_BURST: u32 = 5;

/// What a connection hands over.
pub(super) enum Finished {
    /// A call that has ended.
    Call(Box<Exchange>, Ended),
    /// An answer that its client gave up.
    Rest(Rest),
}

/// The rest of an answer.
pub(super) struct Rest {
    pub(super) body: Incoming,
    pub(super) watch: Watch,
}

/// Takes calls that have ended.
pub(super) struct Meter {
    finished: Sender<Finished>,
    pieces: Sender<Piece>,
    books: Arc<Books>,
    reads_on: bool,
}

/// Makes their events.
pub(super) struct Follower {
    finished: Receiver<Finished>,
    fetched: Fetched,
    books: Arc<Books>,
    read_on_time_max: Duration,
    read_on_bytes_max: u64,
}

/// Where events go, and what is counted and said of them.
pub(super) struct Books {
    pub(super) emitter: Emitter,
    pub(super) counter: Arc<dyn Counter>,
    warnings: Mutex<Bucket>,
}

/// A meter, and the loop that has to run beside it.
pub(super) fn new(
    settings: &Settings,
    emitter: Emitter,
    counter: Arc<dyn Counter>,
    seen: Seen,
) -> (Arc<Meter>, Follower) {
    let (sender, finished) = channel(WAITING_MAX);
    let books = Arc::new(Books::new(emitter, counter));
    let (read_on_time_max, read_on_bytes_max) =
        (settings.limits.read_on_time_max, settings.limits.read_on_bytes_max);
    let reads_on = !read_on_time_max.is_zero() && read_on_bytes_max > 0;
    let (pieces, fetched) = fetched::new(books.clone(), seen);
    let follower = Follower { finished, fetched, books: books.clone(), read_on_time_max, read_on_bytes_max };
    (Arc::new(Meter { finished: sender, pieces, books, reads_on }), follower)
}

impl Meter {
    /// Meters a call here and now.
    pub(super) fn call(&self, exchange: Exchange, how: Ended) {
        self.books.call(exchange, how);
    }

    /// Hands over to the loop.
    pub(super) fn finish(&self, finished: Finished) {
        match self.finished.try_send(finished) {
            Ok(()) => {}
            // The loop is behind, or gone at the end of the process: this call's own task does it.
            Err(TrySendError::Full(finished) | TrySendError::Closed(finished)) => self.books.take(finished),
        }
    }

    /// Results of a batch have passed. Their download is to go on once the receiver has an end.
    pub(super) fn fetched(&self, results: Vec<Call>) -> Option<oneshot::Receiver<()>> {
        let count = results.len();
        let (piece, metered) = Piece::new(results);
        if self.pieces.try_send(piece).is_ok() {
            return Some(metered);
        }
        let why = "too many downloads of results at once; it is metered when it is fetched again";
        (0..count).for_each(|_| self.lost(why));
        None
    }

    /// Whether answers are read on that their clients gave up.
    pub(super) fn reads_on(&self) -> bool {
        self.reads_on
    }

    /// A call is another layer's.
    pub(super) fn left(&self) {
        self.books.counter.came_to(CameTo::Left);
    }

    /// A request is no call.
    pub(super) fn passed(&self) {
        self.books.counter.came_to(CameTo::Passed);
    }

    /// A call is not metered, and it should have been.
    pub(super) fn lost(&self, why: &str) {
        self.books.lost(why);
    }
}

impl Follower {
    /// Meters until nobody can finish a call any more.
    pub(super) async fn follow(self) {
        let Self { mut finished, fetched, books, read_on_time_max, read_on_bytes_max } = self;
        let calls = async {
            let mut rests = Group::new("gateway's reading on", RESTS_MAX);
            while let Some(finished) = finished.recv().await {
                match finished {
                    Finished::Rest(rest) if rests.len() < RESTS_MAX => {
                        rests.spawn(read_on(rest, read_on_time_max, read_on_bytes_max));
                        // Forgets those that have ended; there is room.
                        rests.room().await;
                    }
                    finished => books.take(finished),
                }
            }
            rests.finish().await;
        };
        tokio::join!(calls, fetched.follow());
    }
}

/// Reads the rest of an answer, to know what it cost.
async fn read_on(rest: Rest, time_max: Duration, bytes_max: u64) {
    let Rest { mut body, mut watch } = rest;
    let reading = async {
        let mut left = bytes_max;
        loop {
            match body.frame().await {
                None => return watch.end(Ended::Complete),
                Some(Err(_)) => return watch.end(Ended::Cut),
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(&[][..], |bytes| bytes);
                    watch.saw(bytes);
                    match left.checked_sub(bytes.len() as u64) {
                        Some(rest) => left = rest,
                        None => return,
                    }
                }
            }
        }
    };
    // Out of time or room, what was seen is billed: dropping the watch says so.
    let _ = timeout(time_max, reading).await;
}

impl Books {
    pub(super) fn new(emitter: Emitter, counter: Arc<dyn Counter>) -> Self {
        let warnings = Mutex::new(Bucket::new(WARNINGS_PER_SECOND, WARNINGS_BURST, Instant::now()));
        Self { emitter, counter, warnings }
    }

    fn take(&self, finished: Finished) {
        match finished {
            Finished::Call(exchange, ended) => self.call(*exchange, ended),
            // There are too many to read this one on.
            Finished::Rest(mut rest) => rest.watch.end(Ended::Cancelled),
        }
    }

    fn call(&self, exchange: Exchange, ended: Ended) {
        let route = exchange.route;
        let came_whole = ended == Ended::Complete;
        let call = exchange.into_call(ended);
        if came_whole && call.response.ended == Ended::Cut {
            self.warn("the answer of a call could not be read; what was read of it is billed as partial");
        }
        // What was refused for want of a model cost nothing, and whose record it would be nobody says.
        let is_nameless = call.request.model.is_none() && call.response.model.is_none();
        let is_refused = is_nameless && matches!(call.response.ended, Ended::Error(_));
        if call.response.usage.is_none() && (route == Route::Other || is_refused) {
            return self.counter.came_to(CameTo::Passed);
        }
        self.emit(&call);
    }

    fn emit(&self, call: &Call) {
        match events_of(call).and_then(|events| self.hand_over(events)) {
            Ok(()) => self.counter.came_to(CameTo::Metered),
            Err(why) => self.lost(&why),
        }
    }

    /// Gives the events of one call to the emitter, or says why it has not all of them.
    pub(super) fn hand_over(&self, events: Vec<Event>) -> Result<(), String> {
        for event in events {
            if let Emitted::Dropped(reason) = self.emitter.emit(event) {
                return Err(reason.to_string());
            }
        }
        Ok(())
    }

    pub(super) fn lost(&self, why: &str) {
        self.counter.came_to(CameTo::Lost);
        self.warn(&format!("a call was not metered: {why}"));
    }

    pub(super) fn warn(&self, what: &str) {
        if self.warnings.lock().unwrap_or_else(PoisonError::into_inner).try_take(Instant::now()) {
            warn!("{what}");
        }
    }
}

/// The events of a call, frozen; or why it has none.
pub(super) fn events_of(call: &Call) -> Result<Vec<Event>, String> {
    let minted = Minted { now_ms: unix_ms(), random: Uuid::new_v4().into_bytes() };
    let events =
        freeze(call.to_line().as_bytes(), &Identity::Body, &minted).map_err(|refusal| refusal.message)?;
    events.iter().map(|event| Event::from_json(&event.body).map_err(|error| error.to_string())).collect()
}

#[cfg(test)]
mod tests;
