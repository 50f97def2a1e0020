//! Calls of Anthropic's API: what a client asks, what the stand-in answers, and what is billed of it.
//!
//! A call has no body that its sender chose, so what tells it from all others is the message's id, and how many
//! tokens it cost follows from its number. Every second call is a stream.

use std::io::Write;

use serde_json::Value;

use crate::dice::Dice;
use crate::provider::{self, Provider};

const MODEL: &str = "claude-opus-4";

/// The tokens in and out of the call with this number.
fn tokens(n: u64) -> (u64, u64) {
    let mut dice = Dice::new(n).fork();
    (dice.between(1..=100_000), dice.between(1..=5_000))
}

fn is_streamed(n: u64) -> bool {
    !n.is_multiple_of(2)
}

/// The id of the message that answers it.
pub(crate) fn message_id(marker: &str) -> String {
    format!("msg_{marker}")
}

/// The body of its request.
pub(crate) fn request(marker: &str, n: u64) -> String {
    format!(
        r#"{{"model":"{MODEL}","max_tokens":64,"stream":{},"messages":[{{"role":"user","content":"{marker}"}}]}}"#,
        is_streamed(n)
    )
}

/// What has to be in the event of it.
pub(crate) fn billed(marker: &str, n: u64) -> String {
    let ((input, output), id, is_streamed) = (tokens(n), message_id(marker), is_streamed(n));
    let total = input + output;
    let known =
        r#""provider":"ANTHROPIC","modelSource":"ANTHROPIC","operationType":"CHAT","stopReason":"END""#;
    let none = r#""cacheCreationTokenCount":0,"cacheReadTokenCount":0,"reasoningTokenCount":0"#;
    format!(
        r#"{{"transactionId":"{id}","model":"{MODEL}","inputTokenCount":{input},"outputTokenCount":{output},"totalTokenCount":{total},"isStreamed":{is_streamed},{known},{none}}}"#
    )
}

/// A stand-in for Anthropic that answers each call at once.
pub(crate) fn provider() -> Provider {
    Provider::start(|got, stream| {
        let asked: Value = serde_json::from_slice(&got.body).expect("JSON");
        let marker = asked["messages"][0]["content"].as_str().expect("a text");
        let n =
            marker.rsplit_once('-').and_then(|(_, n)| n.parse().ok()).expect("a marker ends with a number");
        let ((input, output), id) = (tokens(n), message_id(marker));
        let pieces = match asked["stream"] == true {
            true => vec![
                [provider::STREAM.to_vec(), provider::message_start(&id, input)].concat(),
                provider::delta("hello"),
                provider::message_end(output),
            ],
            false => vec![provider::says(&id, input, output)],
        };
        pieces.iter().all(|piece| stream.write_all(piece).is_ok())
    })
}
