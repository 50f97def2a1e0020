//! What is metered of a call, by whom, and as whose.

use std::io::Write;

use serde_json::json;

use crate::client::until_gone;
use crate::gateway::{Gateway, outline};
use crate::provider::{self, Provider, whole};
use crate::support::Home;

fn compressed(codings: &str, text: &[u8]) -> Vec<u8> {
    codings.split(", ").fold(text.to_vec(), |text, coding| compressed_once(coding, &text))
}

fn compressed_once(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            writer.write_all(text).expect("written");
            writer.finish().expect("written")
        }
        "deflate" => {
            let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            writer.write_all(text).expect("written");
            writer.finish().expect("written")
        }
        "zstd" => zstd::encode_all(text, 3).expect("written"),
        _ => text.to_vec(),
    }
}

#[test]
fn an_answer_is_metered_however_it_is_compressed() {
    let home = Home::new();
    let codings = ["identity", "gzip", "deflate", "zstd", "gzip, zstd"];
    let provider = Provider::start(move |request, stream| {
        let coding =
            codings.iter().find(|c| request.head.contains(&format!("want: {c}\r"))).expect("is asked for");
        let body = compressed(coding, provider::message(&format!("msg_{coding}"), 7, 3).as_bytes());
        let field =
            if *coding == "identity" { String::new() } else { format!("content-encoding: {coding}\r\n") };
        // One field or several say the same.
        let field = field.replace(", ", "\r\ncontent-encoding: ");
        stream
            .write_all(&whole("200 OK", &format!("content-type: application/json\r\n{field}"), &body))
            .is_ok()
    });
    let gateway = Gateway::start(&home, &provider);
    for coding in codings {
        let mut client = gateway.client();
        client.post(&format!("want: {coding}\r\n"), "{}");
        assert_eq!(
            client.answer(false).body,
            compressed(coding, provider::message(&format!("msg_{coding}"), 7, 3).as_bytes())
        );
    }
    let events = gateway.metered(&home);
    let found: Vec<_> = events.iter().map(outline).collect();
    assert_eq!(
        found,
        [
            ("msg_identity", "END", 7, 3),
            ("msg_gzip", "END", 7, 3),
            ("msg_deflate", "END", 7, 3),
            ("msg_zstd", "END", 7, 3),
            ("msg_gzip, zstd", "END", 7, 3)
        ]
    );
}

