//! One call on its way: what is known of it, from its request to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use revenium_anthropic::{By, Call, Ended, Request, Response, Route, Stream};
use serde_json::value::RawValue;

use super::attribution;
use super::decode::{Decoder, Sink};
use super::meter::Meter;
use super::skim::Skim;

/// What of a request is looked at.
const ASKED: &[&str] = &["model", "stream", "tools", "temperature", "service_tier", "output_config"];

/// What of an answer in one piece is.
const SAID: &[&str] = &["type", "id", "model", "stop_reason", "usage", "error"];

/// Which try of the application's SDK this is.
const RETRY: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// The provider's own name for a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Who reports, in events.
const MIDDLEWARE: &str = concat!("revenium-gateway/", env!("CARGO_PKG_VERSION"));

/// What is known of a call.
pub(super) struct Exchange {
    pub(super) route: Route,
    path: String,
    endpoint: Arc<str>,
    started_at_ms: u64,
    started: Instant,
    metadata: Option<String>,
    retry_number: Option<u32>,
    asked: Arc<Mutex<Skim>>,
    answer: Option<Answer>,
}

struct Answer {
    status: u16,
    request_id: Option<String>,
    /// `None`: it cannot be read.
    read: Option<Decoder<Reader>>,
}

/// Reads an answer by its kind.
struct Reader {
    kind: Kind,
    started: Instant,
}

enum Kind {
    Whole(Skim),
    Stream(Stream),
}

impl Sink for Reader {
    fn take(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Whole(skim) => skim.push(bytes),
            Kind::Stream(stream) => stream.push(bytes, self.started.elapsed()),
        }
    }
}

impl Exchange {
    /// A call whose head was received just now.
    pub(super) fn new(route: Route, head: &Parts, endpoint: &Arc<str>, credential_from_key: bool) -> Self {
        let retry_number = text(&head.headers, &RETRY).and_then(|count| count.trim().parse().ok());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            route,
            path: head.uri.path().to_owned(),
            endpoint: endpoint.clone(),
            started_at_ms: millis(since_1970),
            started: Instant::now(),
            metadata: attribution::metadata(&head.headers, credential_from_key),
            retry_number,
            asked: Arc::new(Mutex::new(Skim::new(ASKED))),
            answer: None,
        }
    }

    fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        let kind =
            if is_stream(headers) { Kind::Stream(Stream::new()) } else { Kind::Whole(Skim::new(SAID)) };
        let coding = text(headers, &CONTENT_ENCODING).unwrap_or_default();
        self.answer = Some(Answer {
            status: status.as_u16(),
            request_id: text(headers, &REQUEST_ID).map(str::to_owned),
            read: Decoder::new(coding, Reader { kind, started: self.started }),
        });
    }

    fn saw(&mut self, bytes: &[u8]) {
        if let Some(read) = self.answer.as_mut().and_then(|answer| answer.read.as_mut()) {
            read.push(bytes);
        }
    }

    /// The facts of the call, now that it has ended.
    pub(super) fn into_call(self, ended: Ended) -> Call {
        let elapsed = self.started.elapsed();
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let wants_stream = asked.raw("stream") == Some("true");
        let (is_streamed, response) = match self.answer {
            Some(answer) => answer.into_response(elapsed, ended),
            None => (wants_stream, Response { ended, ..Response::default() }),
        };
        Call {
            endpoint: Some(self.endpoint.to_string()),
            route: Some(self.path),
            request: Request {
                model: asked.text("model"),
                has_tools: asked.has_items("tools"),
                has_vision: asked.has_image(),
                temperature: asked.raw("temperature").and_then(|raw| raw.parse().ok()),
                service_tier: asked.text("service_tier"),
                effort: asked.raw("output_config").and_then(effort),
            },
            response,
            started_at_ms: Some(self.started_at_ms),
            duration_ms: Some(millis(elapsed)),
            is_streamed,
            retry_number: self.retry_number,
            middleware: Some(MIDDLEWARE.to_owned()),
            usage_metadata: self.metadata.and_then(|text| RawValue::from_string(text).ok()),
            ..Call::default()
        }
    }
}

impl Answer {
    /// What the answer said, and whether it was a stream. `ended` is what became of its bytes.
    fn into_response(self, elapsed: Duration, ended: Ended) -> (bool, Response) {
        let Self { status, request_id, read } = self;
        let Some(mut read) = read else {
            return (false, Response { ended: Ended::Cut, ..Response::default() });
        };
        let is_broken = read.is_broken();
        let kind = std::mem::replace(&mut read.sink().kind, Kind::Whole(Skim::new(&[])));
        let (is_streamed, mut response) = match kind {
            Kind::Stream(stream) => {
                let by = if ended == Ended::Cancelled { By::Client } else { By::Server };
                (true, stream.finish(elapsed, by))
            }
            Kind::Whole(skim) => {
                let said = Response::read(status, skim.object().as_bytes());
                let is_whole = ended == Ended::Complete || matches!(said.ended, Ended::Error(_));
                (false, if is_whole { said } else { Response { ended, ..said } })
            }
        };
        if is_broken && response.ended == Ended::Complete {
            response.ended = Ended::Cut;
        }
        response.request_id = response.request_id.or(request_id);
        (is_streamed, response)
    }
}

/// An exchange that is told what happens, and ends once: with its call, or with whatever it is dropped by.
pub(super) struct Watch {
    exchange: Option<Box<Exchange>>,
    meter: Arc<Meter>,
}

impl Watch {
    pub(super) fn new(exchange: Exchange, meter: Arc<Meter>) -> Self {
        Self { exchange: Some(Box::new(exchange)), meter }
    }

    /// Where to put the request's body.
    pub(super) fn asked(&self) -> Option<Arc<Mutex<Skim>>> {
        self.exchange.as_ref().map(|exchange| exchange.asked.clone())
    }

    /// The provider answers.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        if let Some(exchange) = &mut self.exchange {
            exchange.answered(status, headers);
        }
    }

    /// These bytes of the answer are passed on.
    pub(super) fn saw(&mut self, bytes: &[u8]) {
        if let Some(exchange) = &mut self.exchange {
            exchange.saw(bytes);
        }
    }

    /// The call is over. Only the first end counts.
    pub(super) fn end(&mut self, ended: Ended) {
        if let Some(exchange) = self.exchange.take() {
            self.meter.finish(exchange, ended);
        }
    }

    /// Somebody else meters the call.
    pub(super) fn leave(mut self) {
        self.exchange = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The client went away before there was an answer.
        self.end(Ended::Cancelled);
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = text(headers, &CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/event-stream")
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `output_config.effort`.
fn effort(raw: &str) -> Option<String> {
    let config: serde_json::Value = serde_json::from_str(raw).ok()?;
    config["effort"].as_str().map(str::to_owned)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
