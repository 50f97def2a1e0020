//! What a call says, member by member, in the event.

use serde_json::{Value, json};

use crate::support::*;

#[test]
fn stop_reasons_are_those_of_revenium() {
    let table = [
        (r#""end_turn""#, "END"),
        (r#""pause_turn""#, "END"),
        (r#""compaction""#, "END"),
        (r#""stop_sequence""#, "END_SEQUENCE"),
        (r#""tool_use""#, "END_SEQUENCE"),
        (r#""max_tokens""#, "TOKEN_LIMIT"),
        (r#""model_context_window_exceeded""#, "TOKEN_LIMIT"),
        (r#""refusal""#, "ERROR"),
        (r#""content_filter""#, "ERROR"),
        (r#""cancelled""#, "CANCELLED"),
        (r#""timeout""#, "TIMEOUT"),
        ("null", "END"),
    ];
    for (word, reason) in table {
        let line = call(&format!(r#""usage":{{"input_tokens":1}},"stop_reason":{word}"#));
        assert_eq!(event(&line)["stopReason"], reason, "{word}");
        assert_eq!(warnings(&line), [""; 0], "{word}");
    }
    for word in [r#""tomorrows""#, "7"] {
        let line = call(&format!(r#""usage":{{"input_tokens":1}},"stop_reason":{word}"#));
        assert_eq!(event(&line)["stopReason"], "END", "{word}");
        assert_eq!(warnings(&line).len(), 1, "{word}");
    }
}

#[test]
fn token_buckets_are_disjoint_and_the_total_is_input_and_output() {
    const NAMES: [&str; 8] = [
        "inputTokenCount",
        "outputTokenCount",
        "totalTokenCount",
        "cacheReadTokenCount",
        "cacheCreationTokenCount",
        "cacheCreation5mTokenCount",
        "cacheCreation1hTokenCount",
        "reasoningTokenCount",
    ];
    let unsplit = |event: &Value| event["attributes"]["cacheCreationUnsplitTokenCount"].clone();
    let none = Value::Null;
    let table = [
        (r#"{"input_tokens":12,"output_tokens":30}"#, json!([12, 30, 42, 0, 0, none, none, 0]), none.clone()),
        (r#"{"input_tokens":12}"#, json!([12, 0, 12, 0, 0, none, none, 0]), none.clone()),
        (
            r#"{"input_tokens":12,"output_tokens":30,"cache_read_input_tokens":2048,"cache_creation_input_tokens":1300,"cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":300}}"#,
            json!([12, 30, 42, 2048, 1300, 1000, 300, 0]),
            none.clone(),
        ),
        // No split: nobody knows for how long it was written.
        (
            r#"{"input_tokens":4,"output_tokens":1,"cache_creation_input_tokens":1165}"#,
            json!([4, 1, 5, 0, 1165, none, none, 0]),
            none.clone(),
        ),
        // A split that leaves something.
        (
            r#"{"input_tokens":4,"output_tokens":1,"cache_creation_input_tokens":1300,"cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":100}}"#,
            json!([4, 1, 5, 0, 1300, 1000, 100, 0]),
            json!(200),
        ),
        // A split without its whole.
        (
            r#"{"input_tokens":4,"output_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":300}}"#,
            json!([4, 1, 5, 0, 1300, 1000, 300, 0]),
            none.clone(),
        ),
        // A split of more than the whole is of an earlier moment.
        (
            r#"{"input_tokens":4,"output_tokens":1,"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":1000}}"#,
            json!([4, 1, 5, 0, 10, none, none, 0]),
            none.clone(),
        ),
        (
            r#"{"input_tokens":9007199254740993,"output_tokens":344,"output_tokens_details":{"thinking_tokens":33}}"#,
            json!([9_007_199_254_740_993_u64, 344, 9_007_199_254_741_337_u64, 0, 0, none, none, 33]),
            none.clone(),
        ),
    ];
    for (usage, counts, left) in table {
        let event = event(&used(usage));
        assert_eq!(json!(members(&event, &NAMES)), counts, "{usage}");
        assert_eq!(unsplit(&event), left, "{usage}");
    }
}

#[test]
fn what_has_no_field_is_kept_verbatim_under_attributes() {
    let line = used(
        r#"{"input_tokens":1,"output_tokens":1,"inference_geo":"eu","server_tool_use":{"web_search_requests":2,"web_fetch_requests":1,"new_requests":3},"cost":1.50,"tomorrow":{"a":[1,null]},"fallback_credit":null,"service_tier":"priority","speed":"fast","output_tokens_details":{"thinking_tokens":0,"audio_tokens":5},"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_24h_input_tokens":7},"cache_creation_input_tokens":7}"#,
    );
    let event = event(&line);
    assert_eq!(
        event["attributes"],
        json!({
            "cacheCreationUnsplitTokenCount": 7,
            "inference_geo": "eu", "web_search_requests": 2, "web_fetch_requests": 1, "new_requests": 3,
            "cost": 1.5, "tomorrow": {"a": [1, null]},
            "output_tokens_details": {"thinking_tokens": 0, "audio_tokens": 5},
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_24h_input_tokens": 7},
        })
    );
    assert_eq!(
        members(&event, &["actualServiceTier", "speed", "pricingTier"]),
        [json!("priority"), json!("fast"), Value::Null]
    );
    let body = String::from_utf8(frozen(&line)[0].body.clone()).expect("is text");
    assert!(body.contains(r#""cost":1.50"#), "digits stay: {body}");
}

#[test]
fn a_known_member_that_is_something_else_than_it_was_is_kept_too() {
    let line = used(
        r#"{"input_tokens":1,"cache_creation":5,"output_tokens_details":[1],"server_tool_use":"x","model":"m","type":"t"}"#,
    );
    let kept = json!({"cache_creation": 5, "output_tokens_details": [1], "server_tool_use": "x", "model": "m", "type": "t"});
    assert_eq!(event(&line)["attributes"], kept);
    let late = used(
        r#"{"input_tokens":1,"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":1000}}"#,
    );
    assert_eq!(event(&late)["attributes"], json!({"cache_creation": {"ephemeral_5m_input_tokens": 1000}}));
}

#[test]
fn a_call_without_peculiarities_has_no_attributes() {
    let line = used(
        r#"{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"server_tool_use":null,"inference_geo":null}"#,
    );
    assert_eq!(event(&line).get("attributes"), None);
}

#[test]
fn a_story_in_the_usage_finds_no_room_and_is_missed() {
    let line = used(&format!(
        r#"{{"input_tokens":1,"output_tokens":2,"story":"{}","short":1}}"#,
        "x".repeat(20_000)
    ));
    let event = event(&line);
    assert_eq!((&event["attributes"], &event["totalTokenCount"]), (&json!({"short": 1}), &json!(3)));
    assert_eq!(warnings(&line), ["attributes: left out, it is out of range"]);
}

#[test]
fn a_batchs_call_has_the_batchs_price() {
    let table = [
        r#""usage":{"input_tokens":1,"service_tier":"batch"}"#,
        r#""usage":{"input_tokens":1},"route":"/v1/messages/batches/msgbatch_1/results""#,
        r#""usage":{"input_tokens":1},"batch_id":"msgbatch_1""#,
    ];
    for members in table {
        assert_eq!(event(&call(members))["pricingTier"], "BATCH", "{members}");
    }
    assert_eq!(event(&used(r#"{"input_tokens":1}"#)).get("pricingTier"), None);
    // A label that is none is dropped, and halves no price.
    for batch_id in ["null", r#""""#, r#"" ""#, "false", "0", "{}"] {
        let line = call(&format!(r#""usage":{{"input_tokens":1}},"batch_id":{batch_id}"#));
        assert_eq!(event(&line).get("pricingTier"), None, "{batch_id}");
    }
}

#[test]
fn a_failed_call_is_a_record_without_tokens() {
    let table = [
        (
            r#""ended":"error","error":{"status":429,"type":"rate_limit_error"}"#,
            json!(429),
            "rate_limit_error (HTTP 429)",
        ),
        (
            r#""error":{"status":429,"type":"rate_limit_error","class":"RateLimitError"}"#,
            json!(429),
            "RateLimitError (HTTP 429)",
        ),
        (r#""error":{"status":502}"#, json!(502), "HTTP 502"),
        (r#""error":{"class":"APIConnectionError"}"#, Value::Null, "APIConnectionError"),
        (r#""error":{"status":200,"type":"overloaded_error"}"#, Value::Null, "overloaded_error"),
        (r#""error":{"status":"x","type":5,"class":" "}"#, Value::Null, "error"),
        (r#""ended":"error""#, Value::Null, "error"),
    ];
    for (ended, code, reason) in table {
        let line = format!(r#"{{"call":{{"request":{{"model":"claude-opus-4"}},{ended}}}}}"#);
        let event = event(&line);
        let names = [
            "stopReason",
            "errorCode",
            "errorReason",
            "inputTokenCount",
            "outputTokenCount",
            "totalTokenCount",
            "attributes",
        ];
        assert_eq!(
            members(&event, &names),
            [json!("ERROR"), code, json!(reason), json!(0), json!(0), json!(0), Value::Null],
            "{ended}"
        );
        assert_eq!(event["model"], "claude-opus-4");
    }
}

#[test]
fn what_was_given_up_or_cut_is_metered_with_what_was_seen() {
    let table = [
        (r#""ended":"cancelled""#, "CANCELLED", Value::Null),
        (r#""ended":"cut""#, "ERROR", json!("cut off before its end")),
        (r#""ended":"error","error":{"type":"overloaded_error"}"#, "ERROR", json!("overloaded_error")),
        // A word of a later release is not taken for an answer that came whole.
        (r#""ended":"evaporated""#, "ERROR", json!("error")),
    ];
    for (ended, reason, why) in table {
        let line = call(&format!(
            r#""usage":{{"input_tokens":25,"output_tokens":1}},"stop_reason":"end_turn",{ended}"#
        ));
        let event = event(&line);
        assert_eq!(
            members(&event, &["stopReason", "errorReason", "totalTokenCount"]),
            [json!(reason), why, json!(26)],
            "{ended}"
        );
        assert_eq!(event["attributes"], json!({"isPartial": true}), "{ended}");
    }
    assert_eq!(
        warnings(&call(r#""ended":"evaporated""#)),
        ["stopReason: replaced, it is not one of the listed values"]
    );
    let nothing = event(&call(r#""ended":"cancelled""#));
    assert_eq!(
        members(&nothing, &["stopReason", "totalTokenCount", "attributes"]),
        [json!("CANCELLED"), json!(0), json!({"isPartial": true})]
    );
}

#[test]
fn times_follow_from_one_wall_clock_and_monotonic_durations() {
    const NAMES: [&str; 5] =
        ["requestTime", "completionStartTime", "responseTime", "requestDuration", "timeToFirstToken"];
    let table = [
        (
            r#""started_at_ms":1795419848263,"duration_ms":1000,"time_to_first_token_ms":400,"is_streamed":true"#,
            json!([
                "2026-11-23T07:44:08.263Z",
                "2026-11-23T07:44:08.663Z",
                "2026-11-23T07:44:09.263Z",
                1000,
                400
            ]),
        ),
        (
            r#""started_at_ms":1795419848263,"duration_ms":1000"#,
            json!([
                "2026-11-23T07:44:08.263Z",
                "2026-11-23T07:44:09.263Z",
                "2026-11-23T07:44:09.263Z",
                1000,
                1000
            ]),
        ),
        // Nothing came before it broke off.
        (
            r#""started_at_ms":1795419848263,"duration_ms":1000,"is_streamed":true"#,
            json!([
                "2026-11-23T07:44:08.263Z",
                "2026-11-23T07:44:09.263Z",
                "2026-11-23T07:44:09.263Z",
                1000,
                null
            ]),
        ),
        (
            r#""duration_ms":1000"#,
            json!([
                "2026-11-23T07:44:07.263Z",
                "2026-11-23T07:44:08.263Z",
                "2026-11-23T07:44:08.263Z",
                1000,
                1000
            ]),
        ),
        (
            "",
            json!([
                "2026-11-23T07:44:08.263Z",
                "2026-11-23T07:44:08.263Z",
                "2026-11-23T07:44:08.263Z",
                0,
                null
            ]),
        ),
    ];
    for (times, expected) in table {
        let comma = if times.is_empty() { "" } else { "," };
        let event = event(&call(&format!(r#""usage":{{"input_tokens":1}}{comma}{times}"#)));
        assert_eq!(json!(members(&event, &NAMES)), expected, "{times}");
    }
}

#[test]
fn metadata_is_the_applications_and_the_calls_own_words_win() {
    let metadata = r#""usage":{"input_tokens":25,"output_tokens":15},"usage_metadata":{"task_type":"summary","transaction_id":"constant","inputTokenCount":1,"total_token_count":1,"cacheReadTokenCount":5,"model":"mine","attributes":{"isPartial":"mine","team":"red"},"subscriber_id":"u-1"}"#;
    let line = call(&format!(r#"{metadata},"ended":"cut""#));
    let event = event(&line);
    let names = [
        "transactionId",
        "model",
        "inputTokenCount",
        "totalTokenCount",
        "cacheReadTokenCount",
        "transactionName",
        "taskType",
    ];
    assert_eq!(
        members(&event, &names),
        [
            json!("msg_01"),
            json!("claude-opus-4"),
            json!(25),
            json!(40),
            json!(0),
            json!("summary"),
            json!("summary")
        ]
    );
    assert_eq!(event["attributes"], json!({"isPartial": true, "team": "red"}));
    assert_eq!(event["subscriber"], json!({"id": "u-1"}));
    let named = call(
        r#""usage":{"input_tokens":1},"usage_metadata":{"task_type":"summary","transactionName":"mine"}"#,
    );
    assert_eq!(self::event(&named)["transactionName"], "mine");
    let blank =
        call(r#""usage":{"input_tokens":1},"usage_metadata":{"taskType":"summary","transaction_name":" "}"#);
    assert_eq!(self::event(&blank)["transactionName"], "summary");
}

#[test]
fn the_provider_is_where_the_call_went_unless_the_client_knows_better() {
    let table = [
        ("", "ANTHROPIC", json!("ANTHROPIC")),
        (r#","endpoint":"https://bedrock-runtime.us-east-1.amazonaws.com""#, "AWS", json!("ANTHROPIC")),
        (r#","endpoint":"https://us-east5-aiplatform.googleapis.com""#, "Google Vertex", json!("ANTHROPIC")),
        (r#","endpoint":"https://x.services.ai.azure.com/anthropic""#, "Foundry", json!("ANTHROPIC")),
        (r#","provider":"Foundry","endpoint":"https://proxy.corp.example""#, "Foundry", json!("ANTHROPIC")),
        (
            r#","endpoint":"https://api.minimax.io/anthropic","model":"MiniMax-M2""#,
            "api.minimax.io",
            Value::Null,
        ),
    ];
    for (members_given, provider, source) in table {
        let model = if members_given.contains("model") { "" } else { r#","model":"claude-opus-4""# };
        let line = format!(r#"{{"call":{{"usage":{{"input_tokens":1}}{model}{members_given}}}}}"#);
        assert_eq!(
            members(&event(&line), &["provider", "modelSource"]),
            [json!(provider), source],
            "{members_given}"
        );
    }
}
