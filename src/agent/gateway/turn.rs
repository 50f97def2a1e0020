//! One turn of a connection: calls that end in it are metered after it, when the last bytes of their answers are the
//! transport's.
//!
//! Not within it, since an answer is forwarded first; and not by another task, since to wake one takes longer than to
//! meter a call, and than to pass a small answer on.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use revenium_anthropic::Ended;

use super::exchange::Exchange;
use super::meter::{Finished, Meter};

tokio::task_local! {
    /// A handful: hyper goes on with the next request of a connection some sixteen times before it lets others have a turn.
    static ENDED: RefCell<Vec<Kept>>;
}

/// A call that has ended; left to the loop by whatever it is dropped by.
struct Kept {
    call: Option<(Box<Exchange>, Ended)>,
    meter: Arc<Meter>,
}

impl Kept {
    /// Meters it here and now. A bug in that costs the call, and not the answers of its connection.
    fn meter(mut self) {
        let Some((exchange, how)) = self.call.take() else { return };
        if catch_unwind(AssertUnwindSafe(|| self.meter.call(*exchange, how))).is_err() {
            self.meter.lost("a bug of ours, which the log has");
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((exchange, how)) = self.call.take() {
            self.meter.finish(Finished::Call(exchange, how));
        }
    }
}

/// A connection, whose calls are metered after the turn that they end in.
pub(super) struct Turns<C> {
    connection: Pin<Box<C>>,
}

impl<C> Turns<C> {
    pub(super) fn new(connection: C) -> Self {
        Self { connection: Box::pin(connection) }
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
        ended.into_iter().for_each(Kept::meter);
        polled
    }
}

/// Keeps a call for the end of this turn, or leaves it to the loop where there is none: a stream of HTTP/2 has a task of
/// its own, and what is dropped with its connection has no more turns.
pub(super) fn ended(exchange: Box<Exchange>, how: Ended, meter: &Arc<Meter>) {
    let mut kept = Some(Kept { call: Some((exchange, how)), meter: meter.clone() });
    // An error says that there is none; then it is dropped here.
    let _ = ENDED.try_with(|ended| ended.borrow_mut().extend(kept.take()));
}

#[cfg(test)]
mod tests;
