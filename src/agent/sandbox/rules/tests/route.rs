//! What a route asks for.

use serde_json::json;

use super::*;

#[test]
fn the_smallest_body_of_every_route_is_stored() {
    for route in &ROUTES {
        let body = serde_json::to_string(&smallest(route.kind)).expect("JSON");
        assert_eq!(judge_body(route.kind, &body), Verdict::Stored, "{}", route.kind);
    }
}

#[test]
fn every_required_field_is_asked_for_by_name() {
    for route in &ROUTES {
        let required: Vec<_> = route.fields().filter(|field| field.is_required).collect();
        for field in required {
            let mut body = smallest(route.kind);
            assert!(body.remove(field.name).is_some(), "{} has {}", route.kind, field.name);
            let without = judge_body(route.kind, &serde_json::to_string(&body).expect("JSON"));
            assert_eq!(refused_fields(&without), [(field.name, "REQUIRED")], "{}", route.kind);
            let null = with(route.kind, field.name, "null");
            assert_eq!(refused_fields(&null), [(field.name, "REQUIRED")], "{}", route.kind);
        }
    }
    assert_eq!(refused_fields(&with("completion", "model", "\" \"")), [("model", "REQUIRED")]);
}

#[test]
fn the_required_fields_are_the_documented_ones() {
    let required = |kind: &str| {
        let route = ROUTES.iter().find(|route| route.kind == kind).expect("a kind");
        let mut names: Vec<_> = route.fields().filter(|f| f.is_required).map(|f| f.name).collect();
        names.sort_unstable();
        names.join(" ")
    };
    let media = "model provider requestDuration requestTime responseTime transactionId";
    let table = [
        (
            "completion",
            "completionStartTime inputTokenCount model outputTokenCount provider requestDuration \
             requestTime responseTime stopReason totalTokenCount",
        ),
        (
            "image",
            "actualImageCount model provider requestDuration requestTime requestedImageCount \
             responseTime transactionId",
        ),
        ("audio", media),
        ("video", "durationSeconds model provider requestDuration requestTime responseTime transactionId"),
        ("tool", "timestamp toolId transactionId"),
        ("generic", "payload transactionId"),
        ("api-request", "transactionId"),
        ("api-response", "responseCode transactionId"),
    ];
    for (kind, names) in table {
        assert_eq!(required(kind), names, "{kind}");
    }
}

