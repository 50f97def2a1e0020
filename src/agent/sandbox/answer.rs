//! Answers, in the shapes Revenium gives them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::pace::{Limited, Quota};
use super::rules::FieldError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// What is sent back, before it becomes HTTP.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    is_html: bool,
    quota: Option<Quota>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    pub(super) fn json(status: u16, body: Bytes) -> Self {
        Self { status, body, is_html: false, quota: None, headers: Vec::new() }
    }

    pub(super) fn html(status: u16) -> Self {
        let page = b"<!DOCTYPE html><html><body>Please sign in to this network.</body></html>";
        Self { is_html: true, ..Self::json(status, Bytes::from_static(page)) }
    }

    /// The 201 that Revenium gives a record it took.
    pub(super) fn created(number: u64, at_ms: u64) -> Self {
        let at = timestamp(at_ms);
        let body = format!(
            r#"{{"id":"{number:016x}","label":"sandbox","resourceType":"metering","signature":"{number:x}","created":"{at}","updated":"{at}","_links":{{}}}}"#
        );
        Self::json(201, Bytes::from(body))
    }

    /// The same without a word that has to be made: for benchmarks.
    pub(super) fn created_bare() -> Self {
        let body = br#"{"id":"0","label":"sandbox","resourceType":"metering","signature":"0","_links":{}}"#;
        Self::json(201, Bytes::from_static(body))
    }

    /// Revenium's `ApiError`. `code` names the problem where Revenium has a name for it.
    pub(super) fn error(at: At<'_>, status: u16, code: Option<&'static str>, message: &str) -> Self {
        let errors = code.map_or_else(Vec::new, |code| {
            vec![FieldError {
                code,
                field: String::new(),
                value: None,
                message: message.to_owned(),
                resolution: String::new(),
            }]
        });
        Self::api_error(at, status, message, &errors)
    }

    /// The 400 that names every field in breach.
    pub(super) fn invalid(at: At<'_>, errors: &[FieldError]) -> Self {
        Self::api_error(at, 400, "Validation failed", errors)
    }

    fn api_error(at: At<'_>, status: u16, message: &str, errors: &[FieldError]) -> Self {
        let fields = errors.iter().filter(|error| !error.field.is_empty());
        let body = ApiError {
            timestamp: timestamp(at.ms),
            status,
            error: StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()),
            message,
            path: at.path,
            details: fields.map(|error| (error.field.as_str(), error.message.as_str())).collect(),
            errors,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        Self::json(status, Bytes::from(body))
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The first half of the body: broken JSON.
    pub(super) fn with_half_body(self) -> Self {
        Self { body: self.body.slice(..self.body.len() / 2), ..self }
    }

    /// Tells the quota, unless a limited answer has told it.
    pub(super) fn with_quota(mut self, quota: Option<Quota>) -> Self {
        self.quota = self.quota.or(quota);
        self
    }

    pub(super) fn with_retry_after(mut self, seconds: u64) -> Self {
        self.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    pub(super) fn with_limited(mut self, reason: &str) -> Self {
        self.push(HeaderName::from_static("x-ratelimit-limited-reason"), reason);
        self
    }

    pub(super) fn with_should_retry(mut self, should_retry: bool) -> Self {
        let text = if should_retry { "true" } else { "false" };
        self.push(HeaderName::from_static("x-should-retry"), text);
        self
    }

    pub(super) fn with_location(mut self, url: &str) -> Self {
        self.push(LOCATION, url);
        self
    }

    pub(super) fn limited(at: At<'_>, quota: Quota, reason: Limited, retry_after_s: u64) -> Self {
        let message = format!("Rate limit exceeded; retry after {retry_after_s} seconds");
        let mut answer = Self::error(at, 429, Some("RATE_LIMITED"), &message)
            .with_retry_after(retry_after_s)
            .with_limited(reason.name());
        answer.quota = Some(quota);
        answer
    }

    fn push(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, if self.is_html { HTML } else { JSON });
        if let Some(quota) = self.quota {
            headers.insert(HeaderName::from_static("x-ratelimit-limit"), quota.limit.into());
            headers.insert(HeaderName::from_static("x-ratelimit-remaining"), quota.remaining.into());
            headers.insert(HeaderName::from_static("x-ratelimit-reset"), quota.reset_s.into());
            let bucket = HeaderValue::from_static("metering");
            headers.insert(HeaderName::from_static("x-ratelimit-bucket"), bucket);
        }
        headers.extend(self.headers);
        response
    }
}

/// Where and when an error happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) ms: u64,
    pub(super) path: &'a str,
}

#[derive(Serialize)]
struct ApiError<'a> {
    timestamp: String,
    status: u16,
    error: Option<&'static str>,
    message: &'a str,
    path: &'a str,
    details: BTreeMap<&'a str, &'a str>,
    errors: &'a [FieldError],
}

fn timestamp(at_ms: u64) -> String {
    let span = Duration::from_millis(at_ms);
    jiff::Timestamp::UNIX_EPOCH.checked_add(span).map_or_else(|_| String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_revenium_s_shape() {
        let errors = [FieldError {
            code: "REQUIRED",
            field: "model".to_owned(),
            value: None,
            message: "model is required".to_owned(),
            resolution: "Send model".to_owned(),
        }];
        let answer = Answer::invalid(At { ms: 1_795_420_000_000, path: "/meter/v2/ai/completions" }, &errors);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let wanted = serde_json::json!({
            "timestamp": "2026-11-23T07:46:40Z",
            "status": 400,
            "error": "Bad Request",
            "message": "Validation failed",
            "path": "/meter/v2/ai/completions",
            "details": {"model": "model is required"},
            "errors": [{
                "code": "REQUIRED", "field": "model", "value": null,
                "message": "model is required", "resolution": "Send model",
            }],
        });
        assert_eq!(body, wanted);
    }

    #[test]
    fn a_limited_answer_says_why_and_until_when() {
        let quota = Quota { limit: 1_000, remaining: 0, reset_s: 77 };
        let at = At { ms: 0, path: "/" };
        let response = Answer::limited(at, quota, Limited::ErrorPattern, 30).into_response();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(response.status(), 429);
        assert_eq!(header("retry-after"), Some("30"));
        assert_eq!(header("x-ratelimit-limited-reason"), Some("error-pattern"));
        assert_eq!(header("x-ratelimit-limit"), Some("1000"));
        assert_eq!(header("x-ratelimit-remaining"), Some("0"));
        assert_eq!(header("x-ratelimit-reset"), Some("77"));
        assert_eq!(header("x-ratelimit-bucket"), Some("metering"));
    }

    #[test]
    fn a_created_answer_is_json() {
        for answer in [Answer::created(7, 0), Answer::created_bare()] {
            let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!((answer.status, &body["resourceType"]), (201, &"metering".into()));
        }
    }
}
