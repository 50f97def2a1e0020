//! One connection: requests after each other, until its client, an eviction or a stop ends it.
//!
//! A client that goes away ends nothing that it has sent: hyper is told to allow a half-closed
//! connection, and so reads nothing of it, not even its end, while a request is being answered. What was
//! received whole is stored, and the answer meets nobody.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tracing::debug;

use super::handler::Desk;
use crate::queue::Queue;
use crate::tasks::Stop;
use crate::web::{Place, until_ended};

/// Serves one connection to its end.
pub(super) async fn serve<Q: Queue>(desk: Arc<Desk<Q>>, stream: TcpStream, place: Place, stop: Stop) {
    // Answers are small and each is waited for. Without it they come later, not wrong.
    let _ = stream.set_nodelay(true);
    let limits = desk.settings().limits.clone();
    let stopping = stop.clone();
    let lines = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (desk, is_busy, stopping, lines) = (&desk, place.busy(), &stopping, &lines);
        async move {
            let (mut answer, begun) = desk.answer(request).await;
            if begun.is_some() {
                *lines.lock().unwrap_or_else(PoisonError::into_inner) = begun;
                return Ok(answer);
            }
            if stopping.is_requested() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            drop(is_busy);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time_max)
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let linger = limits.stop_linger;
    let ended = until_ended(connection, &place, stop, linger, |connection| connection.graceful_shutdown());
    if let Some(Err(error)) = ended.await {
        debug!(%error, "a connection broke off");
    }
    let lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(lines) = lines {
        let _is_busy = place.busy();
        lines.serve(desk.guests(), stopping).await;
    }
}