#[test]
fn an_answer_in_an_unknown_coding_passes_and_is_a_record_without_tokens() {
    let home = Home::new();
    let provider = Provider::start(|request, stream| {
        let status = if request.head.contains("refuse") { "400 Bad Request" } else { "200 OK" };
        stream.write_all(&whole(status, "content-encoding: tomorrow\r\n", b"\x01\x02")).is_ok()
    });
    let gateway = Gateway::start(&home, &provider);
    for fields in ["", "x-do: refuse\r\n"] {
        let mut client = gateway.client();
        client.post(fields, r#"{"model":"claude-opus-4"}"#);
        assert_eq!(client.answer(false).body, b"\x01\x02");
    }
    let events = gateway.metered(&home);
    let said = |event: &serde_json::Value| (event["stopReason"].clone(), event["errorReason"].clone());
    let expected = ["cut off before its end", "HTTP 400"].map(|why| (json!("ERROR"), json!(why)));
    assert_eq!(events.iter().map(said).collect::<Vec<_>>(), expected);
}

#[test]
fn what_a_request_says_of_itself_is_in_its_event_and_goes_nowhere_else() {
    let home = Home::new();
    let provider = Provider::saying(provider::says("msg_1", 25, 15));
    let gateway = Gateway::start_with(
        &home,
        &provider.url(),
        "gateway.credential_from_key = true\ngateway.profile = \"team\"\n",
    );
    let mut client = gateway.client();
    client.post(
        "X-Revenium-Task-Type: chat\r\nx-revenium-organization-name: acme\r\nx-revenium-subscriber-id: u-7\r\nx-revenium-trace-id: t-1\r\nX-Stainless-Retry-Count: 2\r\n",
        r#"{"model":"claude-opus","tools":[{"name":"x"}],"messages":[{"content":[{"type":"image"}]}]}"#,
    );
    assert!(client.answer(false).is_whole);
    let got = provider.got();
    assert!(!got[0].head.to_ascii_lowercase().contains("revenium"), "{}", got[0].head);
    let events = gateway.metered(&home);
    let event = &events[0];
    assert_eq!(outline(event), ("msg_1", "END", 25, 15));
    assert_eq!(event["taskType"], "chat");
    assert_eq!(event["organizationName"], "acme");
    assert_eq!(event["traceId"], "t-1");
    assert_eq!(
        (&event["retryNumber"], &event["operationType"], &event["hasVisionContent"]),
        (&json!(2), &json!("TOOL_CALL"), &json!(true))
    );
    assert_eq!(event["subscriber"]["id"], "u-7");
    let name = event["subscriber"]["credential"]["name"].as_str().expect("the key's fingerprint");
    assert!(name.starts_with("key-"), "{name}");
    assert!(!event.to_string().contains("sk-ant"), "{event}");
}

#[test]
fn two_layers_meter_a_call_once() {
    let home = Home::new();
    let provider = Provider::start(|request, stream| {
        let mark = if request.head.contains("meter-there") { "X-Revenium-Metered: there\r\n" } else { "" };
        let fields = format!("content-type: application/json\r\n{mark}");
        stream.write_all(&whole("200 OK", &fields, provider::message("msg_1", 1, 2).as_bytes())).is_ok()
    });
    let inner = Gateway::start(&home, &provider);
    let outer_home = Home::new();
    let outer = Gateway::start_with(&outer_home, &format!("http://{}", inner.address()), "");

    // A middleware that meters says so, and it is taken out.
    let mut client = inner.client();
    client.post("x-revenium-metered: python\r\n", "{}");
    assert!(!client.answer(false).head.contains("x-revenium-metered"));
    assert!(!provider.got()[0].head.contains("revenium"));
    // What was metered nearer to the provider says so, and it is passed on.
    client.post("meter-there: 1\r\n", "{}");
    assert!(client.answer(false).head.contains("X-Revenium-Metered: there"));
    // Of two gateways the one nearer to the provider meters.
    let mut client = outer.client();
    client.post("", "{}");
    let head = client.answer(false).head;
    assert_eq!(head.matches("x-revenium-metered: revenium-gateway/").count(), 1, "{head}");

    assert_eq!(outer.metered(&outer_home).len(), 0);
    assert_eq!(inner.metered(&home).len(), 1);
}

#[test]
fn a_client_that_goes_away_ends_the_call_and_what_was_seen_is_billed() {
    let home = Home::new();
    let (ended, has_ended) = std::sync::mpsc::channel();
    let ended = std::sync::Mutex::new(ended);
    let provider = Provider::start(move |_, stream| {
        stream.write_all(provider::STREAM).expect("sent");
        stream.write_all(&provider::message_start("msg_1", 25)).expect("sent");
        stream.write_all(&provider::delta("hello")).expect("sent");
        until_gone(stream);
        ended.lock().expect("one request").send(()).expect("waited for");
        false
    });
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4","stream":true}"#);
    client.read_until("hello");
    drop(client);
    has_ended.recv().expect("the provider's connection ends");
    let events = gateway.metered(&home);
    assert_eq!(events.iter().map(outline).collect::<Vec<_>>(), [("msg_1", "CANCELLED", 25, 1)]);
    assert_eq!(
        (&events[0]["attributes"]["isPartial"], &events[0]["isStreamed"]),
        (&json!(true), &json!(true))
    );
}

#[test]
fn a_client_that_goes_away_before_there_is_an_answer_ends_the_call() {
    let home = Home::new();
    let (ended, has_ended) = std::sync::mpsc::channel();
    let ended = std::sync::Mutex::new(ended);
    let provider = Provider::start(move |_, stream| {
        until_gone(stream);
        ended.lock().expect("one request").send(()).expect("waited for");
        false
    });
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4"}"#);
    crate::support::until("the provider has the request", || provider.got().len(), |count| *count == 1);
    drop(client);
    has_ended.recv().expect("the provider's connection ends");
    let events = gateway.metered(&home);
    assert_eq!(
        (&events[0]["stopReason"], &events[0]["model"]),
        (&json!("CANCELLED"), &json!("claude-opus-4"))
    );
    assert_eq!(events.len(), 1);
}

#[test]
fn a_provider_that_breaks_off_breaks_the_answer_off_and_what_was_seen_is_billed() {
    let home = Home::new();
    let provider = Provider::start(|request, stream| {
        let answer = match request.head.contains("whole: 1") {
            true => whole(
                "200 OK",
                "content-type: application/json\r\n",
                provider::message("msg_2", 5, 6).as_bytes(),
            ),
            false => [provider::STREAM, &provider::message_start("msg_1", 25)].concat(),
        };
        stream.write_all(&answer[..answer.len() - 10]).expect("sent");
        false
    });
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.post("whole: 0\r\n", r#"{"model":"m","stream":true}"#);
    assert!(!client.answer(false).is_whole);
    let mut client = gateway.client();
    client.post("whole: 1\r\n", r#"{"model":"m"}"#);
    assert!(!client.answer(false).is_whole);
    let events = gateway.metered(&home);
    let stop: Vec<_> = events.iter().map(|event| event["stopReason"].as_str().expect("text")).collect();
    assert_eq!(stop, ["ERROR", "ERROR"], "{events:?}");
}

#[test]
fn a_call_that_fails_is_a_record_without_tokens_and_other_routes_are_none() {
    let home = Home::new();
    let error = br#"{"type":"error","error":{"type":"overloaded_error","message":"a secret prompt"},"request_id":"req_1"}"#;
    let provider =
        Provider::saying(whole("529 ", "content-type: application/json\r\nrequest-id: req_1\r\n", error));
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4"}"#);
    assert!(client.answer(false).head.starts_with("HTTP/1.1 529"));
    for path in ["/v1/messages/count_tokens", "/v1/messages/batches", "/v1/complete", "/v1/models", "/v9/x"] {
        client.send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}"));
        client.answer(false);
    }
    let events = gateway.metered(&home);
    assert_eq!(events.iter().map(outline).collect::<Vec<_>>(), [("req_1", "ERROR", 0, 0)]);
    assert_eq!((&events[0]["errorCode"], &events[0]["model"]), (&json!(529), &json!("claude-opus-4")));
    assert!(!events[0].to_string().contains("secret"), "{}", events[0]);
}

#[test]
fn a_call_without_an_answer_is_metered_here_and_says_so() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &Provider::start(|_, _| false));
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4"}"#);
    let answer = client.answer(false);
    assert!(answer.head.starts_with("HTTP/1.1 502"), "{}", answer.head);
    assert!(answer.head.to_ascii_lowercase().contains("x-revenium-metered: revenium-gateway/"));
    assert_eq!(gateway.metered(&home).len(), 1);
}

