//! What goes through is what was sent: the same exchange with and without the gateway between.

use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc;

use crate::client::{Answer, Client};
use crate::gateway::Gateway;
use crate::provider::{self, Got, Provider, chunk, whole};
use crate::support::{Home, until};

/// An exchange: what the client sends, and what the provider answers.
struct Case {
    name: &'static str,
    request: Vec<u8>,
    answer: Vec<u8>,
}

fn case(name: &'static str, request: impl Into<Vec<u8>>, answer: impl Into<Vec<u8>>) -> Case {
    Case { name, request: request.into(), answer: answer.into() }
}

fn post(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nHost: HERE\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).expect("written");
    encoder.finish().expect("written")
}

fn cases() -> Vec<Case> {
    let json = "Content-Type: application/json\r\n";
    let body = br#"{"model":"claude-opus-4","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}"#;
    let said = provider::message("msg_1", 25, 15);
    let stream = [
        &b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
        &provider::message_start("msg_2", 25),
        &chunk(b": a comment\r\nevent: ping\rdata: {}\n\n"),
        &provider::delta("hi"),
        &provider::message_end(15),
    ]
    .concat();
    // White space around a value is none of it, and of a name that comes several times the fields come together.
    let odd = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\nREQUEST-ID: req_1\r\n\
               Set-Cookie: a=1\r\nset-cookie: b=2\r\nX-Odd: two  spaces\r\nanthropic-ratelimit-requests-remaining: 7\r\n";
    vec![
        case(
            "old key",
            post(&format!("X-Api-Key: sk-ant-1\r\nAnthropic-Version: 2023-06-01\r\n{json}"), body),
            whole("200 OK", odd, said.as_bytes()),
        ),
        case(
            "new key",
            post(
                &format!(
                    "Authorization: Bearer sk-ant-2\r\naccept-encoding: gzip, deflate, br, zstd\r\nanthropic-beta: a\r\nanthropic-beta: b\r\n{json}"
                ),
                body,
            ),
            whole("200 OK", odd, said.as_bytes()),
        ),
        case("stream", post(json, body), stream),
        case(
            "compressed",
            post(json, body),
            whole(
                "200 OK",
                "content-type: application/json\r\nContent-Encoding: gzip\r\n",
                &gzip(said.as_bytes()),
            ),
        ),
        case(
            "refused",
            post(json, body),
            whole(
                "429 Too Many, Really",
                "Retry-After: 3\r\nx-should-retry: true\r\ncontent-type: application/json\r\n",
                br#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#,
            ),
        ),
        case(
            "overloaded",
            post(json, body),
            whole(
                "529 ",
                "content-type: application/json\r\n",
                br#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
            ),
        ),
        case(
            "not JSON",
            post("", b"\x00\xff not json"),
            whole("400 Bad Request", "content-type: text/html\r\n", b"<html>\xff</html>"),
        ),
        case(
            "redirect",
            post(json, body),
            whole("307 Temporary Redirect", "location: http://127.0.0.1:9/\r\n", b""),
        ),
        case(
            "get",
            "GET /v1/models?limit=2&after_id=%2F..//x HTTP/1.1\r\nHost: HERE\r\nX-API-KEY: k\r\n\r\n",
            whole("200 OK", json, b"{\"data\":[]}"),
        ),
        case(
            "head",
            "HEAD /v1/models HTTP/1.1\r\nhost: HERE\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n",
        ),
        case(
            "delete",
            "DELETE /v1/files/f HTTP/1.1\r\nHost: HERE\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nrequest-id: r\r\n\r\n",
        ),
        case(
            "unknown",
            "PATCH /v9/tomorrow HTTP/1.1\r\nHost: HERE\r\nContent-Length: 2\r\n\r\n{}",
            whole("404 Not Found", "", b"no"),
        ),
        case(
            "chunked upload",
            "POST /v1/files HTTP/1.1\r\nHost: HERE\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n",
            whole("200 OK", json, b"{}"),
        ),
        case(
            "expects",
            "POST /v1/files HTTP/1.1\r\nHost: HERE\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
            whole("200 OK", json, b"{}"),
        ),
        case(
            "until it closes",
            post(json, body),
            [
                &b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"[..],
                said.as_bytes(),
            ]
            .concat(),
        ),
    ]
}

/// Runs a case against `address`: what the client got, and what the provider.
fn run(case: &Case, address: &str, provider: &Provider) -> (Answer, Got) {
    let mut client = Client::connect(address);
    let at = case.request.windows(4).position(|four| four == b"HERE").expect("it says Host");
    client.send([&case.request[..at], address.as_bytes(), &case.request[at + 4..]].concat());
    let mut answer = client.answer(case.request.starts_with(b"HEAD"));
    if answer.head.starts_with("HTTP/1.1 100") {
        answer = client.answer(false);
    }
    (answer, provider.got().pop().expect("it came"))
}

/// A head's lines without what belongs to a connection.
fn fields(head: &str, but: &[&str]) -> Vec<String> {
    let of_connection = ["connection:", "transfer-encoding:"];
    let stays = |line: &&str| {
        let line = line.to_ascii_lowercase();
        !of_connection.iter().chain(but).any(|name| line.starts_with(name))
    };
    head.lines().filter(stays).map(str::to_owned).collect()
}

