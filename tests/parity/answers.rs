//! What the provider answers: each kind of answer, under an id that says what it is and who asked.
//!
//! A request asks by its `metadata.user_id`, `kind/way`.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::provider::{Got, Provider, STREAM, chunk, whole};

/// Kinds of answers, and what each is.
pub(crate) const KINDS: [(&str, &str); 8] = [
    ("plain", "one piece of JSON"),
    ("stream", "a stream"),
    ("rich", "thinking, cached tokens and a server's tools, in one piece"),
    ("rich-stream", "the same as a stream"),
    ("passes", "an advisor's pass, billed apart"),
    ("refused", "400"),
    ("overloaded", "529, then 200"),
    ("cut", "a stream that breaks off"),
];

pub(crate) fn provider() -> Provider {
    let overloaded = Mutex::new(HashSet::new());
    Provider::start(move |request, stream| answer(request, stream, &overloaded))
}

fn answer(request: &Got, stream: &mut TcpStream, overloaded: &Mutex<HashSet<String>>) -> bool {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let asked = body["metadata"]["user_id"].as_str().expect("says what it wants").to_owned();
    let id = format!("msg_{}", asked.replace('/', "_"));
    let kind = asked.split('/').next().unwrap_or_default();
    let error = |status: &str, kind: &str| {
        let body = json!({"type": "error", "error": {"type": kind, "message": "as asked"}});
        whole(status, &format!("{JSON}request-id: req_{asked}\r\n"), body.to_string().as_bytes())
    };
    let bytes = match kind {
        "refused" => error("400 Bad Request", "invalid_request_error"),
        "overloaded" if overloaded.lock().expect("no panic while locked").insert(asked.clone()) => {
            error("529 Overloaded", "overloaded_error")
        }
        "stream" => streamed(&message(&id, kind), true),
        "rich-stream" => streamed(&message(&id, "rich"), true),
        "cut" => streamed(&message(&id, kind), false),
        kind => whole("200 OK", JSON, message(&id, kind).to_string().as_bytes()),
    };
    stream.write_all(&bytes).is_ok() && kind != "cut"
}

const JSON: &str = "content-type: application/json\r\n";

fn message(id: &str, kind: &str) -> Value {
    let text = json!({"type": "text", "text": "hello"});
    let usage = json!({"input_tokens": 25, "output_tokens": 15});
    let (content, usage) = match kind {
        "rich" => (
            json!([
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                text,
            ]),
            json!({
                "input_tokens": 12, "output_tokens": 30, "cache_read_input_tokens": 2048,
                "cache_creation_input_tokens": 1300,
                "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 300},
                "output_tokens_details": {"thinking_tokens": 9},
                "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
                "service_tier": "standard",
            }),
        ),
        "passes" => (
            json!([text]),
            json!({
                "input_tokens": 25, "output_tokens": 15,
                "iterations": [
                    {"type": "message", "input_tokens": 25, "output_tokens": 15},
                    {"type": "advisor_message", "model": "claude-opus-4-6", "input_tokens": 823, "output_tokens": 1612},
                ],
            }),
        ),
        _ => (json!([text]), usage),
    };
    json!({
        "id": id, "type": "message", "role": "assistant", "model": "claude-opus-4", "content": content,
        "stop_reason": "end_turn", "stop_sequence": null, "usage": usage,
    })
}

/// The message as a stream of events; one that breaks off has neither its last counts nor its end.
fn streamed(message: &Value, is_whole: bool) -> Vec<u8> {
    let mut begun = message.clone();
    (begun["content"], begun["stop_reason"], begun["usage"]["output_tokens"]) =
        (json!([]), json!(null), json!(1));
    let mut out = STREAM.to_vec();
    let mut event = |name: &str, mut members: Value| {
        members["type"] = json!(name);
        out.extend(chunk(format!("event: {name}\ndata: {members}\n\n").as_bytes()));
    };
    event("message_start", json!({"message": begun}));
    for (index, block) in message["content"].as_array().expect("blocks").iter().enumerate() {
        let deltas = match block["type"].as_str().expect("is named") {
            "text" => vec![json!({"type": "text_delta", "text": block["text"]})],
            "thinking" => vec![
                json!({"type": "thinking_delta", "thinking": block["thinking"]}),
                json!({"type": "signature_delta", "signature": block["signature"]}),
            ],
            _ => Vec::new(),
        };
        let mut first = block.clone();
        ["text", "thinking", "signature"].iter().filter(|name| block.get(**name).is_some()).for_each(
            |name| {
                first[*name] = json!("");
            },
        );
        event("content_block_start", json!({"index": index, "content_block": first}));
        for delta in deltas {
            event("content_block_delta", json!({"index": index, "delta": delta}));
        }
        if is_whole {
            event("content_block_stop", json!({"index": index}));
        }
    }
    if is_whole {
        let delta = json!({"stop_reason": message["stop_reason"], "stop_sequence": null});
        event("message_delta", json!({"delta": delta, "usage": message["usage"]}));
        event("message_stop", json!({}));
        out.extend_from_slice(b"0\r\n\r\n");
    }
    out
}
