//! The Unix socket's lines for who cannot reach it: a connection of the relay that becomes one of the socket's.
//!
//! `GET /lines` with `Upgrade: revenium-lines`, behind a token as any request, is answered 101. What follows is the
//! protocol of the socket, with its answers and bounds. Nothing of it is understood here: bytes are carried to the
//! socket and back. The socket sees the agent's own user, so that a key is neither asked for nor taken this way.
//!
//! As on the socket, what a client has sent is taken, also if it vanishes; and a stop answers what was read, then
//! ends the connection.

use std::future::pending;
use std::path::Path;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy, sink, split};
use tokio::net::UnixStream;
use tracing::debug;

use super::answer::{Answer, Problem};

/// Where it is asked for.
pub(super) const ROUTE: &str = "/lines";

/// What the connection becomes.
const PROTOCOL: HeaderValue = HeaderValue::from_static("revenium-lines");

/// A connection that is about to be one of the socket's.
pub(super) struct Lines {
    client: OnUpgrade,
    socket: UnixStream,
}

impl Lines {
    /// Takes a request's connection over, if that is what it asks for and the socket has room.
    pub(super) async fn begin(request: &mut Request<Incoming>, socket: &Path) -> Result<Self, Problem> {
        if request.method() != Method::GET || request.headers().get(UPGRADE) != Some(&PROTOCOL) {
            let message = "ask for the socket's lines with GET and `Upgrade: revenium-lines`";
            return Err(Problem::new(426, "not_taken", message));
        }
        let socket = UnixStream::connect(socket).await.map_err(|error| {
            debug!(%error, "cannot reach the socket of this agent");
            Problem::stopping()
        })?;
        Ok(Self { client: hyper::upgrade::on(request), socket })
    }

    /// The answer to a request that began it.
    pub(super) fn answer() -> Answer {
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        answer.headers_mut().insert(UPGRADE, PROTOCOL);
        answer
    }

    /// Carries lines and answers until the socket has answered all and closes.
    pub(super) async fn serve(self) {
        let Ok(client) = self.client.await else { return };
        let (mut sent, mut told) = split(TokioIo::new(client));
        let (mut answers, mut lines) = self.socket.into_split();
        let sending = async {
            // However it ends, what came is answered before the socket closes.
            let _ = copy(&mut sent, &mut lines).await;
            let _ = lines.shutdown().await;
            pending::<()>().await;
        };
        let telling = async {
            if copy(&mut answers, &mut told).await.is_err() {
                // The client is gone. What it had sent is still being taken.
                let _ = copy(&mut answers, &mut sink()).await;
            }
            let _ = told.shutdown().await;
        };
        tokio::select! {
            () = sending => {}
            () = telling => {}
        }
    }
}