#[test]
fn every_optional_field_may_be_null_and_unknown_fields_are_ignored() {
    for route in &ROUTES {
        for field in route.fields().filter(|field| !field.is_required) {
            let is_of_a_choice = route.one_of.contains(&field.name);
            let verdict = with(route.kind, field.name, "null");
            assert!(is_of_a_choice || verdict == Verdict::Stored, "{} {}", route.kind, field.name);
        }
        assert_eq!(with(route.kind, "brandNew", "[1]"), Verdict::Stored);
    }
    let null = |name| with("completion", name, r#"{"id":null,"email":null,"credential":null}"#);
    assert_eq!(null("subscriber"), Verdict::Stored);
}

#[test]
fn a_tool_event_has_a_uuid() {
    for (raw, is_good) in [
        ("1a8cdc99-9737-4cc6-a43c-61f14ae57eb9", true),
        ("1A8CDC99-9737-4CC6-A43C-61F14AE57EB9", true),
        ("1a8cdc9997374cc6a43c61f14ae57eb9", false),
        ("1a8cdc99-9737-4cc6-a43c-61f14ae57eb", false),
        ("1a8cdc99-9737-4cc6-a43c-61f14ae57eb9a", false),
        ("1a8cdc99-9737-4cc6-a43c-61f14ae57ebg", false),
        ("msg_01", false),
    ] {
        let verdict = with("tool", "transactionId", &format!("\"{raw}\""));
        assert_eq!(verdict == Verdict::Stored, is_good, "{raw}");
    }
    assert_eq!(with("completion", "transactionId", "\"msg_01\""), Verdict::Stored);
}

#[test]
fn audio_has_a_duration_or_a_number_of_characters() {
    let mut body = smallest("audio");
    body.remove("durationSeconds");
    let without = judge_body("audio", &serde_json::to_string(&body).expect("JSON"));
    assert_eq!(refused_fields(&without), [("durationSeconds", "REQUIRED")]);
    body.insert("characterCount".to_owned(), json!(7));
    assert_eq!(judge_body("audio", &serde_json::to_string(&body).expect("JSON")), Verdict::Stored);
}

#[test]
fn every_breach_is_named_at_once_and_a_refusal_goes_before_vanishing() {
    let body = json!({"model": "", "speed": "too fast!", "productName": "p".repeat(225)});
    let verdict = judge_body("completion", &body.to_string());
    let fields = refused_fields(&verdict);
    assert_eq!(fields.len(), 11, "ten required and one guard: {fields:?}");
    assert!(fields.contains(&("speed", "INVALID_VALUE")) && fields.contains(&("model", "REQUIRED")));
}

#[test]
fn a_refusal_tells_back_a_bounded_part_of_the_value() {
    let Verdict::Refused(errors) = with("completion", "effort", &text(1_000)) else { panic!("refused") };
    assert_eq!(errors[0].value.as_deref().map(|value| value.chars().count()), Some(VALUE_CHARS_MAX));
}

#[test]
fn routes_are_exact() {
    assert_eq!(route("/meter/v2/ai/audio").map(|route| route.kind), Some("audio"));
    for path in ["/meter/v2/ai/audio/", "/v2/ai/audio", "/meter/v2/ai", "", "/meter/v2/ai/completions/batch"]
    {
        assert!(route(path).is_none(), "{path}");
    }
}

/// Bodies that the official Python SDK was recorded sending.
#[test]
fn what_an_official_sdk_sends_is_stored() {
    let full = r#"{"completionStartTime":"2026-11-23T07:44:08Z","costType":"AI","inputTokenCount":25,"isStreamed":false,"model":"claude-3-haiku-20240307","outputTokenCount":15,"provider":"ANTHROPIC","requestDuration":143,"requestTime":"2026-11-23T07:44:07Z","responseTime":"2026-11-23T07:44:08Z","stopReason":"END","totalTokenCount":40,"transactionId":"msg_01FAKE0001","agent":"support-agent","cacheCreation1hTokenCount":0,"cacheCreation5mTokenCount":0,"cacheCreationTokenCount":0,"cacheReadTokenCount":0,"inputTokenCost":null,"middlewareSource":"PYTHON","modelSource":"ANTHROPIC","operationType":"CHAT","organizationName":"acme-corp","outputTokenCost":null,"productName":"support-bot","reasoningTokenCount":0,"responseQualityScore":0.92,"subscriber":{"id":"user-1234","email":"user@example.com","credential":{"name":"engineering-api-key","value":"cred-value-1"}},"subscriptionId":"pro-plan-Q1","taskType":"customer-support","timeToFirstToken":143,"totalCost":null,"traceId":"conv-28a7e9d4","environment":null,"operationSubtype":null,"parentTransactionId":null,"region":null,"retryNumber":0,"traceName":null,"ticketId":null,"agentVersion":null,"traceType":null,"transactionName":"customer-support","systemPrompt":null,"inputMessages":null,"outputResponse":null,"promptsTruncated":null}"#;
    assert_eq!(judge_body("completion", full), Verdict::Stored);
    let tool = r#"{"transactionId":"1a8cdc99-9737-4cc6-a43c-61f14ae57eb9","toolId":"customer-database","operation":"lookup","durationMs":0,"success":true,"timestamp":"2026-11-23T07:44:33Z","usageMetadata":{"plan":"Enterprise"},"agent":"support-bot","organizationName":"AcmeCorp","productName":"bot","subscriberCredential":"cred-1","workflowId":"wf-1","traceId":"t-1"}"#;
    assert_eq!(judge_body("tool", tool), Verdict::Stored);
    let event = r#"{"payload":{"storageGB":15.5,"apiCalls":1250},"sourceType":"SDK_RUST","transactionId":"ev-1","subscriberCredential":"cust-1"}"#;
    assert_eq!(judge_body("generic", event), Verdict::Stored);
}