#[test]
fn an_answer_that_ends_with_trailers_has_come_whole() {
    let home = Home::new();
    let body = provider::message("msg_1", 1, 2);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-sum: 1\r\n\r\n",
        body.len()
    );
    let gateway = Gateway::start(&home, &Provider::saying(answer));
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4"}"#);
    assert!(client.answer(false).is_whole);
    let events = gateway.metered(&home);
    assert_eq!(events.iter().map(outline).collect::<Vec<_>>(), [("msg_1", "END", 1, 2)]);
}

#[test]
fn a_refused_request_that_names_no_model_is_no_call_and_no_alarm() {
    let home = Home::new();
    let error = br#"{"type":"error","error":{"type":"invalid_request_error","message":"model: required"}}"#;
    let provider = Provider::saying(whole("400 Bad Request", "content-type: application/json\r\n", error));
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.post("", "{}");
    assert!(client.answer(false).head.starts_with("HTTP/1.1 400"));
    let (code, log) = gateway.stop();
    assert_eq!((code, log.contains("not metered")), (Some(0), false), "{log}");
}

#[test]
fn a_provider_that_is_not_there_is_told_in_anthropic_s_words() {
    let home = Home::new();
    let nowhere = crate::support::unused_address();
    let gateway = Gateway::start_with(&home, &format!("http://{nowhere}"), "");
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4"}"#);
    let answer = client.answer(false);
    assert!(answer.head.starts_with("HTTP/1.1 502"), "{}", answer.head);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("api_error")));
    let message = body["error"]["message"].as_str().expect("text");
    assert!(message.contains(&nowhere) && message.contains("gateway.provider_url"), "{message}");
    assert!(!answer.head.to_ascii_lowercase().contains("x-revenium-metered"), "{}", answer.head);
    // Nothing was called, and nothing can be billed.
    assert_eq!(gateway.metered(&home).len(), 0);
}

#[test]
fn a_gateway_of_its_own_tells_how_it_does_and_what_calls_came_to() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &Provider::saying(provider::says("msg_1", 1, 2)));
    let counts = || {
        let shown = gateway.shows("/metrics").text();
        let count = |result: &str| {
            let series = format!("revenium_agent_gateway_requests_total{{result=\"{result}\"}} ");
            shown.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok()).expect("is there")
        };
        ["metered", "left", "lost", "other"].map(count)
    };
    assert_eq!(counts(), [0, 0, 0, 0], "each is there from the start");
    let mut client = gateway.client();
    for fields in ["", "", "x-revenium-metered: python\r\n"] {
        client.post(fields, r#"{"model":"m"}"#);
        assert!(client.answer(false).is_whole);
    }
    client.send("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.answer(false).is_whole);
    crate::support::until("all are counted", counts, |counts| *counts == [2, 1, 0, 1]);
    let shown = gateway.shows("/metrics").text();
    assert!(shown.contains("revenium_agent_connections 1\n"), "{shown}");
    assert!(
        shown.contains("process_resident_memory_bytes ") && shown.contains("build_info{version="),
        "{shown}"
    );
    for (path, status) in [("/healthz", "200"), ("/readyz", "200"), ("/", "404")] {
        assert!(gateway.shows(path).head.starts_with(&format!("HTTP/1.1 {status}")), "{path}");
    }
    gateway.stop();
}
