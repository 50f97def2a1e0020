//! Every guard at its limit and one past, and what is kept when it acts.

use serde_json::{Value, json};

use crate::support::*;

fn text(chars: usize) -> String {
    "ä".repeat(chars)
}

#[test]
fn text_is_cut_at_its_column_and_not_before() {
    let columns = [
        ("transactionName", 255),
        ("taskType", 255),
        ("agent", 255),
        ("subscriptionId", 255),
        ("parentTransactionId", 255),
        ("environment", 255),
        ("region", 255),
        ("traceId", 255),
        ("operationSubtype", 255),
        ("errorReason", 255),
        ("productName", 224),
        ("traceName", 256),
        ("ticketId", 256),
        ("agentVersion", 64),
        ("skillName", 256),
        ("skillPluginName", 256),
        ("skillMarketplaceName", 256),
        ("skillInvocationTrigger", 32),
        ("agenticJobName", 512),
        ("agenticJobType", 128),
        ("agenticJobVersion", 64),
        ("modelHost", 50),
        ("middlewareSource", 255),
        ("subscriberEmailSource", 20),
    ];
    for (field, chars_max) in columns {
        let fits = with(COMPLETION, &format!("\"{field}\":\"{}\"", text(chars_max)));
        assert_eq!(body(&frozen(&fits)), fits, "{field}");

        let long = frozen(&with(COMPLETION, &format!("\"{field}\":\"{}\"", text(chars_max + 1))));
        assert_eq!(body(&long), fits, "{field}");
        let expected = format!("{field}: cut from {} to {chars_max} characters", chars_max + 1);
        assert_eq!(warnings(&long), [expected]);
    }
}

#[test]
fn a_product_name_of_300_characters_keeps_224_and_the_record() {
    let long = frozen(&with(COMPLETION, &format!("\"productName\":\"{}\"", text(300))));
    assert_eq!(json(&long)["productName"], text(224));
    assert_eq!(warnings(&long), ["productName: cut from 300 to 224 characters"]);
}

#[test]
fn the_columns_hold_for_tools_and_media_too() {
    for base in [IMAGE, AUDIO, VIDEO, TOOL] {
        let long = frozen(&with(base, &format!("\"agent\":\"{}\"", text(256))));
        assert_eq!(json(&long)["agent"], text(255));
    }
}

/// What became of `field`, given this raw value in this base, and the warning.
fn guarded(base: &str, field: &str, raw: &str) -> (Option<Value>, Vec<String>) {
    let frozen = frozen(&with(base, &format!("\"{field}\":{raw}")));
    (json(&frozen).get(field).cloned(), warnings(&frozen))
}

#[track_caller]
fn keeps(base: &str, field: &str, raw: &str) {
    let value = serde_json::from_str(raw).expect("the value is JSON");
    assert_eq!(guarded(base, field, raw), (Some(value), vec![]), "{field}: {raw}");
}

#[track_caller]
fn drops(base: &str, field: &str, raw: &str, why: &str) {
    assert_eq!(
        guarded(base, field, raw),
        (None, vec![format!("{field}: left out, {why}")]),
        "{field}: {raw}"
    );
}

#[track_caller]
fn turns(base: &str, field: &str, raw: &str, into: Value, warning: &str) {
    assert_eq!(
        guarded(base, field, raw),
        (Some(into), vec![format!("{field}: {warning}")]),
        "{field}: {raw}"
    );
}

const CHARACTERS: &str = "it has characters that are not allowed";
const RANGE: &str = "it is out of range";
const TYPE: &str = "it is of the wrong type";
const UNLISTED: &str = "it is not one of the listed values";
const STRUCTURE: &str = "it came as a list or object";

