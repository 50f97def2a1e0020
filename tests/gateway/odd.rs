//! Answers and requests that are not as they should be: passed as they are or refused, and metered as far as they can
//! be read.

use std::io::Write;
use std::process::Command;

use crate::gateway::{Gateway, outline, spooled};
use crate::provider::{self, Provider, chunk, whole};
use crate::support::Home;

const JSON: &str = "content-type: application/json\r\n";

/// What is metered of a call that is answered by this.
fn metered(answer: Vec<u8>) -> Vec<serde_json::Value> {
    let home = Home::new();
    let gateway = Gateway::start(&home, &Provider::saying(answer));
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4"}"#);
    assert!(client.answer(false).is_whole);
    gateway.metered(&home)
}

#[test]
fn an_answer_is_read_as_what_it_is_whatever_it_is_called() {
    let json = provider::message("msg_1", 25, 15);
    let called_a_stream =
        whole("200 OK", "content-type: text/event-stream\r\n", format!("\n {json}").as_bytes());
    let stream = [
        format!("HTTP/1.1 200 OK\r\n{JSON}transfer-encoding: chunked\r\n\r\n").as_bytes(),
        &chunk(b"\n: a comment\n\n"),
        &provider::message_start("msg_1", 25),
        &provider::message_end(15),
    ]
    .concat();
    for (answer, is_stream) in [(called_a_stream, false), (stream, true)] {
        let events = metered(answer);
        assert_eq!(events.iter().map(outline).collect::<Vec<_>>(), [("msg_1", "END", 25, 15)]);
        assert_eq!(events[0]["isStreamed"], is_stream);
    }
}

#[test]
fn a_refusal_in_plain_words_is_a_refusal_whatever_its_first_letter() {
    let home = Home::new();
    // What stands before the provider says it thus.
    let provider = Provider::saying(whole(
        "429 Too Many Requests",
        "content-type: text/plain; charset=UTF-8\r\n",
        b"error code: 1015",
    ));
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4"}"#);
    assert_eq!(client.answer(false).text(), "error code: 1015");
    // Which model was asked for, nobody says.
    client.post("", "{}");
    assert_eq!(client.answer(false).text(), "error code: 1015");
    let (code, log) = gateway.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("not metered") && !log.contains("could not be read"), "{log}");
    let events = spooled(&home);
    let reasons: Vec<_> = events.iter().map(|event| event["errorReason"].as_str().expect("text")).collect();
    assert_eq!(reasons, ["HTTP 429"]);
    assert_eq!(events[0]["isStreamed"], false);
}

#[test]
fn a_binary_stream_of_aws_passes_untouched_and_is_said_not_to_be_metered() {
    let home = Home::new();
    let body = b"\0\0\0\x9b\0\0\0\x4b:event-type{\"usage\":{\"input_tokens\":1}}\xff";
    let kind = "content-type: application/vnd.amazon.eventstream\r\n";
    let gateway = Gateway::start(&home, &Provider::saying(whole("200 OK", kind, body)));
    let mut client = gateway.client();
    client.send("POST /model/anthropic.claude-3/invoke-with-response-stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
    let answer = client.answer(false);
    assert!(answer.is_whole && answer.body == body);
    // Whoever is before it may meter.
    assert!(!answer.head.to_ascii_lowercase().contains("x-revenium-metered"), "{}", answer.head);
    let shown = gateway.shows("/metrics").text();
    assert!(shown.contains("revenium_agent_gateway_requests_total{result=\"lost\"} 1\n"), "{shown}");
    let (code, log) = gateway.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("a call was not metered: its answer is a binary stream of AWS's"), "{log}");
    assert!(spooled(&home).is_empty());
}

#[test]
fn members_whose_names_are_written_with_escapes_are_metered() {
    let message = provider::message("msg_1", 25, 15).replace("\"usage\"", "\"\\u0075sage\"");
    let events = metered(whole("200 OK", JSON, message.as_bytes()));
    assert_eq!(events.iter().map(outline).collect::<Vec<_>>(), [("msg_1", "END", 25, 15)]);
}

#[test]
fn a_transfer_coding_is_passed_on_and_read_or_refused_where_it_cannot_be() {
    let home = Home::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(provider::message("msg_1", 25, 15).as_bytes()).expect("written");
    let gzip = gzip.finish().expect("written");
    let head = format!("HTTP/1.1 200 OK\r\n{JSON}transfer-encoding: gzip, chunked\r\n\r\n");
    let provider = Provider::saying([head.as_bytes(), &chunk(&gzip), b"0\r\n\r\n"].concat());
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.send("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    let answer = client.answer(false);
    assert!(answer.head.to_ascii_lowercase().contains("transfer-encoding: gzip, chunked\r\n"), "{answer:?}");
    assert!(answer.is_whole && answer.body == gzip);
    // The same holds the other way.
    let sent = provider.got()[0].head.to_ascii_lowercase();
    assert!(sent.contains("transfer-encoding: gzip, chunked\r\n"), "{sent}");

    let url = format!("http://{}/v1/messages", gateway.address());
    let mut curl = Command::new("curl");
    let told = curl
        .args(["-s", "--http2-prior-knowledge", "-w", "%{http_code}", "-d", r#"{"model":"m"}"#, &url])
        .output();
    let told = String::from_utf8(told.expect("curl runs").stdout).expect("UTF-8");
    assert!(
        told.contains("has a transfer coding, which HTTP/2.0 cannot pass on") && told.ends_with("502"),
        "{told}"
    );

    let events = gateway.metered(&home);
    let found: Vec<_> = events.iter().map(|event| event["stopReason"].as_str().expect("text")).collect();
    assert_eq!(found, ["END", "CANCELLED"]);
    assert_eq!(outline(&events[0]), ("msg_1", "END", 25, 15));
}

#[test]
fn a_request_whose_chunks_are_broken_is_its_client_s_fault_and_no_call() {
    let home = Home::new();
    let provider = Provider::saying(provider::says("msg_1", 1, 2));
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.send("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nnonsense\r\n");
    let answer = client.answer(false);
    assert!(answer.head.starts_with("HTTP/1.1 400"), "{answer:?}");
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(body["error"]["type"], "invalid_request_error");
    let message = body["error"]["message"].as_str().expect("text");
    assert!(message.contains("the request's body could not be read to its end: "), "{message}");
    assert!(!answer.head.to_ascii_lowercase().contains("x-revenium-metered"), "{}", answer.head);
    assert!(gateway.metered(&home).is_empty());
}
