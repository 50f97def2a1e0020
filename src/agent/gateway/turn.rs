//! One turn of a connection: calls that end in it are metered after it, when their answers are on their way.
//!
//! Not within it, since an answer is forwarded first; and not by another task, since to wake one takes longer than to
//! meter a call, and than to pass a small answer on.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use revenium_anthropic::Ended;

use super::exchange::Exchange;
use super::meter::Meter;

tokio::task_local! {
    static ENDED: RefCell<Vec<(Box<Exchange>, Ended)>>;
}

/// A connection, whose calls are metered after the turn that they end in.
pub(super) struct Turns<C> {
    connection: Pin<Box<C>>,
    meter: Arc<Meter>,
}

impl<C> Turns<C> {
    pub(super) fn new(connection: C, meter: Arc<Meter>) -> Self {
        Self { connection: Box::pin(connection), meter }
    }

    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<C: Future> Future for Turns<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let (polled, ended) = ENDED.sync_scope(RefCell::default(), || {
            let polled = self.connection.as_mut().poll(cx);
            (polled, ENDED.with(RefCell::take))
        });
        for (exchange, how) in ended {
            self.meter.call(*exchange, how);
        }
        polled
    }
}

/// Keeps a call for the end of this turn. Gives it back where there is none: a stream of HTTP/2 has a task of its own,
/// and what is dropped with its connection has no more turns.
pub(super) fn keep(exchange: Box<Exchange>, how: Ended) -> Result<(), (Box<Exchange>, Ended)> {
    let mut call = Some((exchange, how));
    // An error says that there is none.
    let _ = ENDED.try_with(|ended| ended.borrow_mut().extend(call.take()));
    call.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