#[test]
fn codes_that_break_their_pattern_are_left_out() {
    let patterns = [
        ("effort", "a-Z_9", 16, "a.b"),
        ("speed", "a-Z_9", 16, "a b"),
        ("querySource", "a.Z:_-9", 128, "a/b"),
        ("subagentType", "a.Z:_-9", 128, "ä"),
        ("clientSurface", "a.Z_-9", 64, "a:b"),
        ("entrypoint", "a.Z_-9", 64, "a\\nb"),
        ("promptId", "a-Z_9", 64, "a.b"),
    ];
    for (field, right, chars_max, wrong) in patterns {
        keeps(COMPLETION, field, &format!("\"{right}\""));
        keeps(COMPLETION, field, &format!("\"{}\"", "a".repeat(chars_max)));
        drops(COMPLETION, field, &format!("\"{}\"", "a".repeat(chars_max + 1)), CHARACTERS);
        drops(COMPLETION, field, &format!("\"{wrong}\""), CHARACTERS);
        drops(COMPLETION, field, "\"\"", CHARACTERS);
        drops(COMPLETION, field, "[\"a\"]", STRUCTURE);
        keeps(COMPLETION, field, "null");
    }
    keeps(COMPLETION, "effort", "7");
}

#[test]
fn a_trace_type_is_cut_first_and_then_judged() {
    let (a128, a129) = ("a".repeat(128), "a".repeat(129));
    keeps(COMPLETION, "traceType", &format!("\"{a128}\""));
    turns(COMPLETION, "traceType", &format!("\"{a129}\""), json!(a128), "cut from 129 to 128 characters");
    drops(COMPLETION, "traceType", "\"a.b\"", CHARACTERS);
}

#[test]
fn a_job_id_obeys_its_pattern_on_every_kind_that_has_it() {
    for base in [COMPLETION, IMAGE, TOOL] {
        keeps(base, "agenticJobId", "\"0loan.app_1-x\"");
        keeps(base, "agenticJobId", "\"typesetter\"");
        keeps(base, "agenticJobId", &format!("\"{}\"", "a".repeat(255)));
        for wrong in ["types", "conversion-funnel", ".a", "-a", "a b", "a\\n", "ä", ""] {
            drops(base, "agenticJobId", &format!("\"{wrong}\""), CHARACTERS);
        }
        drops(base, "agenticJobId", &format!("\"{}\"", "a".repeat(256)), CHARACTERS);
    }
}

#[test]
fn numbers_outside_of_their_range_are_left_out() {
    for (field, at_limit, past_limit) in [
        ("promptLength", "2147483647", "2147483648"),
        ("promptLength", "0", "-1"),
        ("promptLength", "5", "5.5"),
        ("responseQualityScore", "999.9949", "999.995"),
        ("responseQualityScore", "-999.9949", "-999.995"),
        ("costMultiplier", "1e308", "1e309"),
        ("costMultiplier", "-0.5", "-1e999"),
        ("retryNumber", "0", "-1"),
        ("errorCode", "429", "4e400"),
    ] {
        keeps(COMPLETION, field, at_limit);
        drops(COMPLETION, field, past_limit, RANGE);
        drops(COMPLETION, field, "\"many\"", TYPE);
        drops(COMPLETION, field, "[1]", TYPE);
    }
}

#[test]
fn a_number_that_came_as_text_is_unquoted_with_its_digits() {
    let digits = "0.12345678901234567890123456789012345678900";
    let frozen = frozen(&with(COMPLETION, &format!("\"totalCost\":\"{digits}\",\"errorCode\":\"429\"")));
    assert!(body(&frozen).ends_with(&format!("\"totalCost\":{digits},\"errorCode\":429}}")));
    let expected = ["totalCost: rewritten, it came as text", "errorCode: rewritten, it came as text"];
    assert_eq!(warnings(&frozen), expected);
}

#[test]
fn listed_values_are_matched_in_any_case() {
    keeps(COMPLETION, "pricingTier", "\"BATCH\"");
    turns(COMPLETION, "pricingTier", "\"batch\"", json!("BATCH"), "rewritten, it came in another notation");
    drops(COMPLETION, "pricingTier", "\"FLEX\"", UNLISTED);
    keeps(COMPLETION, "operationType", "\"TOOL_CALL\"");
    turns(COMPLETION, "operationType", "\"embed\"", json!("EMBED"), "rewritten, it came in another notation");
    drops(COMPLETION, "operationType", "\"SING\"", UNLISTED);
    keeps(COMPLETION, "skillSource", "\"projectSettings\"");
    drops(COMPLETION, "skillSource", "7", TYPE);
    drops(
        GENERIC.replace("\"sourceType\":\"SDK_RUST\",", "").as_str(),
        "sourceType",
        "\"SDK_COBOL\"",
        UNLISTED,
    );
}

