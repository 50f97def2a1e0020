//! A provider's answer, read from a copy of its bytes as they pass: in one piece, as a stream, or as the results
//! of a batch.
//!
//! For whoever stands between a client and the provider. It takes bytes as they are without any coding; undoing a
//! `Content-Encoding` is its caller's. What is held of an answer is bounded, its size is not.

use std::time::Duration;

use crate::batch::Outcome;
use crate::response::{Ended, Response};
use crate::results::Results;
use crate::route::Route;
use crate::skim::Skim;
use crate::stream::{By, Stream};

/// What of an answer in one piece is looked at.
const SAID: &[&str] = &["type", "id", "model", "stop_reason", "usage", "error"];

/// What the head of an answer says. A field that is missing, or is no text, is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The field `content-type`.
    pub content_type: &'a str,
    /// The field `request-id`, the provider's own name for the request.
    pub request_id: &'a str,
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    request_id: Option<String>,
    kind: Kind,
    /// Something else than white space has come.
    has_begun: bool,
}

#[derive(Debug)]
enum Kind {
    Whole(Skim),
    Stream(Box<Stream>),
    Results(Results),
}

impl Answer {
    /// One with this head, to a request of this route.
    pub fn new(route: Route, head: &Head<'_>) -> Answer {
        let kind = match route {
            // A refusal is one, whatever form it has.
            _ if !is_success(head.status) => Kind::Whole(Skim::new(SAID)),
            Route::BatchResults => Kind::Results(Results::default()),
            _ if is_stream(head.content_type) => Kind::Stream(Box::default()),
            _ => Kind::Whole(Skim::new(SAID)),
        };
        let request_id = Some(head.request_id).filter(|id| !id.is_empty()).map(str::to_owned);
        Answer { status: head.status, request_id, kind, has_begun: false }
    }

    /// The next bytes of the body. `elapsed` is what a monotonic clock has measured since the request was sent.
    pub fn push(&mut self, bytes: &[u8], elapsed: Duration) {
        if !self.has_begun
            && let Some(first) = first_letter(bytes)
        {
            self.has_begun = true;
            if is_success(self.status) {
                self.kind.follow(first);
            }
        }
        match &mut self.kind {
            Kind::Whole(skim) => skim.push(bytes),
            Kind::Stream(stream) => stream.push(bytes, elapsed),
            Kind::Results(results) => results.push(bytes),
        }
    }

    /// Whether it is the results of a batch: each is a call of its own, and [`Answer::finish`] has none.
    pub fn is_results(&self) -> bool {
        matches!(self.kind, Kind::Results(_))
    }

    /// The results of a batch that have passed since the last call, and how many could not be read. At the end
    /// of the body the last one needs no newline.
    pub fn results(&mut self, is_at_end: bool) -> (Vec<Outcome>, u64) {
        let Kind::Results(results) = &mut self.kind else { return (Vec::new(), 0) };
        if is_at_end {
            results.finish();
        }
        results.take()
    }

    /// What it said in all, and whether it was a stream. `ended` is what became of its bytes.
    pub fn finish(self, elapsed: Duration, ended: Ended) -> (Response, bool) {
        let (mut response, is_stream) = match self.kind {
            Kind::Stream(stream) => {
                let by = if ended == Ended::Cancelled { By::Client } else { By::Server };
                (stream.finish(elapsed, by), true)
            }
            Kind::Whole(skim) => {
                let said = Response::read(self.status, skim.object().as_bytes());
                let is_settled = ended == Ended::Complete || matches!(said.ended, Ended::Error(_));
                (if is_settled { said } else { Response { ended, ..said } }, false)
            }
            Kind::Results(_) => (Response { ended, ..Response::default() }, false),
        };
        response.request_id = response.request_id.or(self.request_id);
        (response, is_stream)
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

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn is_stream(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &Head<'_>, body: &str, ended: Ended) -> (Response, bool) {
        let mut answer = Answer::new(Route::Messages, head);
        body.as_bytes().chunks(3).for_each(|piece| answer.push(piece, Duration::ZERO));
        answer.finish(Duration::ZERO, ended)
    }

    #[test]
    fn what_it_is_counts_more_than_what_it_is_called() {
        let message = "\u{feff} \n{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":1}}";
        let stream = "\r\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\"}}\n\n";
        for (called, body, is_stream) in [
            ("text/event-stream", message, false),
            ("application/json", stream, true),
            ("", stream, true),
            (
                "application/json",
                ": a comment\n\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\"}}\n\n",
                true,
            ),
        ] {
            let head = Head { status: 200, content_type: called, request_id: "" };
            let (said, was_stream) = read(&head, body, Ended::Complete);
            assert_eq!((said.id.as_deref(), was_stream), (Some("msg_1"), is_stream), "{called} {body:?}");
        }
    }

    #[test]
    fn its_head_says_how_it_is_read_and_what_became_of_it_how_it_ended() {
        let json = Head { status: 200, content_type: "application/json", request_id: "req_1" };
        let message = r#"{"id":"msg_1","content":[{"text":"a"}],"usage":{"input_tokens":1}}"#;
        let (said, is_stream) = read(&json, message, Ended::Complete);
        assert_eq!((said.id.as_deref(), said.request_id.as_deref()), (Some("msg_1"), Some("req_1")));
        assert_eq!((said.usage.expect("states it").get(), is_stream), (r#"{"input_tokens":1}"#, false));
        // Cut by its length, what had come is said, and not to be whole.
        assert_eq!(read(&json, &message[..20], Ended::Cut).0.ended, Ended::Cut);
        for ended in [Ended::Cut, Ended::Cancelled] {
            assert_eq!(read(&json, message, ended.clone()).0.ended, ended);
        }

        let stream = Head { status: 200, content_type: "Text/Event-Stream; charset=utf-8", request_id: "" };
        let start =
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_2\"}}\n\n";
        let (said, is_stream) = read(&stream, start, Ended::Complete);
        assert_eq!((said.id.as_deref(), said.ended, is_stream), (Some("msg_2"), Ended::Cut, true));
        assert_eq!(said.request_id, None);
        let (said, _) = read(&stream, start, Ended::Cancelled);
        assert_eq!(said.ended, Ended::Cancelled);
    }

    #[test]
    fn a_refusal_is_one_whatever_it_looks_like() {
        let words = "error code: 1015";
        let stream = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
        for (content_type, body, kind) in [
            ("text/plain", words, None),
            ("text/event-stream", words, None),
            ("text/event-stream", stream, Some("overloaded_error")),
        ] {
            let head = Head { status: 529, content_type, request_id: "" };
            let (said, is_stream) = read(&head, body, Ended::Complete);
            let kind = kind.map(str::to_owned);
            assert_eq!(said.ended, Ended::Error(crate::Failure { status: Some(529), kind, class: None }));
            assert!(!is_stream);
        }
    }
}
