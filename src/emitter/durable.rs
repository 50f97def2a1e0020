//! Waiting for durable in a task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::outcome::DurableError;
use crate::waiter::Waiter;

/// What becomes of one event: [`Emitter::emit_durable_async`](crate::Emitter::emit_durable_async).
///
/// Cancel-safe: dropping it only stops waiting. Once it was ready it stays pending.
#[must_use = "the event is emitted; what becomes of it is said to whoever awaits this"]
pub struct Durable {
    /// Who is told, or what is known already.
    waiter: Arc<Waiter>,
}

impl Durable {
    pub(crate) fn new(emitted: Result<Arc<Waiter>, DurableError>) -> Self {
        let waiter = emitted.unwrap_or_else(|error| {
            let told = Waiter::default();
            told.tell(Err(error));
            Arc::new(told)
        });
        Self { waiter }
    }
}

impl Future for Durable {
    type Output = Result<(), DurableError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.waiter.poll(cx.waker())
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Durable")
    }
}
