//! What happens to a call, told as it happens. It ends once: as it is told, or by whatever it is dropped by.

use std::sync::{Arc, Mutex};

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use revenium_anthropic::{Asked, Ended, Route};
use tokio::sync::oneshot;

use super::exchange::Exchange;
use super::meter::{Finished, Meter, Rest};
use super::turn;

/// Tells the meter of one exchange.
pub(super) struct Watch {
    exchange: Option<Box<Exchange>>,
    meter: Arc<Meter>,
}

impl Watch {
    pub(super) fn new(exchange: Exchange, meter: Arc<Meter>) -> Self {
        Self { exchange: Some(Box::new(exchange)), meter }
    }

    /// Where to put the request's body.
    pub(super) fn asked(&self) -> Option<Arc<Mutex<Asked>>> {
        self.exchange.as_ref().map(|exchange| exchange.asked())
    }

    /// The provider answers.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        if let Some(exchange) = &mut self.exchange {
            exchange.answered(status, headers);
        }
    }

    /// These bytes of the answer are passed on. The next are to be asked for once the receiver has an end.
    pub(super) fn saw(&mut self, bytes: &[u8]) -> Option<oneshot::Receiver<()>> {
        let exchange = self.exchange.as_mut()?;
        exchange.saw(bytes);
        if exchange.route == Route::BatchResults { self.results(false) } else { None }
    }

    /// The call is over. Only the first end counts.
    pub(super) fn end(&mut self, ended: Ended) {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.route == Route::BatchResults) {
            self.results(ended == Ended::Complete);
            self.exchange = None;
        }
        if let Some(exchange) = self.exchange.take() {
            turn::ended(exchange, ended, &self.meter);
        }
    }

    /// The client gave the answer up: its rest is read without it if that is asked for, else the call ends.
    pub(super) fn given_up(mut self, rest: Incoming) {
        let is_message = self.exchange.as_ref().is_some_and(|exchange| exchange.route != Route::BatchResults);
        if is_message && self.meter.reads_on() {
            let meter = self.meter.clone();
            meter.finish(Finished::Rest(Rest { body: rest, watch: self }));
        } else {
            // Before the body goes, and the provider's answer with it.
            self.end(Ended::Cancelled);
        }
    }

    /// The call never left.
    pub(super) fn unsent(mut self) {
        self.exchange = None;
        self.meter.passed();
    }

    /// The answer is in a form that is not read here.
    pub(super) fn unread(mut self) {
        self.exchange = None;
        self.meter.lost(
            "its answer is a binary stream of AWS's, which is not read: the gateway is not for Bedrock",
        );
    }

    /// Somebody else meters the call.
    pub(super) fn leave(mut self) {
        self.exchange = None;
        self.meter.left();
    }

    fn results(&mut self, is_at_end: bool) -> Option<oneshot::Receiver<()>> {
        let exchange = self.exchange.as_mut()?;
        let (outcomes, odd) = exchange.outcomes(is_at_end);
        (0..odd).for_each(|_| self.meter.lost("a line of a batch's results could not be read"));
        let results: Vec<_> = outcomes
            .into_iter()
            .filter_map(|outcome| {
                // What failed within a batch cost nothing, and names no model.
                let response = outcome.response.filter(|response| response.ended == Ended::Complete)?;
                Some(exchange.call_of(outcome.custom_id, response))
            })
            .collect();
        if results.is_empty() { None } else { self.meter.fetched(results) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The client went away before there was an answer.
        self.end(Ended::Cancelled);
    }
}
