//! The same calls that Revenium's official SDK was recorded with make the same events.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::event;

/// What differs from the official record, and why.
const DIFFERENCES: [(&str, &str); 7] = [
    ("requestTime", "a clock; the official one has seconds, ours milliseconds"),
    ("responseTime", "a clock"),
    ("completionStartTime", "a clock"),
    ("transactionId", "a failed call's: random there, here it follows from the line's key"),
    ("retryNumber", "0 there when nobody said it; absent here"),
    ("actualServiceTier", "the provider says it, the official SDK leaves it out"),
    ("middlewareSource", "who reports"),
];

/// What differs for the stream that broke off, beside that.
const OF_THE_BROKEN_STREAM: [(&str, &str); 3] = [
    ("stopReason", "END there; it is an ERROR"),
    ("errorReason", "absent there"),
    ("attributes", "says that the counts are partial"),
];

/// As `response.usage.model_dump_json()` writes it.
const USAGE: &str = r#""usage":{"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":0},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"inference_geo":null,"input_tokens":25,"output_tokens":15,"output_tokens_details":null,"server_tool_use":null,"service_tier":"standard","speed":null}"#;
const CACHED: &str = r#""usage":{"cache_creation":{"ephemeral_1h_input_tokens":300,"ephemeral_5m_input_tokens":1000},"cache_creation_input_tokens":1300,"cache_read_input_tokens":2048,"inference_geo":null,"input_tokens":12,"output_tokens":30,"output_tokens_details":null,"server_tool_use":null,"service_tier":"standard","speed":null}"#;
const BROKEN: &str = r#""usage":{"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":0},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"input_tokens":25,"output_tokens":1}"#;

const HAIKU: &str = r#""model":"claude-3-haiku-20240307","stop_reason":"end_turn""#;
const SONNET: &str = r#""model":"claude-sonnet-4-20250514","stop_reason":"end_turn""#;
const ASKED: &str = r#""request":{"model":"claude-sonnet-4-20250514"},"ended":"error""#;

