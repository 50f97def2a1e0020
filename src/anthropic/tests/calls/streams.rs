//! Streams, in any split, from any vendor, whole and cut.

use std::time::Duration;

use revenium_anthropic::{By, Call, Ended, Failure, Request, Stream};
use serde_json::{Value, json};

use crate::support::*;

/// A stream with everything in it that may be: comments, pings, unknown events, data on two lines, and
/// white space where JSON has it.
const WHOLE: &str = r#": hello

event: message_start
data: {"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-4","content":[],"stop_reason":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":8,"cache_creation":{"ephemeral_5m_input_tokens":8,"ephemeral_1h_input_tokens":0},"cache_read_input_tokens":null,"output_tokens":1,"service_tier":"standard"}}   }

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

event: tomorrow
data: {"type":"tomorrow","usage":{"input_tokens":999}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Grüß {\"type\":\"message_delta\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"pause_turn","stop_sequence":null},
data: "usage":{"input_tokens":null,"output_tokens":7}}

id: 5
event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":30,"output_tokens":15,"server_tool_use":{"web_search_requests":2}}}

event: message_stop
data: {"type":"message_stop"}

"#;

/// What it says: the last value of each member, and nothing twice.
fn whole() -> Value {
    json!({
        "id": "msg_01", "model": "claude-opus-4", "stop_reason": "end_turn", "ended": "Complete",
        "usage": {
            "input_tokens": 30, "cache_creation_input_tokens": 8,
            "cache_creation": {"ephemeral_5m_input_tokens": 8, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 15, "service_tier": "standard", "server_tool_use": {"web_search_requests": 2},
        },
    })
}

#[test]
fn every_split_and_every_line_ending_say_the_same() {
    for ending in ["\n", "\r\n", "\r"] {
        let text = WHOLE.replace('\n', ending);
        let bytes = text.as_bytes();
        assert_eq!(said(&streamed(bytes.chunks(1), By::Server)), whole(), "{ending:?}");
        for at in 0..=bytes.len() {
            let (front, back) = bytes.split_at(at);
            assert_eq!(said(&streamed([front, back], By::Server)), whole(), "{ending:?} {at}");
        }
    }
}

#[test]
fn wherever_a_stream_is_cut_it_is_not_whole_and_says_what_it_had_said() {
    let end =
        WHOLE.find("{\"type\":\"message_stop\"}").expect("is there") + "{\"type\":\"message_stop\"}".len();
    let mut outputs = Vec::new();
    for at in 0..end {
        let seen = &WHOLE.as_bytes()[..at];
        let (client, server) = (streamed([seen], By::Client), streamed([seen], By::Server));
        assert_eq!((&client.ended, &server.ended), (&Ended::Cancelled, &Ended::Cut), "{at}");
        let usage: Value = server
            .usage
            .as_ref()
            .map(|raw| serde_json::from_str(raw.get()).expect("is JSON"))
            .unwrap_or_default();
        outputs.push(usage["output_tokens"].as_u64().unwrap_or(0));
        let request = Request { model: Some("asked".into()), ..Request::default() };
        let event = event(&Call { request, response: server, ..Call::default() }.to_line());
        assert_eq!(event["outputTokenCount"], outputs[at], "{at}");
        assert_eq!(event["attributes"]["isPartial"], true, "{at}");
    }
    assert!(outputs.is_sorted());
    outputs.dedup();
    assert_eq!(outputs, [0, 1, 7, 15]);
    for at in end..=WHOLE.len() {
        assert_eq!(said(&streamed([&WHOLE.as_bytes()[..at]], By::Client)), whole(), "{at}");
    }
}

/// `events` as a stream, each by its type.
fn of(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("message")))
        .collect()
}

fn start(usage: &Value) -> Value {
    json!({"type": "message_start", "message": {"id": "m", "model": "vendors", "usage": usage}})
}

fn delta(usage: &Value) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
}

