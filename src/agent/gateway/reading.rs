//! What a provider's answer says, read from a copy of its bytes as they pass.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use revenium_anthropic::batch::Outcome;
use revenium_anthropic::{By, Ended, Response, Route, Stream};

use super::decode::{Decoder, Sink};
use super::head;
use super::results::Results;
use super::skim::Skim;

/// What of an answer in one piece is looked at.
const SAID: &[&str] = &["type", "id", "model", "stop_reason", "usage", "error"];

/// Bytes that are read of one answer, decompressed. A model's longest is below 2 MiB today, with files in it some
/// more; what claims to be longer is not believed.
const DECODED_BYTES_MAX: u64 = 64 << 20;

/// The provider's own name for a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// An answer that is being read.
pub(super) struct Reading {
    status: u16,
    request_id: Option<String>,
    /// `None`: it is compressed in a way that is not known here.
    decoder: Option<Decoder<Reader>>,
}

struct Reader {
    kind: Kind,
    /// Something else than white space has come.
    has_begun: bool,
    started: Instant,
}

enum Kind {
    Whole(Skim),
    Stream(Box<Stream>),
    Results(Results),
}

impl Sink for Reader {
    fn take(&mut self, bytes: &[u8]) {
        if !self.has_begun
            && let Some(first) = first_letter(bytes)
        {
            self.has_begun = true;
            self.kind.follow(first);
        }
        match &mut self.kind {
            Kind::Whole(skim) => skim.push(bytes),
            Kind::Stream(stream) => stream.push(bytes, self.started.elapsed()),
            Kind::Results(results) => results.push(bytes),
        }
    }
}

impl Kind {
    /// A body's first letter counts more than its label: no stream begins with a brace, and no JSON as fields of a
    /// stream do (`event`, `data`, `id`, `retry`, or a comment).
    fn follow(&mut self, first: u8) {
        match (&self, first) {
            (Self::Stream(_), b'{') => *self = Self::Whole(Skim::new(SAID)),
            (Self::Whole(_), b'e' | b'd' | b'i' | b'r' | b':') => *self = Self::Stream(Box::default()),
            _ => {}
        }
    }
}

/// The first byte that is neither white space nor of a byte order mark.
fn first_letter(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte))
}

impl Reading {
    /// Of an answer with this head, to a request that was sent at `started`.
    pub(super) fn new(route: Route, status: StatusCode, headers: &HeaderMap, started: Instant) -> Self {
        let kind = match route {
            Route::BatchResults if status.is_success() => Kind::Results(Results::default()),
            _ if is_stream(headers) => Kind::Stream(Box::default()),
            _ => Kind::Whole(Skim::new(SAID)),
        };
        // Results are read line by line, however many they are.
        let bytes_max = if matches!(kind, Kind::Results(_)) { u64::MAX } else { DECODED_BYTES_MAX };
        Self {
            status: status.as_u16(),
            request_id: text(headers, &REQUEST_ID).map(str::to_owned),
            decoder: Decoder::new(
                head::codings(headers),
                Reader { kind, has_begun: false, started },
                bytes_max,
            ),
        }
    }

    /// The next bytes of the body, as they came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Some(decoder) = &mut self.decoder {
            decoder.push(bytes);
        }
    }

    /// The results of a batch that have passed since the last call, and how many could not be read. At the end
    /// of the body the last one needs no newline.
    pub(super) fn outcomes(&mut self, is_at_end: bool) -> (Vec<Outcome>, u64) {
        match self.decoder.as_mut().map(|decoder| &mut decoder.sink().kind) {
            Some(Kind::Results(results)) => {
                if is_at_end {
                    results.finish();
                }
                results.take()
            }
            _ => (Vec::new(), 0),
        }
    }

    /// What the answer said in all, and whether it was a stream. `ended` is what became of its bytes.
    pub(super) fn finish(self, elapsed: Duration, ended: Ended) -> (Response, bool) {
        let Self { status, request_id, decoder } = self;
        let Some(mut decoder) = decoder else {
            return (Response { request_id, ended: Ended::Cut, ..Response::default() }, false);
        };
        let is_broken = decoder.is_broken();
        let kind = std::mem::replace(&mut decoder.sink().kind, Kind::Whole(Skim::new(&[])));
        let (mut response, is_stream) = match kind {
            Kind::Stream(stream) => {
                let by = if ended == Ended::Cancelled { By::Client } else { By::Server };
                (stream.finish(elapsed, by), true)
            }
            Kind::Whole(skim) => {
                let said = Response::read(status, skim.object().as_bytes());
                let is_settled = ended == Ended::Complete || matches!(said.ended, Ended::Error(_));
                (if is_settled { said } else { Response { ended, ..said } }, false)
            }
            Kind::Results(_) => (Response { ended, ..Response::default() }, false),
        };
        if is_broken && response.ended == Ended::Complete {
            response.ended = Ended::Cut;
        }
        response.request_id = response.request_id.or(request_id);
        (response, is_stream)
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = text(headers, &CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/event-stream")
}

/// A field's value, if it is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
