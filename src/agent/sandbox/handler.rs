//! HTTP in front of the meter: routes, bodies, faults, and the stand-in's own routes.
//!
//! `/sandbox/ledger`, `/sandbox/faults`, `/sandbox/keys` and `/sandbox/clock` exist here and not
//! at Revenium, for tests that run in another process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Response};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::answer::{Answer, At};
use super::faults::{Act, Drawn, Extra, Faults, Script};
use super::ledger::{Snapshot, Tally};
use super::meter::{Attempt, Begun, Meter};
use super::rules::{self, Route};
use super::wire::Tap;

/// How many late records may wait to be stored; beyond this they are stored at once.
const LATE_MAX: usize = 4_096;

/// How long a trickled answer takes per byte unless told otherwise.
const TRICKLE_MS: u64 = 5;

/// How long a delay or silence lasts unless told otherwise.
const DELAY_MS: u64 = 1_000;

/// There will be no answer: hyper closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
pub(super) struct NoAnswer;

/// What every connection shares.
pub(super) struct Stand {
    pub(super) meter: Meter,
    pub(super) faults: Faults,
    pub(super) latency: Duration,
    pub(super) body_bytes_max: usize,
    pub(super) port: u16,
    /// Records on their way into the ledger whose sender may be gone.
    pub(super) late: Mutex<JoinSet<()>>,
}

impl Stand {
    pub(super) fn snapshot(&self, all: bool) -> Snapshot {
        let mut snapshot = self.meter.ledger.snapshot(all);
        snapshot.injected = self.faults.injected();
        snapshot.per_second_peaks = self.meter.per_second_peaks();
        snapshot.windows_cut = self.meter.windows_cut();
        snapshot
    }

    /// Runs `work` whether or not the present request is given up.
    fn detach(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = late.try_join_next() {
            Tally::add(&self.meter.ledger.tally.panics, u64::from(ended.is_err()));
        }
        if late.len() >= LATE_MAX {
            return false;
        }
        late.spawn(work);
        true
    }
}

