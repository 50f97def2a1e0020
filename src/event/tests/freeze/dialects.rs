//! Every dialect of the SDKs comes to the same wire form.

use serde_json::{Value, json};

use crate::support::*;

/// The members beyond the base's own, in order, and the warnings.
#[track_caller]
fn becomes(members: &str) -> (String, Vec<String>) {
    let frozen = frozen(&with(COMPLETION, members));
    let rest = body(&frozen).strip_prefix(COMPLETION).expect("the base is untouched");
    (rest.trim_start_matches(',').trim_end_matches('}').to_owned() + "}", warnings(&frozen))
}

#[track_caller]
fn same(members: &str, wire: &str) {
    assert_eq!(becomes(members), (wire.trim_end_matches('}').to_owned() + "}", vec![]), "{members}");
}

#[test]
fn snake_case_changes_just_the_key() {
    let wire = with(COMPLETION, "\"agent\" : \"a\"");
    let snake = wire
        .replace("transactionId", "transaction_id")
        .replace("inputTokenCount", "input_token_count")
        .replace("completionStartTime", "completion_start_time")
        .replace("isStreamed", "is_streamed");
    assert_eq!(body(&frozen(&snake)), wire);
    same("\"cache_creation_5m_token_count\": 7", "\"cacheCreation5mTokenCount\": 7");
    same("\"task_type\":\"t\",\"my_own_tag\":{\"a\":1}", "\"taskType\":\"t\",\"my_own_tag\":{\"a\":1}");
}

