//! The Unix socket's lines for who cannot reach it: a connection of the relay that becomes one of lines.
//!
//! `GET /lines` with `Upgrade: revenium-lines`, behind a token as any request, is answered 101. What follows is the
//! protocol of the socket with its answers and bounds, for a guest: see `intake::Guests`. What it has sent is taken, also
//! if it vanishes; a stop answers what was read, then ends the connection. A strict relay has none: lines show no key.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::answer::{Answer, Problem};
use crate::intake::{Guests, Seat};
use crate::queue::Queue;
use crate::tasks::Stop;

/// Where they are asked for.
pub(super) const ROUTE: &str = "/lines";

/// What the connection becomes.
const PROTOCOL: HeaderValue = HeaderValue::from_static("revenium-lines");

/// A connection that is about to be one of lines.
pub(super) struct Lines {
    client: OnUpgrade,
    seat: Seat,
}

impl Lines {
    /// Takes a request's connection over, if that is what it asks for and there is a seat.
    pub(super) fn begin<Q: Queue>(
        request: &mut Request<Incoming>,
        guests: &Guests<Q>,
    ) -> Result<Self, Problem> {
        if request.method() != Method::GET || request.headers().get(UPGRADE) != Some(&PROTOCOL) {
            let message = "ask for the socket's lines with GET and `Upgrade: revenium-lines`";
            return Err(Problem::new(426, "not_taken", message));
        }
        let Some(seat) = guests.seat() else {
            return Err(Problem::full(
                "busy",
                "half of relay.connections_max are connections of lines already",
            ));
        };
        Ok(Self { client: hyper::upgrade::on(request), seat })
    }

    /// The answer to a request that began it.
    pub(super) fn answer() -> Answer {
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        answer.headers_mut().insert(UPGRADE, PROTOCOL);
        answer
    }

    /// Serves it to its end.
    pub(super) async fn serve<Q: Queue>(self, guests: &Guests<Q>, stop: Stop) {
        let Ok(client) = self.client.await else { return };
        // It is what this listener accepted.
        let Ok(parts) = client.downcast::<TokioIo<TcpStream>>() else { return };
        guests.serve(parts.io.into_inner(), &parts.read_buf, self.seat, stop).await;
    }
}
