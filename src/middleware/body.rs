//! Bodies on their way, each piece looked at as it passes.
//!
//! A piece is passed on as it came, before the next is asked for. A body keeps its length, if it has one, and an answer
//! its URL, its fields and its extensions.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::{Body, Request, Response, ResponseBuilderExt};
use revenium_anthropic::{Asked, Ended};

use crate::watch::Watch;

type Piece = Poll<Option<Result<Frame<Bytes>, reqwest::Error>>>;

/// Looks at a request's body: now, if it is there, else as it is sent.
pub(crate) fn listen(request: &mut Request, asked: &Arc<Mutex<Asked>>) {
    let Some(body) = request.body_mut() else { return };
    match body.as_bytes() {
        Some(bytes) => asked.lock().unwrap_or_else(PoisonError::into_inner).push(bytes),
        None => *body = Body::wrap(Upload { body: std::mem::take(body), asked: asked.clone() }),
    }
}

/// The answer, whose body tells `watch` what passes.
pub(crate) fn tapped(answer: Response, watch: Watch) -> Response {
    let url = answer.url().clone();
    let (mut head, body) = http::Response::<Body>::from(answer).into_parts();
    // An answer that is made of parts gets its URL by an extension that only this builder can make.
    if let Ok(with_url) = http::Response::builder().url(url).body(()) {
        head.extensions.extend(with_url.into_parts().0.extensions);
    }
    http::Response::from_parts(head, Body::wrap(Download { body, watch })).into()
}

/// A request's body that is a stream.
struct Upload {
    body: Body,
    asked: Arc<Mutex<Asked>>,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Piece {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
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

/// An answer's body.
struct Download {
    body: Body,
    watch: Watch,
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Piece {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(bytes) => self.watch.saw(bytes),
                // Trailers: nothing comes after them, and nobody asks.
                None => self.watch.end(Ended::Complete),
            },
            // The application's own deadline has passed.
            Some(Err(error)) if error.is_timeout() => self.watch.end(Ended::Cancelled),
            Some(Err(_)) => self.watch.end(Ended::Cut),
            None => self.watch.end(Ended::Complete),
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

impl Drop for Download {
    fn drop(&mut self) {
        // A body of a known length is not asked for its end once all of it was there.
        if self.body.is_end_stream() {
            self.watch.end(Ended::Complete);
        }
    }
}
