//! One connection: requests after each other, until its client, an eviction or a stop ends it.
//!
//! A client that goes away while it is answered ends the provider's answer as well.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tracing::debug;

use super::handler::Desk;
use crate::tasks::Stop;
use crate::web::{Place, until_ended};

/// Serves one connection to its end.
pub(super) async fn serve(desk: Arc<Desk>, stream: TcpStream, place: Place, stop: Stop) {
    // Pieces of an answer are small and waited for. Without it they come later, not wrong.
    let _ = stream.set_nodelay(true);
    let limits = desk.settings().limits.clone();
    let stopping = stop.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (desk, busy, stopping) = (&desk, place.busy(), &stopping);
        async move {
            let mut answer = desk.answer(request, busy).await;
            if stopping.is_requested() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time_max)
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        .preserve_header_case(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let linger = limits.stop_linger;
    let ended = until_ended(connection, &place, stop, linger, |connection| connection.graceful_shutdown());
    if let Some(Err(error)) = ended.await {
        debug!(%error, "a connection broke off");
    }
}
