//! From calls that have ended to events, beside the answers.
//!
//! A connection hands a call over and goes on; its event is made and emitted right after, by one loop. The events
//! are made here and not by the agent, because what a call cost is settled by whoever saw it: an agent of any
//! release takes a plain event, and a resend has the same bytes.

use std::sync::{Arc, Mutex, PoisonError};

use revenium_anthropic::{Ended, Route, freeze};
use revenium_emitter::{Emitted, Emitter, Event};
use revenium_event::{Identity, Minted};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio::time::Instant;
use tracing::{debug, warn};
use uuid::Uuid;

use super::exchange::Exchange;
use crate::intake::{Bucket, unix_ms};

/// Ended calls that may wait for their event: far more than can end at once, a few hundred bytes each.
const WAITING_MAX: usize = 4096;

/// Lines a second in our log about calls that are not metered, and how many at once.
const WARNINGS_PER_SECOND: u32 = 1;
const WARNINGS_BURST: u32 = 5;

type Finished = (Box<Exchange>, Ended);

/// Takes calls that have ended.
pub(super) struct Meter {
    finished: Sender<Finished>,
    desk: Arc<Books>,
}

/// Makes their events.
pub(super) struct Follower {
    finished: Receiver<Finished>,
    desk: Arc<Books>,
}

struct Books {
    emitter: Emitter,
    warnings: Mutex<Bucket>,
}

/// A meter, and the loop that has to run beside it.
pub(super) fn new(emitter: Emitter) -> (Arc<Meter>, Follower) {
    let (sender, finished) = channel(WAITING_MAX);
    let warnings = Mutex::new(Bucket::new(WARNINGS_PER_SECOND, WARNINGS_BURST, Instant::now()));
    let desk = Arc::new(Books { emitter, warnings });
    (Arc::new(Meter { finished: sender, desk: desk.clone() }), Follower { finished, desk })
}

impl Meter {
    /// A call has ended. Returns at once.
    pub(super) fn finish(&self, exchange: Box<Exchange>, ended: Ended) {
        match self.finished.try_send((exchange, ended)) {
            Ok(()) => {}
            // The loop is behind, or gone at the end of the process: this call's own task does it.
            Err(TrySendError::Full((exchange, ended)) | TrySendError::Closed((exchange, ended))) => {
                self.desk.meter(*exchange, ended);
            }
        }
    }
}

impl Follower {
    /// Meters until nobody can finish a call any more.
    pub(super) async fn follow(mut self) {
        while let Some((exchange, ended)) = self.finished.recv().await {
            self.desk.meter(*exchange, ended);
        }
    }
}

impl Books {
    fn meter(&self, exchange: Exchange, ended: Ended) {
        let route = exchange.route;
        let call = exchange.into_call(ended);
        if route == Route::Other && call.response.usage.is_none() {
            return debug!("a call of a route that states no usage is not metered");
        }
        let minted = Minted { now_ms: unix_ms(), random: Uuid::new_v4().into_bytes() };
        let events = match freeze(call.to_line().as_bytes(), &Identity::Body, &minted) {
            Ok(events) => events,
            Err(refusal) => return self.lost(&refusal.message),
        };
        for event in events {
            match Event::from_json(&event.body).map(|event| self.emitter.emit(event)) {
                Ok(Emitted::Dropped(reason)) => self.lost(&reason.to_string()),
                Ok(_) => {}
                Err(error) => self.lost(&error.to_string()),
            }
        }
    }

    /// A call is not metered, and it should have been.
    fn lost(&self, why: &str) {
        if self.warnings.lock().unwrap_or_else(PoisonError::into_inner).try_take(Instant::now()) {
            warn!(why, "a call was not metered");
        }
    }
}
