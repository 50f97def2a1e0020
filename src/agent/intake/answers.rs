//! Answers on their way out of a connection: many are written with one call.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// Up to this size the memory of sent answers is kept for the next ones.
const BYTES_KEPT: usize = 64 * 1024;

/// Answers that wait to be written.
#[derive(Debug)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    sent: usize,
    /// Nobody reads them any more; what is said is dropped.
    is_deaf: bool,
    /// When the oldest waiting byte began to wait, or the last one was written.
    progress_at: Instant,
}

impl Answers {
    pub(super) fn new(now: Instant) -> Self {
        Self { bytes: Vec::new(), sent: 0, is_deaf: false, progress_at: now }
    }

    /// Where to write answers.
    pub(super) fn out(&mut self, now: Instant) -> &mut Vec<u8> {
        if self.is_empty() {
            self.progress_at = now;
        }
        &mut self.bytes
    }

    /// Bytes that wait.
    pub(super) fn bytes_waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes_waiting() == 0
    }

    /// Since when the reader has taken nothing, if something waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.progress_at)
    }

    /// Drops what waits and whatever is said from now on.
    pub(super) fn give_up(&mut self) {
        self.is_deaf = true;
        self.clear();
    }

    /// Writes what the socket takes.
    pub(super) fn send(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        now: Instant,
    ) {
        if self.is_deaf {
            return self.clear();
        }
        while !self.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.sent..]) {
                Poll::Pending => return,
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.sent += count;
                    self.progress_at = now;
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // The sender is gone. What it has sent is read to the end all the same.
                Poll::Ready(_) => return self.give_up(),
            }
        }
        self.clear();
    }

    /// Gives memory back.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
            self.sent = 0;
        }
    }

    fn clear(&mut self) {
        self.sent = 0;
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
    }
}