#[test]
fn other_words_of_the_wire_are_understood() {
    let event =
        without(&["transactionId", "isStreamed"], r#""spanId":"s","parentSpanId":"p","streamed":true"#);
    let frozen = frozen(&event);
    assert_eq!(frozen.transaction_id, "s");
    assert!(body(&frozen).ends_with(r#""transactionId":"s","parentTransactionId":"p","isStreamed":true}"#));
    assert_eq!(frozen.warnings, []);
}

#[test]
fn every_key_of_usage_metadata_reaches_the_wire() {
    let keys = [
        "trace_id",
        "task_type",
        "agent",
        "subscription_id",
        "transaction_name",
        "parent_transaction_id",
        "trace_type",
        "trace_name",
        "environment",
        "region",
        "ticket_id",
        "agent_version",
        "operation_subtype",
        "organization_name",
        "product_name",
        "agentic_job_id",
        "agentic_job_name",
        "agentic_job_type",
        "agentic_job_version",
        "skill_name",
        "effort",
        "client_surface",
        "entrypoint",
        "prompt_id",
        "query_source",
        "speed",
        "subagent_type",
        "coding_assistant_account_uuid",
        "actual_service_tier",
        "requested_service_tier",
        "subscription_tier",
    ];
    for key in keys {
        let mut upper = false;
        let camel: String = key
            .chars()
            .filter_map(|letter| {
                let letter = if std::mem::take(&mut upper) { letter.to_ascii_uppercase() } else { letter };
                upper = letter == '_';
                (!upper).then_some(letter)
            })
            .collect();
        for metadata in ["usage_metadata", "usageMetadata"] {
            same(&format!("\"{metadata}\":{{\"{key}\":\"v\"}}"), &format!("\"{camel}\":\"v\""));
            same(&format!("\"{metadata}\":{{\"{camel}\":\"v\"}}"), &format!("\"{camel}\":\"v\""));
        }
    }
    same(
        r#""usage_metadata":{"response_quality_score":0.920,"retry_number":1,"cost_multiplier":1.50,"prompt_length":9,"pricing_tier":"BATCH"}"#,
        r#""responseQualityScore":0.920,"retryNumber":1,"costMultiplier":1.50,"promptLength":9,"pricingTier":"BATCH""#,
    );
}

#[test]
fn blank_metadata_is_absent_and_unknown_metadata_is_kept() {
    same(
        r#""usage_metadata":{"agent":null,"region":" ","task_type":"","mine":1,"capture_prompts":true}"#,
        r#""mine":1"#,
    );
    same(r#""usage_metadata":null"#, "");
    assert_eq!(
        becomes(r#""usage_metadata":["a"]"#),
        ("}".to_owned(), vec!["usageMetadata: left out, it is of the wrong type".to_owned()])
    );
}

#[test]
fn an_explicit_member_wins_over_metadata() {
    let (rest, warnings) =
        becomes(r#""usage_metadata":{"agent":"meta","region":"eu","mine":2},"agent":"own","mine":1"#);
    assert_eq!(rest, r#""agent":"own","mine":1,"region":"eu"}"#);
    assert_eq!(warnings, ["agent: left out, another spelling of the field counts"]);
    same(r#""agent":null,"usage_metadata":{"agent":"meta"}"#, r#""agent":"meta""#);
    same(r#""agent":"a","usage_metadata":{"agent":"a"}"#, r#""agent":"a""#);
}

#[test]
fn of_two_spellings_in_metadata_snake_case_wins() {
    for metadata in [r#"{"taskType":"c","task_type":"s"}"#, r#"{"task_type":"s","taskType":"c"}"#] {
        let (rest, warnings) = becomes(&format!("\"usageMetadata\":{metadata}"));
        assert_eq!(rest, r#""taskType":"s"}"#);
        assert_eq!(warnings, ["taskType: left out, another spelling of the field counts"]);
    }
}

#[test]
fn metadata_cannot_route_the_event() {
    let frozen =
        frozen(&with(COMPLETION, r#""usage_metadata":{"kind":"tool","profile":"other","n":1,"call":{}}"#));
    assert_eq!((frozen.kind.name(), frozen.profile.as_deref()), ("completion", None));
    assert_eq!(body(&frozen), with(COMPLETION, ""));
    assert_eq!(frozen.warnings.len(), 4);
}

#[test]
fn a_tools_usage_metadata_is_a_field_of_its_own() {
    let frozen = frozen(&with(TOOL, "\"agent\":\"a\"").replace("usageMetadata", "usage_metadata"));
    assert_eq!(json(&frozen)["usageMetadata"], json!({"plan": "Enterprise"}));
}

#[test]
fn two_top_spellings_of_a_field_must_agree() {
    same(r#""agent":"a","taskType":"t","task_type":"t""#, r#""agent":"a","taskType":"t""#);
    same(r#""task_type":"t","taskType":null"#, r#""taskType":"t""#);
    same(r#""taskType":"t","task_type":"""#, r#""taskType":"t""#);
    let (field, message) = refused(&with(COMPLETION, r#""taskType":"t","task_type":"u""#));
    assert_eq!(field, "taskType");
    assert_eq!(message, "taskType is given under two names with different values; send one");
}

#[test]
fn deprecated_ids_become_names() {
    for (old, snake, new) in [
        ("organizationId", "organization_id", "organizationName"),
        ("productId", "product_id", "productName"),
    ] {
        let warning = format!("{new}: came as {old}, which is deprecated");
        for given in [format!("\"{old}\":\"x\""), format!("\"{snake}\":\"x\"")] {
            let expected = (format!("\"{new}\":\"x\"}}"), vec![warning.clone()]);
            assert_eq!(becomes(&given), expected);
            assert_eq!(becomes(&format!("\"usage_metadata\":{{{given}}}")), expected);
            assert_eq!(becomes(&format!("{given},\"{new}\":null")), expected);
            let overridden = format!("{old}: left out, another spelling of the field counts");
            assert_eq!(
                becomes(&format!("{given},\"{new}\":\"y\"")),
                (format!("\"{new}\":\"y\"}}"), vec![overridden])
            );
        }
        same(&format!("\"{old}\":null"), &format!("\"{old}\":null"));
    }
}

fn subscriber(members: &str) -> (Value, Vec<String>) {
    let frozen = frozen(&with(COMPLETION, members));
    (json(&frozen)["subscriber"].clone(), warnings(&frozen))
}

#[test]
fn flat_subscriber_keys_are_nested() {
    let flat = r#""subscriber_id":"u","subscriber_email":"e","subscriber_credential_name":"n","subscriber_credential":"v""#;
    let nested = json!({"id": "u", "email": "e", "credential": {"name": "n", "value": "v"}});
    assert_eq!(subscriber(flat), (nested.clone(), vec![]));
    assert_eq!(subscriber(&format!("\"usage_metadata\":{{{flat}}}")), (nested.clone(), vec![]));
    assert_eq!(subscriber(&format!("\"subscriber\":null,{flat}")), (nested.clone(), vec![]));
    assert_eq!(subscriber(&format!("\"subscriber\":{{ }},{flat}")), (nested, vec![]));
    assert_eq!(subscriber(r#""subscriberId":"u","subscriberEmail":null"#), (json!({"id": "u"}), vec![]));
    assert_eq!(subscriber(r#""subscriber_credential":"v""#), (json!({"credential": {"value": "v"}}), vec![]));
}

#[test]
fn a_nested_subscriber_wins_over_flat_keys() {
    let (value, warnings) = subscriber(r#""subscriber":{"id":"a"},"subscriber_id":"b""#);
    assert_eq!(value, json!({"id": "a"}));
    assert_eq!(warnings, ["subscriberId: left out, another spelling of the field counts"]);
}

#[test]
fn media_keep_their_own_flat_subscriber() {
    let own = frozen(&with(IMAGE, r#""subscriberId":"u","subscriberEmail":"e""#));
    assert_eq!(
        (json(&own)["subscriberId"].as_str(), json(&own)["subscriberEmail"].as_str()),
        (Some("u"), Some("e"))
    );
    let snake = frozen(&with(IMAGE, r#""subscriber_id":"u""#));
    assert_eq!(json(&snake)["subscriber"], json!({"id": "u"}));
}

#[test]
fn a_credential_alias_is_placed_only_where_it_cannot_shadow_a_subscriber() {
    let placed = (json!({"credential": {"name": "key"}}), vec![]);
    for given in [
        r#""credentialAlias":"key""#,
        r#""credential_alias":"key","subscriber":null"#,
        r#""usage_metadata":{"credential_alias":"key"},"subscriber":{}"#,
        r#""credentialAlias":"key","subscriber":{"credential":null}"#,
    ] {
        assert_eq!(subscriber(given), placed, "{given}");
    }
    let (value, warnings) = subscriber(r#""credentialAlias":"key","subscriber":{"email":"e"}"#);
    assert_eq!(value, json!({"email": "e"}));
    assert_eq!(warnings, ["credentialAlias: left out, it has no place in this event"]);
}