#[test]
fn vendors_that_tell_late_or_tell_zeros_first_come_out_right() {
    let last = json!({"input_tokens": 120, "output_tokens": 45, "cache_read_input_tokens": 7});
    let starts = [
        start(&json!({"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 0})),
        start(&json!({"input_tokens": null})),
        start(&json!({})),
        start(&Value::Null),
        json!({"type": "message_start", "message": {"id": "m", "model": "vendors"}}),
    ];
    for start in starts {
        let text = of(&[start.clone(), delta(&last), json!({"type": "message_stop"})]);
        // Some send no names of events at all, and end as OpenAI does.
        let nameless: String =
            text.lines().filter(|line| !line.starts_with("event")).map(|line| format!("{line}\n")).collect();
        for text in [text, nameless + "data: [DONE]\n\n"] {
            let response = streamed([text.as_bytes()], By::Server);
            assert_eq!(
                said(&response),
                json!({"id": "m", "model": "vendors", "stop_reason": "end_turn", "usage": last, "ended": "Complete"}),
                "{start}"
            );
            let event = event(&Call { response, ..Call::default() }.to_line());
            assert_eq!(members(&event, &["totalTokenCount", "cacheReadTokenCount"]), [json!(165), json!(7)]);
        }
    }
}

#[test]
fn each_delta_overwrites_and_none_is_added() {
    let text = of(&[
        start(&json!({"input_tokens": 10, "output_tokens": 4, "a": 1})),
        delta(&json!({"output_tokens": 20})),
        delta(&json!({"output_tokens": 30, "input_tokens": 12, "a": null, "b": {"c": 1}})),
        delta(&json!({"output_tokens": 35, "b": {"d": 2}})),
        json!({"type": "message_stop"}),
    ]);
    let usage = streamed([text.as_bytes()], By::Server).usage.expect("is stated");
    assert_eq!(usage.get(), r#"{"a":1,"input_tokens":12,"output_tokens":35,"b":{"d":2}}"#);
}

#[test]
fn an_error_in_the_stream_is_an_error_whoever_ends_it() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let text = of(&[start(&json!({"input_tokens": 10, "output_tokens": 1})), error]);
    for by in [By::Client, By::Server] {
        let response = streamed([text.as_bytes()], by);
        let failure = Failure { kind: Some("overloaded_error".into()), ..Failure::default() };
        assert_eq!(response.ended, Ended::Error(failure));
        let event = event(&Call { response, is_streamed: true, ..Call::default() }.to_line());
        assert_eq!(
            members(&event, &["stopReason", "errorReason", "totalTokenCount"]),
            [json!("ERROR"), json!("overloaded_error"), json!(11)]
        );
        assert_eq!(event["attributes"], json!({"isPartial": true}));
    }
    let unreadable = streamed([&b"event: error\ndata: Overloaded\n\n"[..]], By::Server);
    assert_eq!(unreadable.ended, Ended::Error(Failure::default()));
}

#[test]
fn the_first_token_is_the_first_content_delta() {
    let mut stream = Stream::new();
    let parts = of(&[start(&json!({})), json!({"type": "content_block_start"}), json!({"type": "ping"})]);
    stream.push(parts.as_bytes(), Duration::from_millis(10));
    stream.push(b"event: content_block_delta\ndata: {\"type\":\"content_", Duration::from_millis(50));
    stream.push(b"block_delta\"}\n\n", Duration::from_micros(60_900));
    stream.push(b"event: content_block_delta\ndata: {}\n\n", Duration::from_millis(90));
    assert_eq!(stream.finish(Duration::from_millis(100), By::Server).time_to_first_token_ms, Some(60));
    assert_eq!(streamed([parts.as_bytes()], By::Server).time_to_first_token_ms, None);
}

#[test]
fn gigantic_deltas_change_nothing() {
    let (front, back) = WHOLE.split_at(WHOLE.find("event: content_block_delta").expect("is there"));
    let megabyte = vec![b'x'; 1 << 20];
    let mut chunks = vec![
        front.as_bytes(),
        b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":\"",
    ];
    chunks.extend(vec![&megabyte[..]; 16]);
    chunks.extend([
        &b"\"}\n\ndata: {\"type\":\"content_block_delta\",\"delta\":\""[..],
        &megabyte,
        b"\"}\n\n",
        back.as_bytes(),
    ]);
    let response = streamed(chunks, By::Server);
    assert_eq!(said(&response), whole());
    assert_eq!(response.time_to_first_token_ms, Some(190));
}

#[test]
fn counts_that_cannot_be_read_are_not_said_to_be_whole() {
    let stop = json!({"type": "message_stop"});
    let long = "x".repeat(300_000);
    let table = [
        of(&[
            start(&json!({"input_tokens": 10, "output_tokens": 1})),
            delta(&json!({"output_tokens": 5, "story": long})),
            stop.clone(),
        ]),
        of(&[start(&json!({"input_tokens": 10, "output_tokens": 1})), delta(&json!([])), stop.clone()]),
        of(&[start(&json!({"input_tokens": 10, "output_tokens": 1}))])
            + "event: message_delta\ndata: {\"type\":\n\n"
            + &of(std::slice::from_ref(&stop)),
        // Several that are small enough alone.
        of(&[
            start(&json!({"input_tokens": 10, "output_tokens": 1, "a": &long[..200_000]})),
            delta(&json!({"b": &long[..200_000]})),
            stop.clone(),
        ]),
        "event: message_start\ndata: {\"type\":\"message_start\"}\n\n".to_owned()
            + &of(&[delta(&json!({"input_tokens": 10, "output_tokens": 1})), stop]),
    ];
    for text in table {
        let response = streamed([text.as_bytes()], By::Client);
        assert_eq!(response.ended, Ended::Cut, "{}", &text[..text.len().min(300)]);
        let usage: Value =
            serde_json::from_str(response.usage.expect("what was read stays").get()).expect("is JSON");
        assert_eq!(members(&usage, &["input_tokens", "output_tokens"]), [json!(10), json!(1)]);
    }
}

#[test]
fn what_is_no_stream_at_all_was_cut() {
    for text in [
        "",
        "<html>\n\n",
        "{\"id\":\"m\"}",
        "data\n\n",
        "data: null\n\ndata: 7\n\n",
        "\u{feff}",
        "\0\r\r\r\n",
    ] {
        let response = streamed([text.as_bytes()], By::Server);
        assert_eq!(
            (response.ended, response.id, response.usage.is_none()),
            (Ended::Cut, None, true),
            "{text:?}"
        );
    }
}
