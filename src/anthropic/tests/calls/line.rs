//! What is written as a [`Call`] is read as it was meant.

use revenium_anthropic::{Call, Ended, Failure, Prompts, Request, Response};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::support::{event, frozen};

fn raw(json: &str) -> Option<Box<RawValue>> {
    Some(RawValue::from_string(json.to_owned()).expect("is JSON"))
}

/// A call with every member.
fn whole() -> Call {
    Call {
        provider: Some("Foundry".into()),
        endpoint: Some("https://x.services.ai.azure.com/anthropic".into()),
        route: Some("/v1/messages/batches/msgbatch_1/results".into()),
        request: Request {
            model: Some("claude-opus-4-0".into()),
            has_tools: true,
            has_vision: true,
            temperature: Some(0.5),
            service_tier: Some("auto".into()),
            effort: Some("high".into()),
        },
        response: Response {
            id: Some("msg_01".into()),
            request_id: Some("req_01".into()),
            model: Some("claude-opus-4-20250514".into()),
            stop_reason: Some("max_tokens".into()),
            usage: raw(r#"{"input_tokens":25,"output_tokens":15}"#),
            time_to_first_token_ms: Some(50),
            ended: Ended::Complete,
        },
        started_at_ms: Some(1_795_419_848_000),
        duration_ms: Some(143),
        is_streamed: true,
        retry_number: Some(2),
        middleware: Some("test/1".into()),
        usage_metadata: raw(r#"{"agent":"support"}"#),
        prompts: Some(Prompts {
            system: Some("s".into()),
            input: Some("[]".into()),
            output: Some("o".into()),
            truncated: true,
        }),
        batch_id: Some("msgbatch_1".into()),
        custom_id: Some("c-1".into()),
    }
}

#[test]
fn every_member_that_is_written_is_read() {
    let line = whole().to_line();
    assert_eq!(frozen(&line)[0].warnings, []);
    let expected: Value = serde_json::from_str(
        r#"{"transactionId":"msg_01","model":"claude-opus-4-20250514","provider":"Foundry","modelSource":"ANTHROPIC",
            "costType":"AI","isStreamed":true,"operationType":"TOOL_CALL","requestTime":"2026-11-23T07:44:08.000Z",
            "completionStartTime":"2026-11-23T07:44:08.050Z","responseTime":"2026-11-23T07:44:08.143Z",
            "requestDuration":143,"timeToFirstToken":50,"retryNumber":2,"middlewareSource":"test/1","temperature":0.5,
            "effort":"high","requestedServiceTier":"auto","pricingTier":"BATCH","inputTokenCount":25,
            "outputTokenCount":15,"totalTokenCount":40,"cacheReadTokenCount":0,"cacheCreationTokenCount":0,
            "reasoningTokenCount":0,"stopReason":"TOKEN_LIMIT","hasVisionContent":true,"systemPrompt":"s",
            "inputMessages":"[]","outputResponse":"o","promptsTruncated":true,"agent":"support",
            "attributes":{"batchId":"msgbatch_1","customId":"c-1"}}"#,
    )
    .expect("is JSON");
    assert_eq!(event(&line), expected);
}

#[test]
fn every_way_to_end_is_written_as_it_is_read() {
    let failure = Failure { status: Some(529), kind: Some("overloaded_error".into()), class: None };
    let table = [
        (Ended::Complete, "TOKEN_LIMIT", Value::Null),
        (Ended::Cancelled, "CANCELLED", Value::Null),
        (Ended::Cut, "ERROR", "cut off before its end".into()),
        (Ended::Error(failure), "ERROR", "overloaded_error (HTTP 529)".into()),
    ];
    for (ended, stop_reason, error_reason) in table {
        let mut call = whole();
        call.response.ended = ended.clone();
        let event = event(&call.to_line());
        assert_eq!(
            (&event["stopReason"], event.get("errorReason").unwrap_or(&Value::Null)),
            (&stop_reason.into(), &error_reason),
            "{ended:?}"
        );
    }
}

#[test]
fn the_documented_example_is_a_call() {
    let doc = include_str!("../../call.rs");
    let example = doc.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("is there");
    let line: String = example.lines().map(|line| line.trim_start_matches("//!").trim()).collect();
    let frozen = frozen(&line.replace('…', "x"));
    assert_eq!(frozen[0].warnings, []);
    assert_eq!((frozen[0].transaction_id.as_str(), frozen[0].tokens.input), ("msg_01x", 25));
}

#[test]
fn debug_shows_neither_metadata_nor_prompts() {
    let mut call = whole();
    call.usage_metadata = raw(r#"{"agent":"not to be shown"}"#);
    let shown =
        format!("{call:?} {:?}", Prompts { system: Some("not to be shown".into()), ..Prompts::default() });
    assert!(!shown.contains("not to be shown"), "{shown}");
}
