//! Batches between reading and acknowledging, in their order.
//!
//! All of them are in the queue at once; an answer leaves only when every batch before its own
//! has landed, so a sender can match answers by their order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::batch::Receipt;
use crate::queue::{AppendError, Appended};

/// How an append ends.
pub(super) type Landing = Result<Vec<Appended>, AppendError>;

/// An append under way.
pub(super) type Append<'q> = Pin<Box<dyn Future<Output = Landing> + Send + 'q>>;

/// The batches of one connection that are under way.
#[derive(Default)]
pub(super) struct Flights<'q> {
    flights: VecDeque<Flight<'q>>,
    bytes: usize,
}

/// One batch under way.
pub(super) struct Flight<'q> {
    state: State<'q>,
    /// What to answer when it lands.
    pub(super) receipt: Receipt,
    /// Records in it.
    pub(super) records: usize,
    /// When it was handed over.
    pub(super) since: Instant,
    bytes: usize,
}

enum State<'q> {
    Flying(Append<'q>),
    Landed(Landing),
}

impl<'q> Flight<'q> {
    /// A batch that is handed over with `append`; without one there was nothing to append.
    pub(super) fn new(
        append: Option<Append<'q>>,
        receipt: Receipt,
        records: usize,
        bytes: usize,
        now: Instant,
    ) -> Self {
        let state = append.map_or_else(|| State::Landed(Ok(Vec::new())), State::Flying);
        Self { state, receipt, records, since: now, bytes }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if let State::Flying(append) = &mut self.state
            && let Poll::Ready(landing) = append.as_mut().poll(cx)
        {
            self.state = State::Landed(landing);
        }
    }
}

impl<'q> Flights<'q> {
    /// Starts `flight` behind all others.
    pub(super) fn start(&mut self, mut flight: Flight<'q>, cx: &mut Context<'_>) {
        flight.poll(cx);
        self.bytes += flight.bytes;
        self.flights.push_back(flight);
    }

    /// Lets every flight go on; each may need it to make way.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        for flight in &mut self.flights {
            flight.poll(cx);
        }
    }

    /// The first flight, if it has landed.
    pub(super) fn landed(&mut self) -> Option<(Flight<'q>, Landing)> {
        if !matches!(self.flights.front()?.state, State::Landed(_)) {
            return None;
        }
        let mut flight = self.flights.pop_front()?;
        self.bytes -= flight.bytes;
        match std::mem::replace(&mut flight.state, State::Landed(Ok(Vec::new()))) {
            State::Landed(landing) => Some((flight, landing)),
            State::Flying(_) => None,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.flights.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Bytes of bodies and answers in all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