/// Each recorded call: its file, the facts of it, and how its metering record differs beside the rule.
fn calls() -> Vec<(&'static str, String)> {
    let one = |number: u32, parts: &[&str]| format!(r#""id":"msg_01FAKE{number:04}",{}"#, parts.join(","));
    vec![
        (
            "01_create_seed_flat_metadata",
            one(
                1,
                &[
                    HAIKU,
                    USAGE,
                    r#""duration_ms":143,"usage_metadata":{"trace_id":"conv-28a7e9d4","task_type":"customer-support","subscriber_id":"user-1234","subscriber_email":"user@example.com","subscriber_credential_name":"engineering-api-key","subscriber_credential":"cred-value-1","organization_id":"acme-corp","subscription_id":"pro-plan-Q1","product_id":"support-bot","agent":"support-agent","response_quality_score":0.92}"#,
                ],
            ),
        ),
        (
            "02_create_nested_subscriber",
            one(
                2,
                &[
                    HAIKU,
                    USAGE,
                    r#""duration_ms":144,"usage_metadata":{"trace_id":"conv-28a7e9d4","task_type":"customer-support","subscriber":{"id":"user-1234","email":"user@example.com","credential":{"name":"engineering-api-key","value":"cred-value-1"}},"organizationName":"AcmeCorp","subscription_id":"pro-plan-Q1","productName":"customer-support-chatbot","agent":"support-agent","response_quality_score":0.92,"effort":"high"}"#,
                ],
            ),
        ),
        ("03_create_no_metadata", one(3, &[HAIKU, USAGE, r#""duration_ms":141"#])),
        (
            "04_messages_stream_text_stream",
            one(
                4,
                &[
                    HAIKU,
                    USAGE,
                    r#""duration_ms":293,"time_to_first_token_ms":110,"is_streamed":true,"usage_metadata":{"task_type":"creative","trace_id":"s-1"}"#,
                ],
            ),
        ),
        (
            "05_create_stream_true",
            one(
                5,
                &[
                    HAIKU,
                    USAGE,
                    r#""duration_ms":288,"time_to_first_token_ms":10,"is_streamed":true,"usage_metadata":{"task_type":"creative"}"#,
                ],
            ),
        ),
        (
            "07_tool_use",
            one(
                9,
                &[
                    USAGE,
                    r#""model":"claude-sonnet-4-20250514","stop_reason":"tool_use","duration_ms":143,"request":{"has_tools":true}"#,
                ],
            ),
        ),
        ("09_cache_tokens", one(15, &[SONNET, CACHED, r#""duration_ms":142"#])),
        (
            "09_cache_tokens_2",
            one(16, &[SONNET, CACHED, r#""duration_ms":290,"time_to_first_token_ms":0,"is_streamed":true"#]),
        ),
        ("10_provider_errors", failed(4, "RateLimitError", 429)),
        ("10_provider_errors_2", failed(33, "BadRequestError", 400)),
        ("10_provider_errors_3", failed(46, "OverloadedError", 529)),
        (
            "10_provider_errors_4",
            one(
                17,
                &[
                    r#""model":"claude-sonnet-4-20250514""#,
                    BROKEN,
                    r#""duration_ms":164,"time_to_first_token_ms":52,"is_streamed":true,"ended":"cut","error":{"class":"RemoteProtocolError"}"#,
                ],
            ),
        ),
        (
            "11_prompt_capture",
            one(
                18,
                &[
                    SONNET,
                    USAGE,
                    r#""duration_ms":135,"prompts":{"system":"You are a helpful assistant.","input":"[{\"role\": \"user\", \"content\": \"Please verify you are ready to assist me.\"}]","output":"Hello from the fake model.","truncated":false}"#,
                ],
            ),
        ),
    ]
}

fn failed(duration_ms: u32, class: &str, status: u32) -> String {
    format!(
        r#"{ASKED},"duration_ms":{duration_ms},"error":{{"class":"{class}","status":{status}}},"usage_metadata":{{"trace_id":"{status}"}}"#
    )
}

/// The members that say something, those apart that may differ.
fn comparable(event: Value, different: &[&str]) -> BTreeMap<String, Value> {
    let Value::Object(members) = event else { unreachable!("an event is an object") };
    members
        .into_iter()
        .filter(|(name, value)| !value.is_null() && !different.contains(&name.as_str()))
        .collect()
}

#[test]
fn a_call_becomes_what_the_official_sdk_makes_of_it() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../event/fixtures");
    for (name, call) in calls() {
        let official = fs::read(fixtures.join(format!("{name}.json"))).expect("the recording is there");
        let official: Value = serde_json::from_slice(&official).expect("is JSON");
        let ours = event(&format!(r#"{{"call":{{"middleware":"test",{call}}}}}"#));
        let mut different: Vec<&str> = DIFFERENCES.map(|(name, _)| name).to_vec();
        if ours["errorCode"].is_null() {
            different.retain(|name| *name != "transactionId");
        }
        if name == "10_provider_errors_4" {
            different.extend(OF_THE_BROKEN_STREAM.map(|(name, _)| name));
        }
        for name in ["requestTime", "responseTime", "completionStartTime", "transactionId"] {
            assert!(ours[name].is_string(), "{name}");
        }
        assert_eq!(comparable(ours, &different), comparable(official, &different), "{name}");
    }
}

#[test]
fn a_stream_that_broke_off_says_so() {
    let (_, call) = calls().into_iter().find(|(name, _)| *name == "10_provider_errors_4").expect("is listed");
    let ours = event(&format!(r#"{{"call":{{{call}}}}}"#));
    assert_eq!(ours["stopReason"], "ERROR");
    assert_eq!(ours["errorReason"], "RemoteProtocolError");
    assert_eq!(ours["attributes"], serde_json::json!({"isPartial": true}));
}
