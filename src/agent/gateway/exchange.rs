//! One call on its way: what is known of it, from its request to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName};
use hyper::http::request::Parts;
use revenium_anthropic::batch::Outcome;
use revenium_anthropic::{Asked, Call, Ended, Response, Route};
use serde_json::value::RawValue;

use super::attribution;
use super::reading::{Reading, text};

/// Which try of the application's SDK this is.
const RETRY: HeaderName = HeaderName::from_static("x-stainless-retry-count");

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
    asked: Arc<Mutex<Asked>>,
    answer: Option<Reading>,
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
            asked: Arc::new(Mutex::new(Asked::new())),
            answer: None,
        }
    }

    /// Where the request's body is put.
    pub(super) fn asked(&self) -> Arc<Mutex<Asked>> {
        self.asked.clone()
    }

    /// The provider answers.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.answer = Some(Reading::new(self.route, status, headers, self.started));
    }

    /// These bytes of the answer are passed on.
    pub(super) fn saw(&mut self, bytes: &[u8]) {
        if let Some(answer) = &mut self.answer {
            answer.push(bytes);
        }
    }

    /// The results of a batch that have passed since the last call.
    pub(super) fn outcomes(&mut self, is_at_end: bool) -> (Vec<Outcome>, u64) {
        self.answer.as_mut().map(|answer| answer.outcomes(is_at_end)).unwrap_or_default()
    }

    /// The facts of the call, now that it has ended.
    pub(super) fn into_call(self, ended: Ended) -> Call {
        let elapsed = self.started.elapsed();
        let common = self.common();
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (response, is_streamed) = match self.answer {
            Some(answer) => answer.finish(elapsed, ended),
            None => (Response { ended, ..Response::default() }, asked.wants_stream()),
        };
        Call {
            request: asked.request(),
            response,
            started_at_ms: Some(self.started_at_ms),
            duration_ms: Some(millis(elapsed)),
            is_streamed,
            retry_number: self.retry_number,
            ..common
        }
    }

    /// The facts of a call whose result passed by. When it was made nobody says.
    pub(super) fn call_of(&self, custom_id: String, response: Response) -> Call {
        let batch_id = self.path.rsplit('/').nth(1).map(str::to_owned);
        Call { response, batch_id, custom_id: Some(custom_id), ..self.common() }
    }

    fn common(&self) -> Call {
        Call {
            endpoint: Some(self.endpoint.to_string()),
            route: Some(self.path.clone()),
            middleware: Some(MIDDLEWARE.to_owned()),
            usage_metadata: self.metadata.clone().and_then(|text| RawValue::from_string(text).ok()),
            ..Call::default()
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
