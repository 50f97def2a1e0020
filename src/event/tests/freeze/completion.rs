//! What is missing follows from the rest, or is asked for by name.

use serde_json::{Value, json};

use crate::support::*;

/// The members named, of a completion without `missing` and with `members`.
fn completed<const N: usize>(missing: &[&str], members: &str, named: [&str; N]) -> [Value; N] {
    let frozen = frozen(&without(missing, members));
    assert_eq!(frozen.warnings, []);
    named.map(|name| json(&frozen)[name].clone())
}

#[test]
fn the_smallest_event_is_completed() {
    let frozen = frozen(r#"{"model":"claude-opus-4","inputTokenCount":25,"outputTokenCount":15}"#);
    let id = frozen.transaction_id.clone();
    let expected = format!(
        r#"{{"model":"claude-opus-4","inputTokenCount":25,"outputTokenCount":15,"provider":"ANTHROPIC","totalTokenCount":40,"costType":"AI","isStreamed":false,"stopReason":"END","requestTime":"2026-11-23T07:44:08.263Z","responseTime":"2026-11-23T07:44:08.263Z","requestDuration":0,"completionStartTime":"2026-11-23T07:44:08.263Z","transactionId":"{id}"}}"#
    );
    assert_eq!(body(&frozen), expected);
    assert_eq!(frozen.warnings, []);
    assert_eq!((frozen.tokens.input, frozen.tokens.output), (25, 15));
}

#[test]
fn null_and_blank_count_as_missing_and_are_filled_in_their_place() {
    let event = r#"{"totalTokenCount":null,"model":"m","provider":"P","inputTokenCount":1,"outputTokenCount":2,"transactionId":" "}"#;
    let frozen = frozen(event);
    assert!(body(&frozen).starts_with(r#"{"totalTokenCount":3,"model":"m""#));
    assert_eq!(json(&frozen)["transactionId"], frozen.transaction_id.as_str());
}

#[test]
fn what_does_not_follow_is_asked_for_by_name() {
    for field in ["model", "inputTokenCount", "outputTokenCount"] {
        assert_eq!(refused(&without(&[field], "")).0, field);
        assert!(refused(&without(&[field], "")).1.starts_with(&format!("{field} is missing; send")));
        assert_eq!(refused(&without(&[field], &format!("\"{field}\":null"))).0, field);
    }
    assert_eq!(refused(&without(&["model"], "\"model\":\" \"")).0, "model");
    assert_eq!(refused(&without(&["model"], "\"model\":7")), ("model".into(), "model must be text".into()));
}

#[test]
fn the_provider_follows_only_from_a_claude() {
    let [provider] = completed(&["provider"], "", ["provider"]);
    assert_eq!(provider, "ANTHROPIC");
    assert_eq!(refused(&without(&["provider", "model"], "\"model\":\"gpt-5\"")).0, "provider");
}

#[test]
fn the_total_is_input_and_output_without_cached_tokens() {
    let members = r#""cacheCreationTokenCount":1300,"cacheReadTokenCount":2048"#;
    assert_eq!(completed(&["totalTokenCount"], members, ["totalTokenCount"]), [json!(40)]);
    let given = frozen(&without(&["totalTokenCount"], "\"totalTokenCount\":41"));
    assert_eq!((json(&given)["totalTokenCount"].clone(), warnings(&given)), (json!(41), vec![]));
}

#[test]
fn the_total_is_exact_up_to_63_bits() {
    let counts = ["inputTokenCount", "outputTokenCount", "totalTokenCount"];
    let members = r#""inputTokenCount":9223372036854775806,"outputTokenCount":1"#;
    let [total] = completed(&counts, members, ["totalTokenCount"]);
    assert_eq!(total.to_string(), "9223372036854775807");
    let over = r#""inputTokenCount":9223372036854775807,"outputTokenCount":1"#;
    assert_eq!(refused(&without(&counts, over)).0, "totalTokenCount");
}

#[test]
fn counts_that_are_no_counts_are_refused_by_name() {
    let forty_digits = "1234567890".repeat(4);
    let cases = [
        ("-1", "must not be negative"),
        ("9223372036854775808", "must be at most 9223372036854775807"),
        (&forty_digits, "must be at most 9223372036854775807"),
        ("1.5", "must be a whole number, without fraction or exponent"),
        ("1e3", "must be a whole number, without fraction or exponent"),
        ("true", "must be a whole number"),
        ("\"NaN\"", "must be a whole number"),
    ];
    for field in ["inputTokenCount", "outputTokenCount", "totalTokenCount", "cacheReadTokenCount"] {
        for (raw, why) in cases {
            let event = without(&[field], &format!("\"{field}\":{raw}"));
            assert_eq!(refused(&event), (field.to_owned(), format!("{field} {why}")), "{raw}");
        }
        frozen(&without(&[field], &format!("\"{field}\":9223372036854775")));
    }
}

#[test]
fn costs_keep_all_their_digits() {
    let costs =
        ["inputTokenCost", "outputTokenCost", "cacheReadTokenCost", "cacheCreationTokenCost", "totalCost"];
    let digits =
        ["0.1234567890123456789012345678901234567890", "1E-30", "12345678901234567890.50", "-1.00", "0.0"];
    for (field, digits) in costs.into_iter().zip(digits) {
        let event = with(COMPLETION, &format!("\"{field}\":{digits}"));
        assert_eq!(body(&frozen(&event)), event);
    }
    assert_eq!(refused(&with(COMPLETION, "\"totalCost\":1e999")).1, "totalCost is too large for a number");
    assert_eq!(refused(&with(COMPLETION, "\"totalCost\":\"free\"")).1, "totalCost must be a number");
}

const TIMES: [&str; 4] = ["requestTime", "completionStartTime", "responseTime", "requestDuration"];

#[test]
fn two_of_request_response_and_duration_give_the_third() {
    let [request, start, response, duration] = [
        r#""requestTime":"2026-11-23T07:00:00Z""#,
        r#""completionStartTime":"2026-11-23T07:00:01Z""#,
        r#""responseTime":"2026-11-23T07:00:02.5Z""#,
        r#""requestDuration":2500"#,
    ];
    let [early, later] = [json!("2026-11-23T07:00:00.000Z"), json!("2026-11-23T07:00:02.500Z")];
    let (now, began) = (json!("2026-11-23T07:44:08.263Z"), json!("2026-11-23T07:44:05.763Z"));
    let cases = [
        (
            vec![request, response],
            [json!("2026-11-23T07:00:00Z"), json!("2026-11-23T07:00:02.5Z"), json!(2500)],
        ),
        (vec![request, duration], [json!("2026-11-23T07:00:00Z"), later.clone(), json!(2500)]),
        (vec![response, duration], [early, json!("2026-11-23T07:00:02.5Z"), json!(2500)]),
        (vec![duration], [began, now.clone(), json!(2500)]),
        (vec![request], [json!("2026-11-23T07:00:00Z"), now.clone(), json!(2_648_263)]),
        (vec![response], [later, json!("2026-11-23T07:00:02.5Z"), json!(0)]),
        (
            vec![start, response],
            [json!("2026-11-23T07:00:01.000Z"), json!("2026-11-23T07:00:02.5Z"), json!(1500)],
        ),
        (vec![], [now.clone(), now, json!(0)]),
    ];
    for (given, expected) in cases {
        let named = ["requestTime", "responseTime", "requestDuration"];
        assert_eq!(completed(&TIMES, &given.join(","), named), expected, "{given:?}");
    }
}

#[test]
fn a_response_is_never_put_before_its_request() {
    let future = r#""requestTime":"2027-01-01T00:00:00Z""#;
    let named = ["responseTime", "requestDuration"];
    assert_eq!(completed(&TIMES, future, named), [json!("2027-01-01T00:00:00.000Z"), json!(0)]);
}

#[test]
fn the_answer_began_with_the_first_token_or_at_its_end() {
    let given = r#""requestTime":"2026-11-23T07:00:00Z","responseTime":"2026-11-23T07:00:02Z""#;
    let first_token = |ms: &str| format!("{given},\"timeToFirstToken\":{ms}");
    let start = |members: &str| completed(&TIMES, members, ["completionStartTime"])[0].clone();
    assert_eq!(start(given), "2026-11-23T07:00:02Z");
    assert_eq!(start(&first_token("250")), "2026-11-23T07:00:00.250Z");
    assert_eq!(start(&first_token("9999")), "2026-11-23T07:00:02Z");
}

#[test]
fn durations_are_whole_milliseconds() {
    let fraction = frozen(&without(&["requestDuration"], "\"requestDuration\":1143.75"));
    assert_eq!(json(&fraction)["requestDuration"], 1143);
    assert_eq!(warnings(&fraction), ["requestDuration: rewritten, it came in another notation"]);
    let negative = frozen(&without(&["requestDuration"], "\"requestDuration\":-3"));
    assert_eq!(json(&negative)["requestDuration"], 1143);
    assert_eq!(warnings(&negative), ["requestDuration: left out, it is out of range"]);
}

#[test]
fn times_are_brought_to_iso_8601_with_a_zone_or_refused() {
    let naive = frozen(&without(&["requestTime"], "\"requestTime\":\"2026-11-23T07:44:07\""));
    assert_eq!(json(&naive)["requestTime"], "2026-11-23T07:44:07Z");
    assert_eq!(warnings(&naive), ["requestTime: rewritten, it has no zone and is taken as UTC"]);
    let epoch = frozen(&without(&["requestTime"], "\"requestTime\":1795419848"));
    assert_eq!(json(&epoch)["requestTime"], "2026-11-23T07:44:08.000Z");
    for field in ["requestTime", "completionStartTime", "responseTime"] {
        let (named, message) = refused(&without(&[field], &format!("\"{field}\":\"yesterday\"")));
        assert_eq!(named, field);
        let expected = format!("{field} must be an ISO-8601 time with its zone, like 2026-11-23T07:44:08Z");
        assert_eq!(message, expected);
    }
}