#[test]
fn media_have_lists_and_types_of_their_own() {
    keeps(COMPLETION, "operationSubtype", "\"function_call\"");
    keeps(IMAGE, "operationSubtype", "\"inpainting\"");
    keeps(AUDIO, "operationSubtype", "\"tts\"");
    keeps(VIDEO, "operationSubtype", "\"extend\"");
    for base in [IMAGE, AUDIO, VIDEO] {
        drops(base, "operationSubtype", "\"function_call\"", UNLISTED);
        drops(base, "skipReason", "\"QUOTA_EXCEEDED\"", UNLISTED);
        keeps(base, "skipReason", "\"INTERNAL_TEST\"");
    }
    drops(COMPLETION, "skipReason", "\"INTERNAL_TEST\"", UNLISTED);
    keeps(COMPLETION, "skipReason", "\"QUOTA_EXCEEDED\"");
    keeps(AUDIO, "speed", "1.25");
    drops(AUDIO, "speed", "\"fast\"", TYPE);
    keeps(IMAGE, "speed", "\"fast\"");
    drops(AUDIO, "billingUnit", "\"PER_SONG\"", UNLISTED);
    keeps(VIDEO, "billingUnit", "\"PER_SONG\"");
}

#[test]
fn text_fields_take_any_scalar_but_no_structure() {
    for scalar in ["5", "true", "1.50", "\"\"", "null"] {
        keeps(COMPLETION, "agent", scalar);
    }
    drops(COMPLETION, "agent", "[\"a\"]", STRUCTURE);
    drops(COMPLETION, "agent", "{\"a\":1}", STRUCTURE);
    drops(COMPLETION, "agent", &"1".repeat(256), RANGE);
}

#[test]
fn truth_values_come_as_text_or_are_left_out() {
    keeps(COMPLETION, "hasVisionContent", "true");
    turns(COMPLETION, "hasVisionContent", "\"True\"", json!(true), "rewritten, it came as text");
    drops(COMPLETION, "hasVisionContent", "1", TYPE);
    let (field, message) = refused(&with(COMPLETION, "\"billingSkipped\":1"));
    assert_eq!(
        (field.as_str(), message.as_str()),
        ("billingSkipped", "billingSkipped must be true or false")
    );
}

#[test]
fn a_stop_reason_is_translated_and_an_unknown_one_is_end() {
    let listed = [
        "END",
        "END_SEQUENCE",
        "TIMEOUT",
        "TOKEN_LIMIT",
        "COST_LIMIT",
        "COMPLETION_LIMIT",
        "ERROR",
        "CANCELLED",
    ];
    for reason in listed {
        let frozen = frozen(&without(&["stopReason"], &format!("\"stopReason\":\"{reason}\"")));
        assert_eq!((json(&frozen)["stopReason"].as_str(), warnings(&frozen)), (Some(reason), vec![]));
    }
    let words = [
        ("\"end_turn\"", "END"),
        ("\"max_tokens\"", "TOKEN_LIMIT"),
        ("\"stop_sequence\"", "END_SEQUENCE"),
        ("\"tool_use\"", "END_SEQUENCE"),
        ("\"pause_turn\"", "END"),
        ("\"refusal\"", "ERROR"),
        ("\"model_context_window_exceeded\"", "TOKEN_LIMIT"),
        ("\"content_filter\"", "ERROR"),
        ("\"CONTENT_FILTER\"", "ERROR"),
        ("\"TOOL_CALL\"", "END_SEQUENCE"),
        ("\"cancelled\"", "CANCELLED"),
        ("\"timeout\"", "TIMEOUT"),
        ("\"length\"", "TOKEN_LIMIT"),
        ("\"a word of tomorrow\"", "END"),
        ("7", "END"),
    ];
    for (raw, expected) in words {
        let frozen = frozen(&without(&["stopReason"], &format!("\"stopReason\":{raw}")));
        assert_eq!(json(&frozen)["stopReason"], expected, "{raw}");
        assert_eq!(frozen.warnings.len(), 1, "{raw}");
    }
    for nothing in ["null", "\"\""] {
        let frozen = frozen(&without(&["stopReason"], &format!("\"stopReason\":{nothing}")));
        assert_eq!((json(&frozen)["stopReason"].as_str(), warnings(&frozen)), (Some("END"), vec![]));
    }
}

