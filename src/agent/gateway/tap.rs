//! Bodies on their way, each frame looked at as it passes.
//!
//! A frame is passed on as it came, before the next is asked for; of what is looked at, nothing but the few
//! members that matter is kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use revenium_anthropic::{Asked, Ended};
use tokio::sync::oneshot;

use super::watch::Watch;
use crate::web::Busy;

/// A request's body, on its way to the provider.
pub(super) struct Upload {
    body: Incoming,
    /// What is looked for in it, if it is metered.
    asked: Option<Arc<Mutex<Asked>>>,
}

impl Upload {
    pub(super) fn new(body: Incoming, asked: Option<Arc<Mutex<Asked>>>) -> Self {
        Self { body, asked }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let (Some(Ok(frame)), Some(asked)) = (&frame, &self.asked)
            && let Some(bytes) = frame.data_ref()
        {
            asked.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, on its way to the client.
pub(super) enum Download {
    /// Our own words.
    Own(Option<Bytes>),
    /// The provider's.
    Passed(Box<Passed>),
}

/// A body of the provider's. Dropped before its end, it ends the provider's answer, too.
pub(super) struct Passed {
    /// Until it is dropped.
    body: Option<Incoming>,
    watch: Option<Watch>,
    /// Has an end once what passed last is metered, where that is waited for.
    metered: Option<oneshot::Receiver<()>>,
    /// How it broke off. Passed on a turn later, as the connection is dropped then with what it has not written yet.
    broken: Option<hyper::Error>,
    _busy: Busy,
}

impl Download {
    pub(super) fn passed(body: Incoming, watch: Option<Watch>, busy: Busy) -> Self {
        Self::Passed(Box::new(Passed { body: Some(body), watch, metered: None, broken: None, _busy: busy }))
    }
}

impl Passed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(metered) = &mut self.metered {
            // An end by itself is an end, too.
            let _ = ready!(Pin::new(metered).poll(cx));
            self.metered = None;
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Err(error)) => {
                if let Some(watch) = &mut self.watch {
                    watch.end(Ended::Cut);
                }
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            frame => frame,
        };
        let Some(watch) = &mut self.watch else { return Poll::Ready(frame) };
        match &frame {
            Some(Ok(frame)) => {
                match frame.data_ref() {
                    Some(bytes) => self.metered = watch.saw(bytes),
                    // Trailers: nothing comes after them, and nobody asks.
                    None => watch.end(Ended::Complete),
                }
            }
            _ => watch.end(Ended::Complete),
        }
        Poll::Ready(frame)
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        let (Some(body), Some(mut watch)) = (self.body.take(), self.watch.take()) else { return };
        // A body of a known length is not asked for its end once all of it was there.
        if body.is_end_stream() { watch.end(Ended::Complete) } else { watch.given_up(body) }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(passed) => passed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Passed(passed) => passed.body.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Passed(passed) => passed.body.as_ref().map_or_else(SizeHint::default, Body::size_hint),
        }
    }
}