#[test]
fn an_exchange_is_the_same_with_the_gateway_between() {
    let home = Home::new();
    for case in cases() {
        let answer = case.answer.clone();
        let closes = String::from_utf8_lossy(&answer).contains("connection: close");
        let provider = Provider::start(move |_, stream| stream.write_all(&answer).is_ok() && !closes);
        let gateway = Gateway::start(&home, &provider);
        let (direct, sent) = run(&case, &provider.address(), &provider);
        let (passed, got) = run(&case, gateway.address(), &provider);

        // The provider is called by its own name, and sees the same otherwise.
        assert_eq!(fields(&got.head, &["host:"]), fields(&sent.head, &["host:"]), "{}", case.name);
        assert!(
            fields(&got.head, &[])
                .iter()
                .any(|line| line.eq_ignore_ascii_case(&format!("host: {}", provider.address()))),
            "{got:?}"
        );
        assert_eq!((got.body, got.body_bytes), (sent.body, sent.body_bytes), "{}", case.name);

        // The client sees the same, and who metered it.
        assert_eq!(
            fields(&passed.head, &["x-revenium-metered:"]),
            fields(&direct.head, &[]),
            "{}",
            case.name
        );
        assert_eq!((passed.text(), passed.is_whole), (direct.text(), direct.is_whole), "{}", case.name);
        assert_eq!(passed.body, direct.body, "{}", case.name);
        gateway.stop();
    }
}

#[test]
fn a_piece_of_an_answer_is_passed_on_before_the_next_one_is_there() {
    let home = Home::new();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let provider = Provider::start(move |_, stream| {
        let wait = wait.lock().expect("one request");
        let mut say = |bytes: Vec<u8>| {
            stream.write_all(&bytes).expect("sent");
            // Nothing more comes until the client has this.
            wait.recv().expect("goes on");
        };
        say([provider::STREAM.to_vec(), provider::message_start("msg_1", 9)].concat());
        say(provider::delta("one"));
        say(provider::delta("two"));
        stream.write_all(&provider::message_end(3)).is_ok()
    });
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.post("", r#"{"model":"m","stream":true}"#);
    for piece in ["message_start", "one", "two"] {
        client.read_until(piece);
        go_on.send(()).expect("waited for");
    }
    assert!(client.answer(false).is_whole);
    assert_eq!(gateway.metered(&home).len(), 1);
}

#[test]
fn what_came_before_an_answer_broke_off_is_passed_on_and_does_not_look_whole() {
    let home = Home::new();
    // Piece and end arrive together, more often than not.
    let provider = Provider::start(|_, stream| {
        let said = [provider::STREAM, &provider::message_start("msg_1", 9), &provider::delta("one")].concat();
        stream.write_all(&said).is_ok() && stream.shutdown(Shutdown::Both).is_err()
    });
    let gateway = Gateway::start(&home, &provider);
    for n in 0..100 {
        let mut client = gateway.client();
        client.post("", r#"{"model":"m","stream":true}"#);
        let answer = client.answer(false);
        assert!(answer.text().contains("one") && !answer.is_whole, "call {n}: {}", answer.text());
    }
    assert_eq!(gateway.metered(&home).len(), 100);
}

#[test]
fn an_upload_reaches_the_provider_before_it_ends() {
    let home = Home::new();
    let (seen, was_seen) = mpsc::channel::<()>();
    let seen = std::sync::Mutex::new(seen);
    let provider = Provider::start(move |_, stream| {
        let _ = seen.lock().map(|seen| seen.send(()));
        stream.write_all(&provider::says("msg_1", 1, 2)).is_ok()
    });
    // A stand-in that reads whole requests sees this one's end; what is before it must not wait in between.
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.send("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n{\"");
    until("the provider is connected to", || provider.connections(), |count| *count == 1);
    client.send("a\"");
    was_seen.recv().expect("the rest came");
    assert!(client.answer(false).is_whole);
    gateway.stop();
}

#[test]
fn a_connection_serves_one_request_after_the_other_and_so_does_the_provider_s() {
    let home = Home::new();
    let provider = Provider::saying(provider::says("msg_1", 1, 2));
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    for _ in 0..20 {
        client.post("", "{}");
        assert!(client.answer(false).is_whole);
    }
    assert_eq!((provider.connections(), provider.got().len()), (1, 20));
    gateway.stop();
}

#[test]
fn a_client_of_http_2_is_served_in_it() {
    let home = Home::new();
    let stream =
        [provider::STREAM.to_vec(), provider::message_start("msg_1", 25), provider::message_end(15)].concat();
    let provider = Provider::saying(stream);
    let gateway = Gateway::start(&home, &provider);
    let url = format!("http://{}/v1/messages", gateway.address());
    let fields = ["-H", "x-api-key: sk-ant-1", "-H", "te: trailers", "-d", r#"{"model":"m","stream":true}"#];
    let mut curl = std::process::Command::new("curl");
    let told =
        curl.args(["-s", "--http2-prior-knowledge", "-w", "%{http_version}", &url]).args(fields).output();
    let told = String::from_utf8(told.expect("curl runs").stdout).expect("UTF-8");
    assert!(told.starts_with("event: message_start") && told.ends_with("\n2"), "{told}");
    let got = provider.got();
    assert!(got[0].head.to_lowercase().contains(&format!("host: {}\r\n", provider.address())), "{got:?}");
    assert_eq!(got[0].body, br#"{"model":"m","stream":true}"#);
    let events = gateway.metered(&home);
    assert_eq!(events.iter().map(crate::gateway::outline).collect::<Vec<_>>(), [("msg_1", "END", 25, 15)]);
}
