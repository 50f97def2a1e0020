//! Every rule at its limit and one past it.

mod field;
mod route;

use serde_json::{Map, Value, json};

use super::*;

/// The smallest body that each route takes, in the order of [`ROUTES`].
fn smallest(kind: &str) -> Map<String, Value> {
    let media = json!({"model": "m", "provider": "p", "requestDuration": 3000,
        "requestTime": "2026-11-23T10:00:00Z", "responseTime": "2026-11-23T10:00:03Z", "transactionId": "tx-1"});
    let with = |mut base: Value, more: Value| {
        base.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        base
    };
    let body = match kind {
        "completion" => json!({"model": "claude-sonnet-4-20250514", "provider": "ANTHROPIC",
            "inputTokenCount": 25, "outputTokenCount": 15, "totalTokenCount": 40,
            "requestTime": "2026-11-23T07:44:07.120Z", "completionStartTime": "2026-11-23T07:44:08.010Z",
            "responseTime": "2026-11-23T07:44:08.263Z", "requestDuration": 1143, "stopReason": "END"}),
        "image" => with(media, json!({"requestedImageCount": 2, "actualImageCount": 2})),
        "audio" => with(media, json!({"durationSeconds": 12.5})),
        "video" => with(media, json!({"durationSeconds": 4})),
        "tool" => json!({"transactionId": "1a8cdc99-9737-4cc6-a43c-61f14ae57eb9",
            "toolId": "customer-database", "timestamp": "2026-11-23T07:44:33Z"}),
        "generic" => json!({"payload": {"storageGB": 15.5}, "transactionId": "ev-1"}),
        "api-request" => json!({"transactionId": "api-1"}),
        "api-response" => json!({"transactionId": "api-1", "responseCode": 200}),
        other => panic!("no such kind: {other}"),
    };
    body.as_object().expect("an object").clone()
}

fn judge_body(kind: &str, body: &str) -> Verdict {
    let route = ROUTES.iter().find(|route| route.kind == kind).expect("a kind");
    judge(route, &Members::parse(body.as_bytes()).expect("an object"))
}

/// The verdict on the smallest body of `kind` with `raw` as the value of `name`.
fn with(kind: &str, name: &str, raw: &str) -> Verdict {
    let mut body = smallest(kind);
    body.remove(name);
    let rest = serde_json::to_string(&body).expect("JSON");
    let comma = if body.is_empty() { "" } else { "," };
    judge_body(kind, &format!("{{\"{name}\":{raw}{comma}{}", &rest[1..]))
}

fn text(chars: usize) -> String {
    format!("\"{}\"", "\u{e9}".repeat(chars))
}

fn refused_fields(verdict: &Verdict) -> Vec<(&str, &str)> {
    match verdict {
        Verdict::Refused(errors) => errors.iter().map(|error| (error.field.as_str(), error.code)).collect(),
        _ => Vec::new(),
    }
}
