//! One connection: requests after each other, or beside each other, until its client, an eviction or a stop ends it.
//!
//! HTTP/1.1, or HTTP/2 for a client that begins with it (prior knowledge: without TLS there is nothing to choose it
//! by). A client that goes away while it is answered, or resets its stream, ends the provider's answer as well.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Version, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tracing::debug;

use super::handler::Desk;
use super::settings::Limits;
use super::turn::Turns;
use crate::tasks::Stop;
use crate::web::{Place, until_ended};

/// Serves one connection to its end.
pub(super) async fn serve(desk: Arc<Desk>, stream: TcpStream, place: Place, stop: Stop) {
    // Pieces of an answer are small and waited for. Without it they come later, not wrong.
    let _ = stream.set_nodelay(true);
    let limits = desk.settings().limits.clone();
    let place = Arc::new(place);
    let (of_requests, stopping) = (place.clone(), stop.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (desk, busy, stopping) = (desk.clone(), of_requests.busy(), stopping.clone());
        async move {
            let is_of_connection = request.version() < Version::HTTP_2;
            let mut answer = desk.answer(request, busy).await;
            if stopping.is_requested() && is_of_connection {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let server = server(&limits);
    let connection = Turns::new(server.serve_connection(TokioIo::new(stream), service));
    let linger = limits.stop_linger;
    let ended = until_ended(connection, &place, stop, linger, |connection| {
        connection.get_mut().connection().graceful_shutdown();
    });
    if let Some(Err(error)) = ended.await {
        debug!(%error, "a connection broke off");
    }
}

fn server(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time_max)
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        .preserve_header_case(true)
        .auto_date_header(false);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams_max)
        .auto_date_header(false);
    server
}
