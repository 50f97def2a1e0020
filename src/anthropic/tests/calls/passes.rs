//! Passes that are billed outside of a call's totals: an event each.

use serde_json::{Value, json};

use crate::support::*;

/// An advised answer, as it was recorded.
const ADVISED: &str = r#"{"input_tokens":2482,"output_tokens":166,"service_tier":"standard","iterations":[{"type":"message","input_tokens":1128,"output_tokens":155},{"type":"advisor_message","model":"claude-fable-5","input_tokens":2564,"output_tokens":99,"cache_creation_input_tokens":8,"cache_creation":{"ephemeral_5m_input_tokens":8,"ephemeral_1h_input_tokens":0},"cache_read_input_tokens":4},{"type":"message","input_tokens":1354,"output_tokens":11}]}"#;

#[test]
fn an_advisor_is_billed_at_its_own_model_beside_the_call() {
    let line = call(&format!(
        r#""usage":{ADVISED},"duration_ms":9,"usage_metadata":{{"agent":"a"}},"prompts":{{"system":"s"}}"#
    ));
    let events = events(&line);
    assert_eq!(events.len(), 2);
    const NAMES: [&str; 12] = [
        "transactionId",
        "parentTransactionId",
        "operationSubtype",
        "model",
        "inputTokenCount",
        "outputTokenCount",
        "totalTokenCount",
        "cacheReadTokenCount",
        "cacheCreation5mTokenCount",
        "stopReason",
        "agent",
        "systemPrompt",
    ];
    let none = Value::Null;
    let main = json!(["msg_01", none, none, "claude-opus-4", 2482, 166, 2648, 0, none, "END", "a", "s"]);
    let pass = json!([
        "msg_01-iteration-1",
        "msg_01",
        "advisor_message",
        "claude-fable-5",
        2564,
        99,
        2663,
        4,
        8,
        "END",
        "a",
        none
    ]);
    assert_eq!([json!(members(&events[0], &NAMES)), json!(members(&events[1], &NAMES))], [main, pass]);
    assert_eq!(
        members(&events[1], &["actualServiceTier", "requestDuration", "attributes"]),
        [json!("standard"), json!(9), none]
    );
    assert_eq!(events[0].get("attributes"), None);
}

/// Else the cost that an application states for its call would be billed once more with every pass.
#[test]
fn a_cost_that_the_application_states_is_the_calls_alone() {
    let costs = [("totalCost", "total_cost"), ("inputTokenCost", "input_token_cost")];
    for (wire, said) in costs.into_iter().flat_map(|(wire, snake)| [(wire, wire), (wire, snake)]) {
        let metadata = format!(r#"{{"agent":"a","{said}":0.50,"costMultiplier":2,"attributes":{{"k":1}}}}"#);
        let events = events(&call(&format!(r#""usage":{ADVISED},"usage_metadata":{metadata}"#)));
        let names = [wire, "agent", "costMultiplier", "attributes"];
        assert_eq!(members(&events[0], &names), [json!(0.50), json!("a"), json!(2), json!({"k": 1})]);
        assert_eq!(members(&events[1], &names), [Value::Null, json!("a"), json!(2), json!({"k": 1})]);
    }
}

#[test]
fn a_compaction_is_billed_at_the_model_that_was_asked_for() {
    let usage = r#"{"input_tokens":229,"output_tokens":5,"iterations":[{"type":"compaction","input_tokens":100,"output_tokens":131,"cache_creation_input_tokens":55096,"cache_creation":{"ephemeral_5m_input_tokens":55096,"ephemeral_1h_input_tokens":0}},{"type":"message","input_tokens":229,"output_tokens":5}]}"#;
    let lines = [used(usage), call(&format!(r#""usage":{usage},"request":{{"model":"claude-asked-for"}}"#))];
    for (line, model) in lines.iter().zip(["claude-opus-4", "claude-asked-for"]) {
        let events = events(line);
        assert_eq!(
            members(&events[1], &["transactionId", "model", "totalTokenCount", "cacheCreation5mTokenCount"]),
            [json!("msg_01-iteration-0"), json!(model), json!(231), json!(55096)]
        );
        assert_eq!(events[0]["totalTokenCount"], 234);
    }
}

#[test]
fn iterations_within_the_totals_are_no_events_and_strange_ones_are_kept_for_a_person() {
    let within = r#"{"input_tokens":2,"output_tokens":2,"iterations":[{"type":"message","input_tokens":1,"output_tokens":1},{"type":"fallback_message","model":"m","input_tokens":1,"output_tokens":1}]}"#;
    let events = events(&used(within));
    assert_eq!((events.len(), events[0].get("attributes")), (1, None));
    for strange in [r#"[{"type":"tomorrows","input_tokens":5,"output_tokens":5}]"#, r#"[7]"#, r#""text""#] {
        let events =
            self::events(&used(&format!(r#"{{"input_tokens":1,"output_tokens":1,"iterations":{strange}}}"#)));
        let strange: Value = serde_json::from_str(strange).expect("is JSON");
        assert_eq!((events.len(), &events[0]["attributes"]), (1, &json!({"iterations": strange})));
    }
}

#[test]
fn a_pass_goes_to_the_profile_and_has_the_batch_price_of_its_call() {
    let line = format!(
        r#"{{"profile":"team","call":{{"id":"m","model":"claude","batch_id":"b","usage":{ADVISED}}}}}"#
    );
    let frozen = frozen(&line);
    assert!(frozen.iter().all(|event| event.profile.as_deref() == Some("team")));
    assert!(frozen.iter().all(|event| json(event)["pricingTier"] == "BATCH"));
}

#[test]
fn an_amount_of_a_pass_that_is_none_is_refused_by_its_place_and_nothing_is_billed() {
    let line = used(
        r#"{"input_tokens":1,"iterations":[{"type":"message"},{"type":"compaction","input_tokens":-1}]}"#,
    );
    let (field, message) = refused(&line);
    assert_eq!(field, "call.usage.iterations[1].input_tokens");
    assert_eq!(message, "call.usage.iterations[1].input_tokens must not be negative");
    let twice =
        used(r#"{"input_tokens":1,"iterations":[{"type":"compaction","input_tokens":1,"input_tokens":2}]}"#);
    assert_eq!(refused(&twice).0, "call.usage.iterations[0].input_tokens");
}

#[test]
fn more_passes_or_bytes_than_a_call_can_have_are_refused() {
    let passes = |count: usize| {
        let list = vec![r#"{"type":"compaction","input_tokens":1}"#; count].join(",");
        format!(r#"{{"input_tokens":1,"iterations":[{list}]}}"#)
    };
    assert_eq!(events(&used(&passes(64))).len(), 65);
    let (field, message) = refused(&used(&passes(65)));
    assert_eq!(field, "call.usage.iterations");
    assert_eq!(message, "call.usage.iterations has 65 passes that are billed apart; at most 64 are taken");
    let long = |bytes: usize| {
        call(&format!(r#""usage":{},"usage_metadata":{{"mine":"{}"}}"#, passes(64), "x".repeat(bytes)))
    };
    let bytes = |line: &str| frozen(line).iter().map(|event| event.body.len()).sum::<usize>();
    // Each of the 65 events has the metadata, so there is one length that fits last.
    let fits = 1 + ((1 << 20) - bytes(&long(1))) / 65;
    assert!(bytes(&long(fits)) <= 1 << 20);
    assert_eq!(
        refused(&long(fits + 1)),
        ("call".to_owned(), "the events of the call have more than 1048576 bytes together".to_owned())
    );
}
