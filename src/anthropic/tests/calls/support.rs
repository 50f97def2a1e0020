//! Call lines to freeze, and readable ways to look at what came out.

use std::time::Duration;

use revenium_anthropic::{By, Response, Stream, freeze};
use revenium_event::{Frozen, Identity, Minted, Producer};
use serde_json::Value;

/// 2026-11-23T07:44:08.263Z.
pub(crate) const NOW_MS: u64 = 1_795_419_848_263;

pub(crate) const MINTED: Minted = Minted { now_ms: NOW_MS, random: [7; 16] };

pub(crate) const NUMBERED: Identity<'static> =
    Identity::Numbered { producer: Producer::from_bytes([1; 16]), n: 7 };

/// A call that lacks nothing but what the test is about, with more members.
pub(crate) fn call(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"call":{{"id":"msg_01","model":"claude-opus-4"{comma}{members}}}}}"#)
}

/// A call that ended well with this usage.
pub(crate) fn used(usage: &str) -> String {
    call(&format!(r#""usage":{usage}"#))
}

#[track_caller]
pub(crate) fn frozen(line: &str) -> Vec<Frozen> {
    freeze(line.as_bytes(), &NUMBERED, &MINTED).unwrap_or_else(|refusal| panic!("{refusal}: {line}"))
}

/// The bodies of the events.
#[track_caller]
pub(crate) fn events(line: &str) -> Vec<Value> {
    frozen(line).iter().map(json).collect()
}

/// The body of the call's own event.
#[track_caller]
pub(crate) fn event(line: &str) -> Value {
    events(line).swap_remove(0)
}

pub(crate) fn json(frozen: &Frozen) -> Value {
    serde_json::from_slice(&frozen.body).expect("a body is JSON")
}

#[track_caller]
pub(crate) fn warnings(line: &str) -> Vec<String> {
    frozen(line).iter().flat_map(|event| &event.warnings).map(ToString::to_string).collect()
}

/// The field and the message of a refusal.
#[track_caller]
pub(crate) fn refused(line: &str) -> (String, String) {
    let refusal = freeze(line.as_bytes(), &NUMBERED, &MINTED).expect_err("it has to be refused");
    (refusal.field.unwrap_or_default().into_owned(), refusal.message)
}

/// Members of an event, absent ones as null.
pub(crate) fn members(event: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| event.get(name).cloned().unwrap_or_default()).collect()
}

/// Reads a stream that came in these chunks, one each 10 ms.
pub(crate) fn streamed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, by: By) -> Response {
    let mut stream = Stream::new();
    let mut elapsed = Duration::ZERO;
    for chunk in chunks {
        elapsed += Duration::from_millis(10);
        stream.push(chunk, elapsed);
    }
    stream.finish(elapsed, by)
}

/// What a response says, to compare.
pub(crate) fn said(response: &Response) -> Value {
    serde_json::json!({
        "id": response.id,
        "model": response.model,
        "stop_reason": response.stop_reason,
        "usage": response.usage,
        "ended": format!("{:?}", response.ended),
    })
}
