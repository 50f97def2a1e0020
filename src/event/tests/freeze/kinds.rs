//! The eight kinds: their routes, and what each of them needs.

use revenium_event::Kind;
use serde_json::json;

use crate::support::*;

#[test]
fn kind_and_profile_route_the_event_and_are_not_sent() {
    for (base, kind) in BASES.into_iter().zip(Kind::ALL) {
        let frozen = frozen(&with(base, "\"profile\":\"tenant-b_1\""));
        assert_eq!((frozen.kind, frozen.profile.as_deref()), (kind, Some("tenant-b_1")));
        assert_eq!((json(&frozen).get("kind"), json(&frozen).get("profile")), (None, None));
    }
    let spaced = frozen(&with(COMPLETION, "").replacen('{', "{ \"profile\": null , \"kind\":null,", 1));
    assert_eq!((spaced.kind, spaced.profile), (Kind::Completion, None));
}

#[test]
fn unknown_kinds_and_profiles_are_refused_by_name() {
    for wrong in ["\"completions\"", "7", "\"\"", "{}"] {
        let (field, message) = refused(&with(COMPLETION, &format!("\"kind\":{wrong}")));
        assert_eq!(field, "kind");
        assert!(message.ends_with("api-request, api-response, or leave it out for completion"), "{message}");
    }
    for wrong in ["\"\"", "\"a b\"", "\"a/b\"", "7", &format!("\"{}\"", "a".repeat(65))] {
        assert_eq!(refused(&with(COMPLETION, &format!("\"profile\":{wrong}"))).0, "profile");
    }
    frozen(&with(COMPLETION, &format!("\"profile\":\"{}\"", "a".repeat(64))));
}

/// The base without one member.
fn lacking(base: &str, member: &str) -> String {
    assert!(base.contains(member), "{member}");
    with(base, "").replacen(member, "\"x\":0", 1)
}

#[test]
fn what_a_kind_needs_is_asked_for_by_name() {
    let cases = [
        (IMAGE, "\"requestedImageCount\":2", "requestedImageCount"),
        (IMAGE, "\"actualImageCount\":2", "actualImageCount"),
        (IMAGE, "\"provider\":\"OpenAI\"", "provider"),
        (AUDIO, "\"model\":\"whisper-1\"", "model"),
        (AUDIO, "\"durationSeconds\":12.50", "durationSeconds"),
        (VIDEO, "\"durationSeconds\":8", "durationSeconds"),
        (TOOL, "\"toolId\":\"customer-database\"", "toolId"),
        (GENERIC, "\"payload\":{\"storageGB\":15.5,\"apiCalls\":1250}", "payload"),
        (REQUEST, "\"transactionId\":\"r-1\"", "transactionId"),
        (RESPONSE, "\"transactionId\":\"r-1\"", "transactionId"),
        (RESPONSE, "\"responseCode\":200", "responseCode"),
    ];
    for (base, member, field) in cases {
        assert_eq!(refused(&lacking(base, member)).0, field, "{member}");
    }
}

#[test]
fn audio_is_billed_by_length_characters_or_tokens() {
    for amount in ["\"characterCount\":12", "\"inputAudioTokenCount\":3", "\"outputTokenCount\":0"] {
        frozen(&with(AUDIO, "").replacen("\"durationSeconds\":12.50", amount, 1));
    }
    assert_eq!(refused(&with(AUDIO, "\"characterCount\":-1")).1, "characterCount must not be negative");
    assert_eq!(refused(&with(VIDEO, "\"creditsConsumed\":-0.5")).1, "creditsConsumed must not be negative");
}

#[test]
fn what_follows_is_completed_for_media_and_tools() {
    let media = frozen(r#"{"kind":"video","model":"sora","provider":"OpenAI","durationSeconds":8.0}"#);
    let expected = format!(
        r#"{{"model":"sora","provider":"OpenAI","durationSeconds":8.0,"requestTime":"2026-11-23T07:44:08.263Z","responseTime":"2026-11-23T07:44:08.263Z","requestDuration":0,"transactionId":"{}"}}"#,
        media.transaction_id
    );
    assert_eq!(body(&media), expected);
    let tool = frozen(r#"{"kind":"tool","toolId":"t"}"#);
    let expected = format!(
        r#"{{"toolId":"t","timestamp":"2026-11-23T07:44:08.263Z","transactionId":"{}"}}"#,
        tool.transaction_id
    );
    assert_eq!(body(&tool), expected);
}

#[test]
fn a_tools_transaction_id_is_a_uuid() {
    let id = "1a8cdc99-9737-4cc6-a43c-61f14ae57eb9";
    let upper = with(TOOL, "").replace(id, &id.to_uppercase());
    assert_eq!(frozen(&upper).warnings, []);
    let bare = frozen(&with(TOOL, "").replace(id, &id.replace('-', "")));
    assert_eq!((bare.transaction_id.as_str(), json(&bare)["traceId"].clone()), (id, json!(null)));
    assert_eq!(warnings(&bare), ["transactionId: rewritten, it came in another notation"]);

    let own = frozen(&with(TOOL, "").replace(id, "order-42"));
    assert_eq!(own.transaction_id, "4d381a03-0b4f-5206-9c76-55c300851c58");
    assert_eq!(json(&own)["transactionId"], own.transaction_id.as_str());
    assert_eq!(json(&own)["traceId"], "order-42");
    assert_eq!(warnings(&own), ["transactionId: replaced, it came in another notation"]);
    let traced = frozen(&with(TOOL, "\"traceId\":\"t-1\"").replace(id, "order-42"));
    assert_eq!(
        (traced.transaction_id == own.transaction_id, &json(&traced)["traceId"]),
        (true, &json!("t-1"))
    );
}

#[test]
fn a_payload_is_an_object_whose_numbers_stay_as_they_are() {
    let digits = "0.1234567890123456789012345678901234567890";
    let event = with(GENERIC, "").replace("15.5", digits);
    assert!(body(&frozen(&event)).contains(digits));
    assert_eq!(
        refused(
            &lacking(GENERIC, "\"sourceType\":\"SDK_RUST\"")
                .replace("{\"storageGB\":15.5,\"apiCalls\":1250}", "[1]")
        )
        .0,
        "payload"
    );
    let twice = with(GENERIC, "").replace("apiCalls", "storageGB");
    assert_eq!(
        refused(&twice),
        ("payload".to_owned(), "payload has a member twice; send each once".to_owned())
    );
}

#[test]
fn a_transaction_id_longer_than_its_column_is_stood_in_for() {
    let fits = "ä".repeat(255);
    assert_eq!(
        frozen(&without(&["transactionId"], &format!("\"transactionId\":\"{fits}\""))).transaction_id,
        fits
    );
    let long = frozen(&without(&["transactionId"], &format!("\"transactionId\":\"{fits}a\"")));
    let again = frozen(&without(&["transactionId"], &format!("\"transactionId\":\"{fits}a\"")));
    assert_eq!((long.transaction_id.len(), &long.transaction_id), (36, &again.transaction_id));
    assert_eq!(warnings(&long), ["transactionId: replaced, it is out of range"]);
    let digits = frozen(&without(&["transactionId"], &format!("\"transactionId\":{}", "1".repeat(256))));
    assert_eq!((digits.transaction_id.len(), json(&digits)["transactionId"].is_string()), (36, true));
    assert_eq!(warnings(&digits), ["transactionId: left out, it is of the wrong type"]);
}
