//! A connection that can be made to misbehave from within a request.
//!
//! hyper answers correctly; a test wants answers that stop in the middle, come byte by byte, or
//! don't come. [`Wire`] stands between hyper and the socket and does to the next answer what its
//! [`Tap`] was told. While nothing was told it costs one relaxed load per write.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// What happens to what is written from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Plain,
    /// This many bytes more, then a reset.
    CutAfter(usize),
    /// The head and this many bytes of the body, then a reset.
    CutInBody(usize),
    /// One byte at a time, this far apart.
    Trickle(Duration),
    /// Nothing more; closing is a reset.
    Reset,
}

/// The end that a request holds.
#[derive(Clone, Debug)]
pub(super) struct Tap(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_armed: AtomicBool,
    plan: Mutex<Plan>,
}

impl Tap {
    fn new() -> Self {
        Self(Arc::new(Shared { is_armed: AtomicBool::new(false), plan: Mutex::new(Plan::Plain) }))
    }

    /// Ends what an earlier request of the connection asked for.
    pub(super) fn plain(&self) {
        if self.0.is_armed.load(Ordering::Relaxed) {
            self.arm(Plan::Plain);
        }
    }

    /// Closing the connection becomes a reset; nothing more is written.
    pub(super) fn reset(&self) {
        self.arm(Plan::Reset);
    }

    /// Resets after `bytes` of the answer.
    pub(super) fn cut_after(&self, bytes: usize) {
        self.arm(Plan::CutAfter(bytes));
    }

    /// Resets after the answer's head and `bytes` of its body.
    pub(super) fn cut_in_body(&self, bytes: usize) {
        self.arm(Plan::CutInBody(bytes));
    }

    /// Lets the answer through one byte at a time.
    pub(super) fn trickle(&self, every: Duration) {
        self.arm(Plan::Trickle(every));
    }

    fn arm(&self, plan: Plan) {
        *self.plan() = plan;
        self.0.is_armed.store(plan != Plan::Plain, Ordering::Relaxed);
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that hyper holds.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    tap: Tap,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> (Self, Tap) {
        let tap = Tap::new();
        (Self { stream, tap: tap.clone(), pause: None }, tap)
    }

    fn is_armed(&self) -> bool {
        self.tap.0.is_armed.load(Ordering::Relaxed)
    }

    /// Writes what the plan lets through of `bytes`.
    fn poll_write_armed(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let plan = *self.tap.plan();
        let (most, next) = match plan {
            Plan::Plain => (bytes.len(), Plan::Plain),
            Plan::Reset | Plan::CutAfter(0) => {
                self.tap.reset();
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            Plan::CutAfter(left) => (left.min(bytes.len()), Plan::CutAfter(left)),
            Plan::CutInBody(of_body) => match bytes.windows(4).position(|part| part == b"\r\n\r\n") {
                Some(at) => (bytes.len().min(at + 4 + of_body), Plan::CutAfter(at + 4 + of_body)),
                None => (bytes.len(), plan),
            },
            Plan::Trickle(every) => (1.min(bytes.len()), Plan::Trickle(every)),
        };
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..most]))?;
        match next {
            Plan::CutAfter(left) => self.tap.cut_after(left - written),
            Plan::Trickle(every) => self.pause = Some(Box::pin(tokio::time::sleep(every))),
            _ => {}
        }
        Poll::Ready(Ok(written))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if *self.tap.plan() == Plan::Reset {
            // Closing with a linger of zero is what sends the reset. Should it fail, an ordinary
            // close does: the answer is lost just the same.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_armed() {
            return self.poll_write_armed(cx, bytes);
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_armed() {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.poll_write_armed(cx, first);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if *self.tap.plan() == Plan::Reset {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