#[test]
fn the_cost_type_is_always_ai() {
    let frozen = frozen(&without(&["costType"], "\"costType\":\"CREDITS\""));
    assert_eq!(json(&frozen)["costType"], "AI");
    assert_eq!(warnings(&frozen), ["costType: replaced, it is not one of the listed values"]);
}

#[test]
fn prompts_are_capped_and_say_so() {
    for field in ["systemPrompt", "inputMessages", "outputResponse"] {
        keeps(COMPLETION, field, &format!("\"{}\"", text(50_000)));
        let frozen =
            frozen(&with(COMPLETION, &format!("\"promptsTruncated\":null,\"{field}\":\"{}\"", text(50_001))));
        assert_eq!(json(&frozen)[field], text(50_000));
        assert_eq!(json(&frozen)["promptsTruncated"], true);
        assert_eq!(warnings(&frozen), [format!("{field}: cut from 50001 to 50000 characters")]);
    }
}

#[test]
fn messages_given_as_a_list_become_json_text() {
    let messages = r#"[{"role":"user","content":"say \"hi\"\n"}]"#;
    let frozen = frozen(&with(COMPLETION, &format!("\"inputMessages\":{messages}")));
    assert_eq!(json(&frozen)["inputMessages"], messages);
    assert_eq!(warnings(&frozen), ["inputMessages: rewritten, it came as a list or object"]);
}

#[test]
fn the_subscribers_members_are_guarded_in_their_places() {
    let event = format!(
        "\"subscriber\":{{ \"email\" : \"{}\", \"id\":[1],\"credential\":{{\"name\":\"n\",\"value\":{{}}}},\"x\":1 }}",
        text(256)
    );
    let frozen = frozen(&with(COMPLETION, &event));
    let expected = format!(
        "\"subscriber\":{{ \"email\" : \"{}\",\"credential\":{{\"name\":\"n\"}},\"x\":1 }}}}",
        text(255)
    );
    assert!(body(&frozen).ends_with(&expected), "{}", body(&frozen));
    let mut found = warnings(&frozen);
    found.sort();
    assert_eq!(
        found,
        [
            "subscriber.credential.value: left out, it came as a list or object",
            "subscriber.email: cut from 256 to 255 characters",
            "subscriber.id: left out, it came as a list or object",
        ]
    );
}

#[test]
fn a_subscriber_of_another_type_is_left_out() {
    drops(COMPLETION, "subscriber", "\"user-1\"", TYPE);
    keeps(COMPLETION, "subscriber", "null");
    let frozen = frozen(&with(COMPLETION, "\"subscriber\":{\"id\":\"a\",\"credential\":\"secret\"}"));
    assert_eq!(json(&frozen)["subscriber"], json!({"id": "a"}));
    assert_eq!(warnings(&frozen), ["subscriber.credential: left out, it is of the wrong type"]);
}

#[test]
fn warnings_and_debug_hold_no_value() {
    let secret = "hunter2";
    let members =
        format!("\"subscriber\":{{\"credential\":{{\"value\":[\"{secret}\"]}}}},\"agent\":[\"{secret}\"]");
    let event = with(COMPLETION, &format!("{members},\"totalCost\":\"5\",\"systemPrompt\":\"{secret}\""));
    let frozen = frozen(&event);
    assert!(!frozen.warnings.is_empty());
    for shown in [format!("{:?}", frozen.warnings), format!("{frozen:?}"), warnings(&frozen).join("\n")] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
