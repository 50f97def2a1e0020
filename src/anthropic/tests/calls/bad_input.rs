//! What is wrong with a line is said by name, and only wrong amounts keep a call from being billed.

use revenium_anthropic::freeze;
use revenium_event::RefusalCode;
use serde_json::json;

use crate::support::*;

#[test]
fn what_is_no_call_is_refused_in_words() {
    let table = [
        ("", "", "not a line of JSON with a call; send {\"call\":{…}}"),
        ("[]", "", "not a line of JSON with a call; send {\"call\":{…}}"),
        (r#"{"call":{}"#, "", "not a line of JSON with a call; send {\"call\":{…}}"),
        ("{}", "call", "call must be an object, the facts of one call"),
        (r#"{"call":null}"#, "call", "call must be an object, the facts of one call"),
        (r#"{"call":[]}"#, "call", "call must be an object, the facts of one call"),
        (r#"{"call":{},"call":{}}"#, "call", "call is given twice; send it once"),
        (
            r#"{"call":{"model":"claude"}}"#,
            "call.usage",
            "call.usage states neither input_tokens nor output_tokens; send the provider's usage, or in ended that the answer did not come whole",
        ),
        (
            r#"{"call":{"ended":"error","request":{"model":" "}}}"#,
            "call.model",
            "call.model is missing; send the model that answered, or in call.request the one asked for",
        ),
        (
            r#"{"profile":"no/t one","call":{"model":"claude","ended":"error"}}"#,
            "profile",
            "profile must be a profile's name: 1 to 64 of A-Z a-z 0-9 _ -",
        ),
    ];
    for (line, field, message) in table {
        assert_eq!(refused(line), (field.to_owned(), message.to_owned()), "{line}");
    }
    let not_text =
        freeze(b"{\"call\":{\"model\":\"\xFF\"}}", &NUMBERED, &MINTED).expect_err("it has to be refused");
    assert_eq!(not_text.message, "not a line of JSON with a call; send {\"call\":{…}}");
}

#[test]
fn an_amount_that_is_none_is_refused_as_the_sender_knows_it() {
    let table = [
        (r#"{"input_tokens":-1}"#, "call.usage.input_tokens", "must not be negative"),
        (
            r#"{"output_tokens":1.5}"#,
            "call.usage.output_tokens",
            "must be a whole number, without fraction or exponent",
        ),
        (
            r#"{"input_tokens":9223372036854775808}"#,
            "call.usage.input_tokens",
            "must be at most 9223372036854775807",
        ),
        (r#"{"input_tokens":"many"}"#, "call.usage.input_tokens", "must be a whole number"),
        (r#"{"input_tokens":[]}"#, "call.usage.input_tokens", "must be a whole number"),
        (
            r#"{"input_tokens":1,"cache_read_input_tokens":-1}"#,
            "call.usage.cache_read_input_tokens",
            "must not be negative",
        ),
        (
            r#"{"input_tokens":1,"cache_creation_input_tokens":true}"#,
            "call.usage.cache_creation_input_tokens",
            "must be a whole number",
        ),
        (
            r#"{"input_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":-1}}"#,
            "call.usage.cache_creation.ephemeral_1h_input_tokens",
            "must not be negative",
        ),
        (
            r#"{"input_tokens":1,"output_tokens_details":{"thinking_tokens":1e3}}"#,
            "call.usage.output_tokens_details.thinking_tokens",
            "must be a whole number, without fraction or exponent",
        ),
        (r#"{"input_tokens":1,"input_tokens":2}"#, "call.usage.input_tokens", "is given twice; send it once"),
        (
            r#"{"input_tokens":1,"cache_creation":{},"cache_creation":{}}"#,
            "call.usage.cache_creation",
            "is given twice; send it once",
        ),
    ];
    for (usage, field, what) in table {
        assert_eq!(refused(&used(usage)), (field.to_owned(), format!("{field} {what}")), "{usage}");
    }
    for usage in ["[]", "7", "\"input_tokens\""] {
        assert_eq!(refused(&used(usage)).1, "call.usage must be the provider's usage, an object", "{usage}");
    }
    let both = used(r#"{"input_tokens":9223372036854775807,"output_tokens":9223372036854775807}"#);
    assert_eq!(refused(&both).0, "totalTokenCount");
}

#[test]
fn an_amount_that_came_as_text_is_taken_as_in_an_event() {
    let line = used(r#"{"input_tokens":"25","output_tokens":15}"#);
    assert_eq!(members(&event(&line), &["inputTokenCount", "totalTokenCount"]), [json!(25), json!(40)]);
}

#[test]
fn a_label_of_the_wrong_type_loses_nothing_but_itself() {
    for wrong in ["7", "true", "[1]", "{\"a\":1}", "\"\"", "null", "-1", "1e999", "\"\\ud800\""] {
        let names = [
            "provider",
            "endpoint",
            "route",
            "id",
            "request_id",
            "request",
            "stop_reason",
            "started_at_ms",
            "duration_ms",
            "time_to_first_token_ms",
            "is_streamed",
            "retry_number",
            "middleware",
            "usage_metadata",
            "prompts",
            "batch_id",
            "custom_id",
        ];
        for name in names {
            let line = format!(
                r#"{{"call":{{"model":"claude","usage":{{"input_tokens":25,"output_tokens":15}},"{name}":{wrong}}}}}"#
            );
            // Not decoded: half a surrogate pair is JSON all the same.
            let body = String::from_utf8(frozen(&line).swap_remove(0).body).expect("is text");
            assert!(body.contains(r#""totalTokenCount":40"#), "{name} {wrong}: {body}");
            assert!(body.contains(r#""requestTime":"2026-11-23T"#), "{name} {wrong}: {body}");
        }
        for name in ["ended", "error"] {
            let line = call(&format!(r#""usage":{{"input_tokens":25,"output_tokens":15}},"{name}":{wrong}"#));
            assert_eq!(event(&line)["totalTokenCount"], 40, "{name} {wrong}");
        }
    }
}

#[test]
fn a_label_of_the_wrong_type_is_missed() {
    for name in ["provider", "endpoint", "route", "batch_id", "custom_id", "request", "error", "prompts"] {
        let line = call(&format!(r#""usage":{{"input_tokens":1}},"{name}":7"#));
        assert_eq!(warnings(&line), ["call: left out, it is of the wrong type"], "{name}");
    }
    for (name, warning) in
        [("duration_ms", "requestDuration"), ("middleware", "middlewareSource"), ("id", "transactionId")]
    {
        let line = format!(r#"{{"call":{{"model":"claude","usage":{{"input_tokens":1}},"{name}":[]}}}}"#);
        assert!(warnings(&line)[0].starts_with(warning), "{name}");
    }
}

#[test]
fn everything_null_is_as_good_as_absent() {
    let line = call(
        r#""usage":{"input_tokens":25,"output_tokens":15,"cache_read_input_tokens":null,"cache_creation_input_tokens":null,"cache_creation":null,"server_tool_use":null,"service_tier":null,"iterations":null,"output_tokens_details":null},"provider":null,"endpoint":null,"route":null,"request":null,"stop_reason":null,"started_at_ms":null,"duration_ms":null,"time_to_first_token_ms":null,"is_streamed":null,"ended":null,"error":null,"retry_number":null,"middleware":null,"usage_metadata":null,"prompts":null,"batch_id":null,"custom_id":null,"request_id":null"#,
    );
    let plain = call(r#""usage":{"input_tokens":25,"output_tokens":15}"#);
    assert_eq!(event(&line), event(&plain));
    assert_eq!(warnings(&line), [""; 0]);
    let nothing = used(r#"{"input_tokens":null,"output_tokens":null}"#);
    assert_eq!(refused(&nothing).0, "call.usage");
}

#[test]
fn members_of_a_later_release_are_left_out_and_missed() {
    let line = format!(r#"{{"later":1,{}"#, &call(r#""usage":{"input_tokens":1},"tomorrow":{"a":1}"#)[1..]);
    assert_eq!(warnings(&line), ["call: left out, it has no place in this event"]);
    assert!(!String::from_utf8_lossy(&frozen(&line)[0].body).contains("tomorrow"));
}

#[test]
fn a_start_that_no_clock_can_have_meant_is_not_believed() {
    for odd in ["1795419848", "\"2026-11-23T07:44:08Z\"", "-1795419848263", "18446744073709551615"] {
        let line = call(&format!(r#""usage":{{"input_tokens":1}},"started_at_ms":{odd}"#));
        assert_eq!(event(&line)["requestTime"], "2026-11-23T07:44:08.263Z", "{odd}");
        assert_eq!(warnings(&line), ["requestTime: left out, it is out of range"], "{odd}");
    }
    let fraction = call(r#""usage":{"input_tokens":1},"started_at_ms":1795419848000.75"#);
    assert_eq!(event(&fraction)["requestTime"], "2026-11-23T07:44:08.000Z");
}

#[test]
fn a_route_that_is_not_billed_is_refused() {
    for route in ["/v1/messages/count_tokens", "messages.count_tokens", "/v1/models", "/v1/messages/batches"]
    {
        let line = call(&format!(r#""usage":{{"input_tokens":1}},"route":"{route}""#));
        assert_eq!(
            refused(&line),
            ("call.route".to_owned(), "call.route is one that is not billed; send nothing for it".to_owned())
        );
    }
    assert_eq!(event(&call(r#""usage":{"input_tokens":1},"route":"/v1/tomorrow""#))["totalTokenCount"], 1);
}

#[test]
fn metadata_of_ten_megabytes_is_too_large_and_of_the_wrong_type_is_dropped() {
    let line =
        call(&format!(r#""usage":{{"input_tokens":1}},"usage_metadata":{{"a":"{}"}}"#, "x".repeat(10 << 20)));
    let refusal = freeze(line.as_bytes(), &NUMBERED, &MINTED).expect_err("it has to be refused");
    assert_eq!(refusal.code, RefusalCode::TooLarge);
    assert!(refusal.message.starts_with("the line has 104858"), "{refusal}");
    for wrong in ["[1,2]", "\"text\"", "7"] {
        let line = call(&format!(r#""usage":{{"input_tokens":1}},"usage_metadata":{wrong}"#));
        assert_eq!(warnings(&line), ["usageMetadata: left out, it is of the wrong type"]);
    }
    let odd = call(
        r#""usage":{"input_tokens":1},"usage_metadata":{"agent":[1],"subscriber":5,"retry_number":"x","attributes":[1]}"#,
    );
    assert_eq!(event(&odd)["totalTokenCount"], 1);
}
