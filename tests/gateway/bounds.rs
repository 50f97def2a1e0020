//! Bodies of any size cost the same memory, and what lies about itself harms nobody.

use std::io::Write;

use crate::gateway::{Gateway, outline};
use crate::provider::{self, Provider, whole};
use crate::support::Home;

const LARGE_BYTES: usize = 100 << 20;

/// A debug build at rest has some 20 MiB; a body that is gathered would have 100 more.
const PEAK_KIB: u64 = 64 << 10;

#[test]
fn large_bodies_pass_both_ways_in_little_memory() {
    let home = Home::new();
    let provider = Provider::start(|request, stream| {
        assert!(request.body_bytes > LARGE_BYTES);
        let message = provider::message("msg_1", 25, 15);
        let (before, after) = message.split_once("hello").expect("its text");
        let length = message.len() + LARGE_BYTES - "hello".len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{before}"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        for _ in 0..LARGE_BYTES >> 20 {
            stream.write_all(&[b'x'; 1 << 20]).expect("sent");
        }
        stream.write_all(after.as_bytes()).is_ok()
    });
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    let (before, after) =
        (r#"{"model":"claude-opus-4","messages":[{"role":"user","content":""#, r#""}],"tools":[1]}"#);
    let length = before.len() + LARGE_BYTES + after.len();
    client.send(format!(
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{before}"
    ));
    for _ in 0..LARGE_BYTES >> 20 {
        client.send([b'x'; 1 << 20]);
    }
    client.send(after);
    let answer = client.answer(false);
    assert!(answer.is_whole && answer.body.len() > LARGE_BYTES);
    let peak = gateway.peak_kib();
    assert!(peak < PEAK_KIB, "{peak} KiB");
    let events = gateway.metered(&home);
    assert_eq!(events.iter().map(outline).collect::<Vec<_>>(), [("msg_1", "END", 25, 15)]);
    assert_eq!(events[0]["operationType"], "TOOL_CALL");
}

#[test]
fn a_compressed_answer_that_lies_about_itself_passes_and_harms_nobody() {
    let home = Home::new();
    // 128 MiB of zeros in 128 KiB, and one that is not compressed at all.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..128 {
        bomb.write_all(&[0; 1 << 20]).expect("written");
    }
    let bomb = bomb.finish().expect("written");
    let sent = bomb.clone();
    let provider = Provider::start(move |request, stream| {
        let body = if request.head.contains("bomb: 1") { &bomb[..] } else { b"not gzip" };
        stream
            .write_all(&whole("200 OK", "content-type: application/json\r\ncontent-encoding: gzip\r\n", body))
            .is_ok()
    });
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.post("bomb: 1\r\n", "{}");
    assert!(client.answer(false).body == sent);
    client.post("bomb: 0\r\n", "{}");
    assert_eq!(client.answer(false).text(), "not gzip");
    let peak = gateway.peak_kib();
    assert!(peak < PEAK_KIB, "{peak} KiB");
    gateway.stop();
}

#[test]
fn an_answer_that_claims_thousands_of_codings_passes_and_harms_nobody() {
    let home = Home::new();
    let body = provider::message("msg_1", 25, 15);
    let coding = format!("content-encoding: gzip{}\r\n", ",gzip".repeat(8_000));
    let gateway = Gateway::start(&home, &Provider::saying(whole("200 OK", &coding, body.as_bytes())));
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4"}"#);
    assert_eq!(client.answer(false).text(), body);
    let peak = gateway.peak_kib();
    assert!(peak < PEAK_KIB, "{peak} KiB");
    let events = gateway.metered(&home);
    let found: Vec<_> = events.iter().map(|event| event["stopReason"].as_str().expect("text")).collect();
    assert_eq!(found, ["ERROR"]);
}

#[test]
fn a_web_page_and_a_foreign_name_are_refused_unread() {
    let home = Home::new();
    let provider = Provider::saying(provider::says("msg_1", 1, 2));
    let gateway = Gateway::start(&home, &provider);
    for (fields, status) in [
        ("Host: evil.example\r\n", "421"),
        ("Host: localhost\r\nOrigin: https://evil.example\r\n", "403"),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", "403"),
        ("Host: localhost\r\n", "200"),
    ] {
        let mut client = gateway.client();
        client.send(format!("POST /v1/messages HTTP/1.1\r\n{fields}Content-Length: 2\r\n\r\n{{}}"));
        let answer = client.answer(false);
        assert!(answer.head.starts_with(&format!("HTTP/1.1 {status}")), "{fields}: {}", answer.head);
    }
    assert_eq!(provider.got().len(), 1);
    gateway.stop();
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_what_to_do() {
    let home = Home::new();
    for (more, word) in [
        ("gateway.listen = \"0.0.0.0:0\"", "listen on 127.0.0.1"),
        (
            "gateway.provider_url = \"api.anthropic.com\"",
            "is not a URL such as \"https://api.anthropic.com\"",
        ),
        ("gateway.provider_url = \"https://u:hunter2@h\"", "clients send their own key"),
        ("gateway.provider_url = \"https://h/?x=1\"", "has a query"),
        ("gateway.profile = \"a b\"", "is not a profile's name"),
        ("gateway.stop_deadline = 5", "gateway.stop_deadline"),
    ] {
        home.write("bad.toml", more);
        let output = home.command(&["gateway", "--config", "bad.toml"]).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{more}: {said}");
        assert!(said.contains(word) && !said.contains("hunter2"), "{more}: {said}");
    }
    let output = home
        .command(&["gateway", "--listen", "127.0.0.1:4791", "--provider-url", "http://localhost:4791"])
        .output();
    let said = String::from_utf8_lossy(&output.expect("runs").stderr).into_owned();
    assert!(said.contains("is this gateway itself"), "{said}");
}

#[test]
fn requests_that_are_not_passed_on_do_not_fill_the_log() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &Provider::saying("unasked"));
    let mut client = gateway.client();
    for _ in 0..200 {
        client.send("GET /v1/models HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n");
        assert!(client.answer(false).head.starts_with("HTTP/1.1 421"));
    }
    let (_, log) = gateway.stop();
    let lines = log.lines().filter(|line| line.contains("was not answered by the provider")).count();
    assert!((1..100).contains(&lines), "{lines} lines");
}
