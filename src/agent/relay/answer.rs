//! Answers, in the shapes that Revenium gives them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use revenium_event::Kind;
use serde::Serialize;

/// What is sent back.
pub(super) type Answer = Response<Full<Bytes>>;

/// Seconds after which to try again: a log that is full is not empty sooner, and SDKs cap it at 60.
const FULL_RETRY_AFTER_S: u64 = 5;

/// The same when the agent restarts.
const STOPPING_RETRY_AFTER_S: u64 = 1;

/// An error, before it has its place and time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: u16,
    /// A name for programs.
    pub(super) code: &'static str,
    /// The member at fault.
    pub(super) field: Option<String>,
    /// One sentence for a person.
    pub(super) message: String,
    retry_after_s: Option<u64>,
    closes: bool,
}

impl Problem {
    /// One that sending again doesn't cure.
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, field: None, message: message.into(), retry_after_s: None, closes: false }
    }

    /// A body that is wrong.
    pub(super) fn invalid(field: Option<String>, message: impl Into<String>) -> Self {
        Self { field, ..Self::new(400, "invalid", message) }
    }

    /// No room, or no disk: the sender has to keep it for now.
    pub(super) fn full(code: &'static str, message: impl Into<String>) -> Self {
        Self { retry_after_s: Some(FULL_RETRY_AFTER_S), ..Self::new(503, code, message) }
    }

    /// The agent is going away.
    pub(super) fn stopping() -> Self {
        let message = "the agent is stopping; send it to the next one";
        Self {
            retry_after_s: Some(STOPPING_RETRY_AFTER_S),
            closes: true,
            ..Self::new(503, "stopping", message)
        }
    }

    /// Ends the connection after it: what follows on it cannot be told from this request's rest.
    pub(super) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// Revenium's `ApiError`, for a request to `path`.
    pub(super) fn answer(&self, path: &str, now_ms: u64) -> Answer {
        let reason = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let field = self.field.as_deref();
        let body = ApiError {
            timestamp: timestamp(now_ms),
            status: self.status,
            error: reason.unwrap_or("Error"),
            message: &self.message,
            path,
            details: field.map(|field| (field, self.message.as_str())).into_iter().collect(),
            errors: [FieldError {
                code: self.code,
                field,
                value: None,
                message: &self.message,
                resolution: None,
            }],
            retry_after_seconds: self.retry_after_s,
        };
        let mut answer = json(self.status, serde_json::to_vec(&body).unwrap_or_default());
        let headers = answer.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 405 {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// The 201 that Revenium gives a record it took. `key` is its Idempotency-Key.
pub(super) fn created(kind: Kind, key: &str, now_ms: u64) -> Answer {
    let at = timestamp(now_ms);
    let body = Resource {
        id: key,
        label: kind.name(),
        resource_type: "metering",
        signature: key,
        created: &at,
        updated: &at,
        links: BTreeMap::new(),
    };
    json(201, serde_json::to_vec(&body).unwrap_or_default())
}

fn json(status: u16, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource<'a> {
    id: &'a str,
    label: &'a str,
    resource_type: &'a str,
    signature: &'a str,
    created: &'a str,
    updated: &'a str,
    #[serde(rename = "_links")]
    links: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiError<'a> {
    timestamp: String,
    status: u16,
    error: &'a str,
    message: &'a str,
    path: &'a str,
    details: BTreeMap<&'a str, &'a str>,
    errors: [FieldError<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

#[derive(Serialize)]
struct FieldError<'a> {
    code: &'a str,
    field: Option<&'a str>,
    value: Option<&'a str>,
    message: &'a str,
    resolution: Option<&'a str>,
}

fn timestamp(at_ms: u64) -> String {
    // To the second, as Revenium writes it.
    let span = Duration::from_secs(at_ms / 1000);
    jiff::Timestamp::UNIX_EPOCH.checked_add(span).map_or_else(|_| String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    const NOW_MS: u64 = 1_795_420_000_123;

    async fn body(answer: Answer) -> Value {
        let bytes = answer.into_body().collect().await.expect("is there").to_bytes();
        serde_json::from_slice(&bytes).expect("is JSON")
    }

    #[tokio::test]
    async fn a_refusal_has_revenium_s_shape() {
        let problem = Problem::invalid(Some("model".to_owned()), "model is missing");
        let answer = problem.answer("/meter/v2/ai/completions", NOW_MS);
        assert_eq!(answer.status(), 400);
        assert_eq!(
            body(answer).await,
            json!({
                "timestamp": "2026-11-23T07:46:40Z",
                "status": 400,
                "error": "Bad Request",
                "message": "model is missing",
                "path": "/meter/v2/ai/completions",
                "details": {"model": "model is missing"},
                "errors": [{
                    "code": "invalid", "field": "model", "value": null,
                    "message": "model is missing", "resolution": null,
                }],
            })
        );
    }

    #[tokio::test]
    async fn what_may_be_sent_again_says_when() {
        for (problem, after, closes) in
            [(Problem::full("full", "the log is full"), "5", false), (Problem::stopping(), "1", true)]
        {
            let answer = problem.answer("/", NOW_MS);
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()[RETRY_AFTER]),
                (503, &HeaderValue::from_str(after).unwrap())
            );
            assert_eq!(answer.headers().contains_key(CONNECTION), closes);
        }
    }

    #[tokio::test]
    async fn a_record_that_was_taken_is_a_metering_resource() {
        let answer = created(Kind::Tool, "key-1", NOW_MS);
        assert_eq!(answer.status(), 201);
        let body = body(answer).await;
        assert_eq!(
            body,
            json!({
                "id": "key-1", "label": "tool", "resourceType": "metering", "signature": "key-1",
                "created": "2026-11-23T07:46:40Z", "updated": "2026-11-23T07:46:40Z", "_links": {},
            })
        );
    }
}
