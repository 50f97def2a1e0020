//! What each path answers to a GET. Pure but for reading the board.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Response, StatusCode};

use super::{Board, page};
use crate::metrics::{self, GatewayMetrics, Metrics};

/// Which door a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `[admin].listen`: whoever can reach it.
    Admin,
    /// The control socket: only the agent's own user and root.
    Control,
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// Answers one request. Only GET and HEAD do anything; bodies are not read.
pub(super) fn answer(
    door: Door,
    method: &Method,
    path: &str,
    board: &Board,
    metrics: &Metrics,
    now_ms: u64,
) -> Response<Full<Bytes>> {
    if let Some(refusal) = refuse_method(method) {
        return refusal;
    }
    match (door, path) {
        (_, "/metrics") => {
            metrics.set_stalled(board.stalled().is_some());
            note_drain(board, metrics);
            let text = metrics.render(board.queue_stats().as_ref(), now_ms);
            response(StatusCode::OK, metrics::CONTENT_TYPE, text)
        }
        (_, "/healthz") => report(board.stalled().as_slice()),
        (_, "/readyz") => report(&board.waiting_for()),
        (_, "/") => response(StatusCode::OK, HTML, page::render(&board.status(now_ms))),
        (Door::Control, "/status") => match serde_json::to_string(&board.status(now_ms)) {
            Ok(json) => response(StatusCode::OK, JSON, json),
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        _ => response(StatusCode::NOT_FOUND, TEXT, "here are /, /metrics, /healthz and /readyz\n".to_owned()),
    }
}

/// What a gateway in a process of its own answers. It is well and ready as long as it answers.
pub(super) fn of_gateway(method: &Method, path: &str, metrics: &GatewayMetrics) -> Response<Full<Bytes>> {
    match (refuse_method(method), path) {
        (Some(refusal), _) => refusal,
        (None, "/metrics") => response(StatusCode::OK, metrics::CONTENT_TYPE, metrics.render()),
        (None, "/healthz" | "/readyz") => report(&[]),
        _ => response(StatusCode::NOT_FOUND, TEXT, "here are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

fn refuse_method(method: &Method) -> Option<Response<Full<Bytes>>> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut response =
        response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is answered here\n".to_owned());
    response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
    Some(response)
}

/// For a client that calls us by a name which is not ours.
pub(super) fn misled() -> Response<Full<Bytes>> {
    let text = "this is not the host's name here: call it localhost or by its address\n";
    response(StatusCode::MISDIRECTED_REQUEST, TEXT, text.to_owned())
}

/// The drain's gauges, as they are now.
fn note_drain(board: &Board, metrics: &Metrics) {
    let Some(view) = board.drain_view() else { return };
    for pace in &view.pace {
        metrics.set_pace(&pace.account, pace.requests_per_second.unwrap_or(0.0), pace.in_flight);
    }
    let pauses: Vec<_> =
        view.pauses.iter().map(|pause| (pause.profile.as_str(), pause.route, pause.reason)).collect();
    metrics.set_pauses(&pauses);
}

/// 200 if there is nothing to object, else 503 with the objections.
fn report(objections: &[String]) -> Response<Full<Bytes>> {
    if objections.is_empty() {
        return response(StatusCode::OK, TEXT, "ok\n".to_owned());
    }
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, objections.join("\n") + "\n")
}

pub(super) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // No scripts, no images, no frames: whatever might get past the escaping stays text.
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    }
    response
}