/// Answers one request, or doesn't.
pub(super) async fn handle(
    stand: Arc<Stand>,
    tap: Tap,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, NoAnswer> {
    tap.plain();
    let answer = match (rules::route(request.uri().path()), request.method()) {
        (Some(route), &Method::POST) => meter(&stand, &tap, route, request).await?,
        (Some(route), _) => refusal(&stand, 405, route.path, "Method Not Allowed"),
        (None, _) => control(&stand, request).await?,
    };
    stand.meter.ledger.answered(answer.status);
    Ok(answer.into_response())
}

fn refusal(stand: &Stand, status: u16, path: &str, message: &str) -> Answer {
    Answer::error(At { ms: stand.meter.clock().now_ms(), path }, status, None, message)
}

async fn meter(
    stand: &Arc<Stand>,
    tap: &Tap,
    route: &'static Route,
    request: Request<Incoming>,
) -> Result<Answer, NoAnswer> {
    let waits_for_body = stand.faults.looks_into_bodies();
    let early = if waits_for_body { None } else { stand.faults.draw(route.path, None) };
    if early.is_some_and(|drawn| drawn.kind.act == Act::ResetUnread) {
        tap.reset();
        return Err(NoAnswer);
    }
    let (head, body) = request.into_parts();
    let body = match read(body, stand.body_bytes_max).await {
        Ok(body) => body,
        Err(Unread::TooLarge) => return Ok(refusal(stand, 413, route.path, "Payload Too Large")),
        Err(Unread::Gone) => return Err(NoAnswer),
    };
    if stand.meter.is_lean && early.is_none() && !waits_for_body {
        let answer = stand.meter.count(route, &head.headers, body.len());
        return Ok(after_latency(stand, answer).await);
    }
    let attempt = stand.meter.attempt(route, &head.headers, body);
    let drawn =
        if waits_for_body { stand.faults.draw(route.path, attempt.transaction.as_deref()) } else { early };
    if let Err(answer) = stand.meter.note(&attempt, drawn.map(|drawn| drawn.kind.name)) {
        return Ok(answer);
    }
    let Some(drawn) = drawn else {
        let answer = process(stand, &attempt);
        return Ok(after_latency(stand, answer).await);
    };
    act(stand, tap, attempt, drawn).await
}

/// Lets `drawn` happen to `attempt`.
async fn act(stand: &Arc<Stand>, tap: &Tap, attempt: Attempt, drawn: Drawn) -> Result<Answer, NoAnswer> {
    let span = Duration::from_millis(drawn.ms.unwrap_or(DELAY_MS));
    match drawn.kind.act {
        Act::Answer(status, extra) => return Ok(injected(stand, attempt.route.path, status, extra, drawn)),
        Act::ResetUnread => {
            tap.reset();
            return Err(NoAnswer);
        }
        Act::Silence => {
            sleep(span).await;
            tap.reset();
            return Err(NoAnswer);
        }
        Act::StoreLate => return store_late(stand, attempt, span).await,
        _ => {}
    }
    let answer = process(stand, &attempt);
    match drawn.kind.act {
        Act::StoreThenAnswer(status @ 200..300) if answer.is_success() => {
            return Ok(answer.with_status(status));
        }
        Act::StoreThenAnswer(status) if answer.is_success() => {
            return Ok(injected(stand, attempt.route.path, status, Extra::None, drawn));
        }
        Act::StoreThenReset => {
            tap.reset();
            return Err(NoAnswer);
        }
        Act::StoreThenSilence => {
            sleep(span).await;
            tap.reset();
            return Err(NoAnswer);
        }
        Act::AnswerLate => sleep(span).await,
        // "HTTP/1.1 201" is twelve bytes: the status isn't known yet.
        Act::CutHead => tap.cut_after(11),
        Act::CutBody => tap.cut_in_body(10),
        Act::Trickle => tap.trickle(Duration::from_millis(drawn.ms.unwrap_or(TRICKLE_MS))),
        Act::BrokenJson => return Ok(answer.with_half_body()),
        _ => {}
    }
    Ok(after_latency(stand, answer).await)
}

fn process(stand: &Stand, attempt: &Attempt) -> Answer {
    match stand.meter.begin(attempt) {
        Begun::Done(answer) => answer,
        Begun::Running(ticket) => stand.meter.complete(attempt, &ticket),
    }
}

async fn after_latency(stand: &Stand, answer: Answer) -> Answer {
    if !stand.latency.is_zero() {
        sleep(stand.latency).await;
    }
    answer
}

/// The record is stored after `span`, even if its sender has left by then; until then its key is
/// in progress.
async fn store_late(stand: &Arc<Stand>, attempt: Attempt, span: Duration) -> Result<Answer, NoAnswer> {
    let ticket = match stand.meter.begin(&attempt) {
        Begun::Done(answer) => return Ok(answer),
        Begun::Running(ticket) => ticket,
    };
    let (attempt, ticket) = (Arc::new(attempt), Arc::new(ticket));
    let (heard, answer) = oneshot::channel();
    let work = {
        let (stand, attempt, ticket) = (Arc::clone(stand), Arc::clone(&attempt), Arc::clone(&ticket));
        async move {
            sleep(span).await;
            // The receiver is gone when the sender of the request is: nobody to tell.
            let _ = heard.send(stand.meter.complete(&attempt, &ticket));
        }
    };
    if !stand.detach(work) {
        return Ok(stand.meter.complete(&attempt, &ticket));
    }
    answer.await.map_err(|_| NoAnswer)
}

/// An answer of the script's.
fn injected(stand: &Stand, path: &str, status: u16, extra: Extra, drawn: Drawn) -> Answer {
    let at = At { ms: stand.meter.clock().now_ms(), path };
    let retry_after_s = u64::from(drawn.retry_after_s);
    let error = |code| Answer::error(at, status, code, &format!("injected: {}", drawn.kind.name));
    match extra {
        Extra::None => error(None),
        Extra::RetryAfter => error(None).with_retry_after(retry_after_s),
        Extra::Limited(reason) => {
            error(Some("RATE_LIMITED")).with_retry_after(retry_after_s).with_limited(reason)
        }
        Extra::ShouldRetry(should_retry) => error(None).with_should_retry(should_retry),
        // Another host's name for this machine: a sender that follows is found out.
        Extra::Elsewhere => {
            error(None).with_location(&format!("http://localhost:{}/sandbox/elsewhere", stand.port))
        }
        Extra::Html => Answer::html(status),
        Extra::Code(code) => error(Some(code)),
        Extra::CodeRetryAfter(code) => error(Some(code)).with_retry_after(retry_after_s),
    }
}

enum Unread {
    TooLarge,
    Gone,
}

async fn read(body: Incoming, bytes_max: usize) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Unread::TooLarge);
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Err(_) => Err(Unread::Gone),
    }
}

/// What `/sandbox/clock` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

/// The routes that only a stand-in has.
async fn control(stand: &Arc<Stand>, request: Request<Incoming>) -> Result<Answer, NoAnswer> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/sandbox/elsewhere" {
        Tally::add(&stand.meter.ledger.tally.followed_redirects, 1);
        return Ok(Answer::created_bare());
    }
    if head.method == Method::GET && path == "/sandbox/ledger" {
        let all = head.uri.query() == Some("all");
        return Ok(json(&stand.snapshot(all)));
    }
    let is_known = matches!(path, "/sandbox/faults" | "/sandbox/keys" | "/sandbox/clock");
    if !is_known || head.method != Method::POST {
        return Ok(refusal(stand, 404, path, "Not Found"));
    }
    let Ok(body) = read(body, stand.body_bytes_max).await else { return Err(NoAnswer) };
    let done = match path {
        "/sandbox/faults" => serde_json::from_slice::<Script>(&body)
            .map_err(|error| error.to_string())
            .and_then(|script| stand.faults.replace(script).map_err(|error| error.to_string())),
        "/sandbox/keys" => serde_json::from_slice::<BTreeMap<String, String>>(&body)
            .map_err(|error| error.to_string())
            .map(|keys| stand.meter.set_keys(&keys)),
        _ => serde_json::from_slice::<Advance>(&body)
            .map_err(|error| error.to_string())
            .map(|by| stand.meter.clock().advance(Duration::from_millis(by.advance_ms))),
    };
    Ok(match done {
        Ok(()) => json(&serde_json::json!({"ok": true})),
        Err(error) => refusal(stand, 400, path, &error),
    })
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => Answer::json(200, Bytes::from(body)),
        Err(_) => Answer::json(500, Bytes::new()),
    }
}
