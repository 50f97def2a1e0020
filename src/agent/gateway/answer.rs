//! Answers of the gateway's own, in the shape of Anthropic's, for what does not reach the provider.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// Why a request was not passed on, or not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It calls the gateway by a name that is not its own.
    Host,
    /// A web page made it.
    Page,
    /// The path is none.
    Path,
    /// Its body did not come as its framing says.
    Body(String),
    /// The provider was not reached.
    Provider(String),
    /// The provider broke off before it answered, and the call is metered.
    BrokenOff(String),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Page => StatusCode::FORBIDDEN,
            Self::Path | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Provider(_) | Self::BrokenOff(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The provider's word for it, which decides what SDKs make of it.
    fn kind(&self) -> &'static str {
        match self {
            Self::Host | Self::Path | Self::Body(_) => "invalid_request_error",
            Self::Page => "permission_error",
            Self::Provider(_) | Self::BrokenOff(_) => "api_error",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Host => {
                "revenium gateway: this is not its name here: call it localhost or by its address, or \
                           add the name to gateway.hosts"
                    .to_owned()
            }
            Self::Page => "revenium gateway: requests of web pages are not passed on".to_owned(),
            Self::Path => "revenium gateway: the request's path cannot be passed on".to_owned(),
            Self::Body(why) | Self::Provider(why) | Self::BrokenOff(why) => {
                format!("revenium gateway: {why}")
            }
        }
    }

    /// The answer, as a whole.
    pub(super) fn answer(&self) -> Response<Bytes> {
        let error = Error { kind: self.kind(), message: &self.message() };
        let body = serde_json::to_vec(&ErrorBody { kind: "error", error }).unwrap_or_default();
        let mut answer = Response::new(Bytes::from(body));
        *answer.status_mut() = self.status();
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_anthropic_s_shape() {
        let answer = Problem::Provider("cannot reach http://127.0.0.1:9: refused".to_owned()).answer();
        assert_eq!(answer.status(), 502);
        assert_eq!(
            answer.body(),
            r#"{"type":"error","error":{"type":"api_error","message":"revenium gateway: cannot reach http://127.0.0.1:9: refused"}}"#
        );
    }
}
