//! Events to freeze, and readable ways to look at what came out.

use revenium_event::{Frozen, Identity, Minted, Producer, Refusal, freeze};
use serde_json::Value;

/// 2026-11-23T07:44:08.263Z.
pub(crate) const NOW_MS: u64 = 1_795_419_848_263;

pub(crate) const MINTED: Minted = Minted { now_ms: NOW_MS, random: [7; 16] };

pub(crate) const NUMBERED: Identity<'static> =
    Identity::Numbered { producer: Producer::from_bytes([1; 16]), n: 7 };

/// A completion that lacks nothing, without its closing brace.
pub(crate) const COMPLETION: &str = r#"{"transactionId":"tx-1","model":"claude-sonnet-4-20250514","provider":"ANTHROPIC","costType":"AI","isStreamed":false,"inputTokenCount":25,"outputTokenCount":15,"totalTokenCount":40,"requestTime":"2026-11-23T07:44:07.120Z","completionStartTime":"2026-11-23T07:44:08.010Z","responseTime":"2026-11-23T07:44:08.263Z","requestDuration":1143,"stopReason":"END""#;

/// The others that lack nothing, likewise.
pub(crate) const IMAGE: &str = r#"{"kind":"image","model":"dall-e-3","provider":"OpenAI","requestDuration":3000,"requestTime":"2026-11-23T10:00:00Z","responseTime":"2026-11-23T10:00:03Z","transactionId":"tx-1","requestedImageCount":2,"actualImageCount":2"#;
pub(crate) const AUDIO: &str = r#"{"kind":"audio","model":"whisper-1","provider":"OpenAI","requestDuration":3000,"requestTime":"2026-11-23T10:00:00Z","responseTime":"2026-11-23T10:00:03Z","transactionId":"tx-1","durationSeconds":12.50"#;
pub(crate) const VIDEO: &str = r#"{"kind":"video","model":"sora","provider":"OpenAI","requestDuration":3000,"requestTime":"2026-11-23T10:00:00Z","responseTime":"2026-11-23T10:00:03Z","transactionId":"tx-1","durationSeconds":8"#;
pub(crate) const TOOL: &str = r#"{"kind":"tool","transactionId":"1a8cdc99-9737-4cc6-a43c-61f14ae57eb9","toolId":"customer-database","operation":"lookup","durationMs":0,"success":true,"timestamp":"2026-11-23T07:44:33Z","usageMetadata":{"plan":"Enterprise"}"#;
pub(crate) const GENERIC: &str = r#"{"kind":"generic","payload":{"storageGB":15.5,"apiCalls":1250},"sourceType":"SDK_RUST","transactionId":"ev-1""#;
pub(crate) const REQUEST: &str =
    r#"{"kind":"api-request","transactionId":"r-1","method":"GET","resource":"/v1/things""#;
pub(crate) const RESPONSE: &str =
    r#"{"kind":"api-response","transactionId":"r-1","responseCode":200,"totalDuration":12"#;

pub(crate) const BASES: [&str; 8] = [COMPLETION, IMAGE, AUDIO, VIDEO, TOOL, GENERIC, REQUEST, RESPONSE];

/// A base with more members.
pub(crate) fn with(base: &str, members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!("{base}{comma}{members}}}")
}

/// A completion without `fields`, with more members.
pub(crate) fn without(fields: &[&str], members: &str) -> String {
    let Ok(Value::Object(whole)) = serde_json::from_str(&with(COMPLETION, "")) else { unreachable!() };
    let kept: Vec<_> = whole
        .iter()
        .filter(|(name, _)| !fields.contains(&name.as_str()))
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .chain((!members.is_empty()).then(|| members.to_owned()))
        .collect();
    format!("{{{}}}", kept.join(","))
}

pub(crate) fn try_freeze(event: &str) -> Result<Frozen, Refusal> {
    freeze(event.as_bytes(), &NUMBERED, &MINTED)
}

#[track_caller]
pub(crate) fn frozen(event: &str) -> Frozen {
    try_freeze(event).unwrap_or_else(|refusal| panic!("{refusal}: {event}"))
}

pub(crate) fn body(frozen: &Frozen) -> &str {
    std::str::from_utf8(&frozen.body).expect("a body is text")
}

pub(crate) fn json(frozen: &Frozen) -> Value {
    serde_json::from_slice(&frozen.body).expect("a body is JSON")
}

pub(crate) fn warnings(frozen: &Frozen) -> Vec<String> {
    frozen.warnings.iter().map(ToString::to_string).collect()
}

/// The field and the message of a refusal.
#[track_caller]
pub(crate) fn refused(event: &str) -> (String, String) {
    let refusal = try_freeze(event).expect_err("it has to be refused");
    (refusal.field.unwrap_or_default().into_owned(), refusal.message)
}
