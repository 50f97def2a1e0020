//! Accepts connections on a door and answers one request on each.
//!
//! Bounded everywhere: connections at a time, bytes and time of a request's head, time of the whole
//! exchange. Connections close after one answer, so that stopping never waits for an idle one.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tracing::{debug, warn};

use super::board::now_ms;
use super::{Board, Door, post, route};
use crate::host;
use crate::metrics::{GatewayMetrics, Metrics};
use crate::tasks::{Group, Stop, TaskResult};

/// Most connections at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// Most bytes and headers of a request's head. Browsers send about 1 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// For a request's head, and for the whole exchange.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(20);

/// After a failed accept, such as for want of file descriptors: trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A bound door.
pub enum Listener {
    /// `[admin].listen`.
    Tcp(TcpListener),
    /// The control socket.
    Unix(UnixListener),
}

/// What is shown there.
#[derive(Clone)]
pub enum Shown {
    /// An agent, through this door.
    Agent(Door, Arc<Board>, Metrics),
    /// A gateway in a process of its own.
    Gateway(GatewayMetrics),
}

/// Serves until told to stop, then finishes what was begun.
pub async fn serve(listener: Listener, shown: Shown, mut stop: Stop) -> TaskResult {
    let mut connections = Group::new("admin connection", CONNECTIONS_MAX);
    loop {
        tokio::select! {
            () = stop.requested() => break,
            () = accept(&listener, &shown, &mut connections) => {}
        }
    }
    // Stop accepting before waiting: later connections are refused, not left hanging.
    drop(listener);
    connections.finish().await;
    Ok(())
}

/// Accepts one connection, or pauses after a failure. Cancel-safe: accepting is.
async fn accept(listener: &Listener, shown: &Shown, connections: &mut Group) {
    connections.room().await;
    let shown = shown.clone();
    let failed = match listener {
        Listener::Tcp(listener) => match listener.accept().await {
            Ok((stream, _)) => {
                let is_local = stream.local_addr().is_ok_and(|address| address.ip().is_loopback());
                return connections.spawn(exchange(stream, is_local, shown));
            }
            Err(error) => error,
        },
        Listener::Unix(listener) => match listener.accept().await {
            Ok((stream, _)) => return connections.spawn(exchange(stream, false, shown)),
            Err(error) => error,
        },
    };
    note_failure(&failed);
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

fn note_failure(error: &io::Error) {
    warn!(error = %error, "cannot accept a connection");
}

/// Only the control socket takes more than a GET, and only there a status waits for the index.
async fn answer(request: Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let (door, board, metrics) = match shown {
        Shown::Agent(door, board, metrics) => (*door, board, metrics),
        Shown::Gateway(metrics) => return route::of_gateway(&head.method, path, metrics),
    };
    if door == Door::Control {
        if head.method == Method::POST {
            return post::answer(path, body, board).await;
        }
        if path == "/status"
            && let Some(desk) = board.desk()
        {
            desk.followed().await;
        }
    }
    route::answer(door, &head.method, path, board, metrics, now_ms())
}

/// Whether a browser may have been led here by a page whose own name was made to point to this machine:
/// it says that name. Who has no `Host` is no browser.
fn is_misled(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(HOST);
    host.is_some_and(|host| !host.to_str().is_ok_and(|host| host::is_ours(host, &[])))
}

async fn exchange<S>(stream: S, is_local: bool, shown: Shown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(async |request| {
        let response =
            if is_local && is_misled(&request) { route::misled() } else { answer(request, &shown).await };
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(EXCHANGE_TIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = %error, "admin connection broke off"),
        Err(_) => debug!("admin connection took too long"),
    }
}
