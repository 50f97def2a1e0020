//! What the provider said about one call, and how the call ended.
//!
//! [`Response::read`] takes a body that came in one piece. It never fails: what cannot be read did not
//! come, and [`Ended`] says so. Content is skipped over, not built; nothing is copied but the few members
//! that are kept. A stream is [`crate::Stream`]'s, a batch's result [`crate::batch`]'s.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::members::{self, Members};

/// What the provider said about one call.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Response {
    /// The answer's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The id that the provider gave to the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why the model stopped, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// The provider's `usage`, verbatim; of a stream the last value of each member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Box<RawValue>>,
    /// From the request to the first content delta, milliseconds; streams only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<u64>,
    /// How the call ended.
    #[serde(flatten)]
    pub ended: Ended,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(tag = "ended", content = "error", rename_all = "snake_case")]
pub enum Ended {
    /// The whole answer came.
    #[default]
    Complete,
    /// This side gave up before the answer's end.
    Cancelled,
    /// The other side went away before the answer's end.
    Cut,
    /// The provider refused the call or broke it off with an error, or none was reached.
    Error(Failure),
}

/// Why a call failed. Never the error's message: it may quote a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Failure {
    /// The HTTP status, if the provider answered with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's word, such as `rate_limit_error`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The client's word, such as `RateLimitError`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

impl Response {
    /// Reads the body that the provider answered with under this HTTP status.
    ///
    /// An error's body gives its type; a body of 2xx that is not one object of JSON was cut. A member of
    /// the wrong type is as good as absent, the usage apart: that is kept as it came, to be refused by name.
    pub fn read(status: u16, body: &[u8]) -> Response {
        let body = String::from_utf8_lossy(body);
        let members = Members::read(&body);
        let is_error = !(200..300).contains(&status);
        let ended = match &members {
            _ if is_error => Ended::Error(Failure { status: Some(status), ..Failure::of(members.as_ref()) }),
            None => Ended::Cut,
            Some(message) if message.text("type").as_deref() == Some("error") => {
                Ended::Error(Failure { status: Some(status), ..Failure::of(members.as_ref()) })
            }
            Some(_) => Ended::Complete,
        };
        Response { ended, ..members.map(|message| Response::of(&message)).unwrap_or_default() }
    }

    /// What a message says.
    pub(crate) fn of(message: &Members<'_>) -> Response {
        Response {
            id: message.text("id"),
            request_id: message.text("request_id"),
            model: message.text("model"),
            stop_reason: message.text("stop_reason"),
            usage: message.get("usage").and_then(members::boxed),
            ..Response::default()
        }
    }
}

impl Failure {
    /// What `{"type":"error","error":{"type":…}}` says.
    pub(crate) fn of(body: Option<&Members<'_>>) -> Failure {
        let error = body.and_then(|body| body.object("error"));
        Failure { kind: error.and_then(|error| error.text("type")), ..Failure::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, kind: &str) -> Ended {
        Ended::Error(Failure { status: Some(status), kind: Some(kind.to_owned()), class: None })
    }

    #[test]
    fn every_body_says_how_the_call_ended() {
        let table: [(u16, &str, Ended); 9] = [
            (200, r#"{"id":"m","usage":{}}"#, Ended::Complete),
            (200, r#"{"id":"m","content":[{"text":"a"#, Ended::Cut),
            (200, "", Ended::Cut),
            (200, "<html>", Ended::Cut),
            (200, r#"{"type":"error","error":{"type":"api_error"}}"#, failure(200, "api_error")),
            (
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#,
                failure(429, "rate_limit_error"),
            ),
            (502, "<html>", Ended::Error(Failure { status: Some(502), ..Failure::default() })),
            (500, r#"{"error":"text"}"#, Ended::Error(Failure { status: Some(500), ..Failure::default() })),
            (302, "{}", Ended::Error(Failure { status: Some(302), ..Failure::default() })),
        ];
        for (status, body, ended) in table {
            assert_eq!(Response::read(status, body.as_bytes()).ended, ended, "{status} {body}");
        }
    }

    #[test]
    fn members_of_the_wrong_type_are_absent_and_the_usage_is_as_it_came() {
        let read =
            Response::read(200, br#"{"id":5,"model":null,"stop_reason":[],"usage":{"input_tokens": 1.50}}"#);
        assert_eq!((read.id, read.model, read.stop_reason), (None, None, None));
        assert_eq!(read.usage.expect("is kept").get(), r#"{"input_tokens": 1.50}"#);
        assert!(Response::read(200, br#"{"usage":null}"#).usage.is_none());
    }
}
