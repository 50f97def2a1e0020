//! The socket's lines over the relay, for who has no Unix socket: what is told, and what is billed.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Agent, Home, KEY, OTHER_KEY, completion, until};

const RELAY: &str = "relay.listen = \"127.0.0.1:0\"\n";
const HELLO: &str = "{\"hello\":{\"v\":1,\"producer\":\"0123456789abcdef0123456789abcdef\"}}\n";
const ASKED: &[&str] = &["Connection: upgrade", "Upgrade: revenium-lines"];

/// A connection that has asked, and the status and the message that it was told.
fn ask(agent: &Agent, request: &str, headers: &[&str]) -> (BufReader<TcpStream>, u16, String) {
    let address = agent.ready["relay"].as_str().expect("is on");
    let mut stream = BufReader::new(TcpStream::connect(address).expect("listens"));
    let head = format!("{request} HTTP/1.1\r\nHost: {address}\r\n{}\r\n\r\n", headers.join("\r\n"));
    stream.get_mut().write_all(head.as_bytes()).expect("sent");
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("answered");
        if line.trim().is_empty() {
            break;
        }
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = bytes.trim().parse().expect("a number");
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    std::io::Read::read_exact(&mut stream, &mut body).expect("has a body");
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let status = head.first().and_then(|line| line.split(' ').nth(1)).expect("a status");
    (stream, status.parse().expect("a number"), body["message"].as_str().unwrap_or_default().to_owned())
}

fn lines(agent: &Agent) -> BufReader<TcpStream> {
    let (stream, status, message) = ask(agent, "GET /lines", ASKED);
    assert_eq!(status, 101, "{message}");
    stream
}

fn numbered(count: usize) -> String {
    let event = |n| completion(&format!("m{n}")).replacen('{', &format!("{{\"n\":{n},"), 1) + "\n";
    HELLO.to_owned() + &(1..=count).map(event).collect::<String>()
}

/// Answers to the end of the connection; the highest number that is durable.
fn durable(stream: BufReader<TcpStream>) -> usize {
    let answers = stream.lines().map_while(Result::ok).map(|line| {
        let answer: Value = serde_json::from_str(&line).expect("an answer is JSON");
        usize::try_from(answer["upto"].as_u64().expect("nothing is refused")).expect("small")
    });
    answers.last().unwrap_or(0)
}

#[test]
fn lines_over_the_relay_are_answered_as_on_the_socket_and_billed_once() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    for _ in 0..2 {
        let mut stream = lines(&agent);
        stream.get_mut().write_all(numbered(20).as_bytes()).expect("sent");
        stream.get_mut().shutdown(Shutdown::Write).expect("shut");
        assert_eq!(durable(stream), 20);
    }
    sandbox.wait_billed(20);
    agent.stop();
    assert_eq!(sandbox.billed().len(), 20);
}

#[test]
fn what_a_vanished_client_had_sent_over_the_relay_is_billed() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let mut stream = lines(&agent);
    stream.get_mut().write_all(numbered(2_000).as_bytes()).expect("sent");
    drop(stream);
    sandbox.wait_billed(2_000);
    agent.stop();
}

#[test]
fn a_stop_answers_what_it_read_over_the_relay_and_loses_nothing() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let mut stream = lines(&agent);
    let all = numbered(3_000);
    // Until the agent has begun to take them.
    stream.get_mut().write_all(all.as_bytes()).expect("sent");
    let mut first = String::new();
    stream.read_line(&mut first).expect("answered");
    agent.signal(Signal::TERM);
    let upto = durable(stream);
    assert_eq!(agent.end().code, Some(0));
    let agent = home.start();
    // More may have been stored than its answers could still reach.
    until("what was answered is billed", || sandbox.billed().len(), |count| *count >= upto);
    // Its sender goes on where the answers ended.
    let mut stream = lines(&agent);
    stream.get_mut().write_all(all.as_bytes()).expect("sent");
    stream.get_mut().shutdown(Shutdown::Write).expect("shut");
    assert_eq!(durable(stream), 3_000);
    sandbox.wait_billed(3_000);
    agent.stop();
    assert_eq!(sandbox.billed().len(), 3_000);
}

#[test]
fn who_may_not_have_lines_or_asks_wrongly_is_told() {
    let home = Home::new();
    home.write("token", "0123456789abcdef0123456789abcdef\n");
    home.configure(&format!("{RELAY}relay.token_file = \"token\"\nrelay.strict = true\n"));
    let agent = home.start();
    let known = format!("x-api-key: {KEY}");
    let unknown = format!("x-api-key: {OTHER_KEY}");
    let path = "GET /token/0123456789abcdef0123456789abcdef/lines";
    for (request, more, status, message) in [
        (path, &[&*known][..], 101, ""),
        ("GET /lines", &[&known, "x-revenium-agent-token: 0123456789abcdef0123456789abcdef"], 101, ""),
        ("GET /lines", &[&known], 401, "the relay's token is missing or wrong"),
        (path, &[], 401, "send x-api-key"),
        (path, &[&unknown], 401, "no profile of this agent has this API key"),
        (path, &[&known, "Origin: https://evil.example"], 403, "requests of web pages are not taken"),
    ] {
        let (_, told, words) = ask(&agent, request, &[ASKED, more].concat());
        assert_eq!((told, words.starts_with(message)), (status, true), "{request} {more:?}: {words}");
    }
    for (request, headers) in [
        (path, &[&*known][..]),
        (
            &path.replace("GET", "POST"),
            &[&known, ASKED[0], ASKED[1], "Content-Type: application/json", "Content-Length: 0"],
        ),
    ] {
        let (_, status, words) = ask(&agent, request, headers);
        assert_eq!(status, 426, "{words}");
        assert!(words.contains("`Upgrade: revenium-lines`"), "{words}");
    }
    agent.stop();
}
