//! What happens to a call, told as it happens. It ends once: as it is told, or by being dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::{HeaderName, StatusCode};
use reqwest::Url;
use revenium_anthropic::{Answer, Asked, Call, Ended, Head, Response, Route};
use revenium_emitter::{Emitter, Event};
use serde_json::value::RawValue;

use crate::metadata::Metadata;
use crate::metering::lost;

/// Who reports, in events.
const MIDDLEWARE: &str = concat!("revenium-middleware/", env!("CARGO_PKG_VERSION"));

/// The provider's own name for a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// What is known of one call. Dropped before its end, it was cancelled.
pub(crate) struct Watch {
    emitter: Emitter,
    route: Route,
    path: String,
    host: Option<String>,
    metadata: Option<Box<RawValue>>,
    started_at_ms: u64,
    started: Instant,
    /// When something of the answer was last seen.
    last: Option<Instant>,
    asked: Arc<Mutex<Asked>>,
    answer: Option<Answer>,
    /// The answer is compressed, and nothing of it is read.
    is_opaque: bool,
    is_over: bool,
}

impl Watch {
    /// Of a call that is made now.
    pub(crate) fn new(emitter: Emitter, route: Route, url: &Url, metadata: &Metadata) -> Self {
        Self {
            emitter,
            route,
            path: url.path().to_owned(),
            // The host only: a URL may have a password in it.
            host: url.host_str().map(str::to_owned),
            metadata: metadata.to_raw(),
            started_at_ms: millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            started: Instant::now(),
            last: None,
            asked: Arc::default(),
            answer: None,
            is_opaque: false,
            is_over: false,
        }
    }

    /// Where to put the request's body.
    pub(crate) fn asked(&self) -> Arc<Mutex<Asked>> {
        self.asked.clone()
    }

    /// The provider answers.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        let field = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let head = Head {
            status: status.as_u16(),
            content_type: field(&CONTENT_TYPE).unwrap_or_default(),
            request_id: field(&REQUEST_ID).unwrap_or_default(),
        };
        self.answer = Some(Answer::new(self.route, &head));
        // What reqwest has decompressed does not have the field any more.
        let coding = field(&CONTENT_ENCODING).map_or("", str::trim);
        self.is_opaque = !coding.is_empty() && !coding.eq_ignore_ascii_case("identity");
    }

    /// The application gets these bytes of the answer.
    pub(crate) fn saw(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        self.last = Some(now);
        if let Some(answer) = self.answer.as_mut().filter(|_| !self.is_opaque) {
            answer.push(bytes, now.duration_since(self.started));
            self.results(false);
        }
    }

    /// The call is over. Only the first end counts.
    pub(crate) fn end(&mut self, ended: Ended) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.results(ended == Ended::Complete);
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // One that was dropped at some time after its last piece ended with that.
        let last = self.last.filter(|_| ended == Ended::Cancelled).unwrap_or_else(Instant::now);
        let took = last.duration_since(self.started);
        let (response, is_streamed) = match self.answer.take() {
            Some(answer) if answer.is_results() => return,
            Some(answer) => answer.finish(took, ended),
            None => (Response { ended, ..Response::default() }, asked.wants_stream()),
        };
        if self.is_opaque {
            lost(
                "an answer came compressed and could not be read, so its call is metered without tokens; let reqwest \
                 decompress, by its features gzip, brotli, deflate or zstd",
            );
        }
        let request = asked.request();
        let is_nameless = request.model.is_none() && response.model.is_none();
        let says_nothing = response.ended == Ended::Complete && response.usage.is_none();
        if self.route == Route::BatchResults || is_nameless || says_nothing {
            // It is no call of a model, or none that anybody could bill.
            return;
        }
        self.emit(Call {
            request,
            response,
            started_at_ms: Some(self.started_at_ms),
            duration_ms: Some(millis(took)),
            is_streamed,
            ..self.common()
        });
    }

    /// It never was one, or is somebody else's.
    pub(crate) fn forget(&mut self) {
        self.is_over = true;
    }

    /// Meters the results of a batch that have passed, each a call of its own. When it was made nobody says.
    fn results(&mut self, is_at_end: bool) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.is_results()) else { return };
        let (outcomes, odd) = answer.results(is_at_end);
        for outcome in outcomes {
            // What failed within a batch cost nothing, and names no model.
            if let Some(response) = outcome.response.filter(|response| response.ended == Ended::Complete) {
                let batch_id = self.path.rsplit('/').nth(1).map(str::to_owned);
                let custom_id = Some(outcome.custom_id);
                self.emit(Call { response, batch_id, custom_id, ..self.common() });
            }
        }
        if odd > 0 {
            lost("a line of a batch's results could not be read, and is not metered");
        }
    }

    fn common(&self) -> Call {
        Call {
            endpoint: self.host.clone(),
            route: Some(self.path.clone()),
            middleware: Some(MIDDLEWARE.to_owned()),
            usage_metadata: self.metadata.clone(),
            ..Call::default()
        }
    }

    fn emit(&self, mut call: Call) {
        let mut event = Event::from_json(call.to_line());
        if event.is_err() && call.usage_metadata.take().is_some() {
            lost("metadata of a call is left out: with it, the call is larger than the agent takes");
            event = Event::from_json(call.to_line());
        }
        match event {
            // What becomes of it, the emitter counts and tells.
            Ok(event) => drop(self.emitter.emit(event)),
            Err(error) => lost(&format!("a call is not metered: {error}")),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end(Ended::Cancelled);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
