//! What a provider's answer says, read from a copy of its bytes as they pass, decompressed if need be.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use revenium_anthropic::batch::Outcome;
use revenium_anthropic::{Answer, Ended, Head, Response, Route};

use super::decode::{Decoder, Sink};
use super::head;

/// Bytes that are read of one answer, decompressed. A model's longest is below 2 MiB today, with files in it some
/// more; what claims to be longer is not believed.
const DECODED_BYTES_MAX: u64 = 64 << 20;

/// The provider's own name for a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// An answer that is being read.
pub(super) struct Reading {
    /// `Err`: it is compressed in a way that is not known here, and nothing of it is read.
    decoder: Result<Decoder<Reader>, Answer>,
}

struct Reader {
    /// Until it is finished.
    answer: Option<Answer>,
    started: Instant,
}

impl Sink for Reader {
    fn take(&mut self, bytes: &[u8]) {
        if let Some(answer) = &mut self.answer {
            answer.push(bytes, self.started.elapsed());
        }
    }
}

impl Reading {
    /// Of an answer with this head, to a request that was sent at `started`.
    pub(super) fn new(route: Route, status: StatusCode, headers: &HeaderMap, started: Instant) -> Self {
        let field = |name: &HeaderName| text(headers, name).unwrap_or_default();
        let said = Head {
            status: status.as_u16(),
            content_type: field(&CONTENT_TYPE),
            request_id: field(&REQUEST_ID),
        };
        let answer = Answer::new(route, &said);
        // Results are read line by line, however many they are.
        let bytes_max = if answer.is_results() { u64::MAX } else { DECODED_BYTES_MAX };
        let reader = Reader { answer: Some(answer), started };
        let decoder = Decoder::new(head::codings(headers), reader, bytes_max);
        Self { decoder: decoder.ok_or_else(|| Answer::new(route, &said)) }
    }

    /// The next bytes of the body, as they came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Ok(decoder) = &mut self.decoder {
            decoder.push(bytes);
        }
    }

    /// The results of a batch that have passed since the last call, and how many could not be read. At the end
    /// of the body the last one needs no newline.
    pub(super) fn outcomes(&mut self, is_at_end: bool) -> (Vec<Outcome>, u64) {
        let decoder = self.decoder.as_mut().ok();
        let answer = decoder.and_then(|decoder| decoder.sink().answer.as_mut());
        answer.map(|answer| answer.results(is_at_end)).unwrap_or_default()
    }

    /// What the answer said in all, and whether it was a stream. `ended` is what became of its bytes.
    pub(super) fn finish(self, elapsed: Duration, ended: Ended) -> (Response, bool) {
        let (answer, is_broken) = match self.decoder {
            Ok(mut decoder) => (decoder.sink().answer.take(), decoder.is_broken()),
            Err(unread) => (Some(unread), true),
        };
        let (mut response, is_stream) =
            answer.map(|answer| answer.finish(elapsed, ended)).unwrap_or_default();
        if is_broken && response.ended == Ended::Complete {
            response.ended = Ended::Cut;
        }
        (response, is_stream)
    }
}

/// A field's value, if it is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
