//! The socket's lines over the relay, for who has no Unix socket: what is told, and what is billed.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};

use revenium_agent::sandbox::What;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Agent, Home, Http, KEY, Line, OTHER_KEY, completion, until};

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

/// A connection on which these lines were sent, and all of them.
fn said(agent: &Agent, text: &str) -> BufReader<TcpStream> {
    let mut stream = lines(agent);
    stream.get_mut().write_all(text.as_bytes()).expect("sent");
    stream.get_mut().shutdown(Shutdown::Write).expect("shut");
    stream
}

/// As the README says it.
fn fingerprint(key: &str) -> String {
    let keys = "26002cad-875a-596a-b3f0-73d9462fdd55".parse().expect("a UUID");
    format!("key-{}", &uuid::Uuid::new_v5(&keys, key.as_bytes()).simple().to_string()[..16])
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
        assert_eq!(durable(said(&agent, &numbered(20))), 20);
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
    // As much as the agent's kernel takes at once. Answers that nobody has read make a connection's end a reset, and
    // what the client's own kernel still had goes with it.
    stream.get_mut().write_all(numbered(300).as_bytes()).expect("sent");
    drop(stream);
    sandbox.wait_billed(300);
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
    assert_eq!(durable(said(&agent, &all)), 3_000);
    sandbox.wait_billed(3_000);
    agent.stop();
    assert_eq!(sandbox.billed().len(), 3_000);
}

#[test]
fn over_the_relay_lines_are_a_key_s_by_its_fingerprint_and_never_a_profile_s_by_its_name() {
    let home = Home::new();
    let sandbox = home.sandbox(&["--key", &format!("{OTHER_KEY}=other")]);
    home.write("other", OTHER_KEY);
    let team = format!("profiles.team = {{ url = \"{}\", api_key_file = \"other\" }}\n", sandbox.url());
    home.deliver_to(&sandbox, &format!("{RELAY}{team}"));
    let agent = home.start();
    let ask = |lines: &str| {
        let mut stream = self::lines(&agent);
        stream.get_mut().write_all(lines.as_bytes()).expect("sent");
        stream.get_mut().shutdown(Shutdown::Write).expect("shut");
        let answers =
            stream.lines().map(|line| serde_json::from_str(&line.expect("answered")).expect("JSON"));
        answers.collect::<Vec<Value>>()
    };
    let hello =
        |profile: &str| format!("{{\"hello\":{{\"v\":1,\"profile\":\"{profile}\",\"key_at_hand\":true}}}}\n");
    let named = completion("named").replacen('{', "{\"profile\":\"team\",", 1) + "\n";
    let plain = completion("plain") + "\n";
    for refused in [named.clone(), hello("team") + &plain] {
        let answers = ask(&refused);
        let words = "name it by the fingerprint of its key (key-...), or none for default";
        assert!(answers[0]["message"].as_str().is_some_and(|told| told.ends_with(words)), "{answers:?}");
        assert_eq!(answers[0]["ok"], false);
    }
    // Nor does a letter of it lie with the profile, from where it could be retried.
    let lanes = home.run(&["dlq", "list", "--json"]).stdout;
    let letters: Vec<Value> = lanes.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(letters.len(), 2, "{lanes}");
    assert!(letters.iter().all(|letter| letter["profile"] == "_unusable"), "{lanes}");
    // Nor is one billed to it before a person has looked at it.
    let retried = home.run(&["dlq", "retry", "--all"]);
    let told = "its member `profile` says team, for which it was not taken: `dlq edit` it";
    assert!(retried.code == Some(1) && retried.stderr.contains(told), "{}", retried.stderr);
    let seq_of = |letter: &Value| letter["seq"].as_u64().expect("has a number").to_string();
    let is_named = |seq: &String| home.run(&["dlq", "show", seq]).stdout.contains("named");
    let of_named = letters.iter().map(seq_of).find(is_named).expect("is among them");
    let retried = home.run(&["dlq", "retry", &of_named]);
    assert!(retried.code == Some(1) && retried.stderr.contains(told), "{}", retried.stderr);
    home.write("edited", &named.replace("named", "edited"));
    let edited = home.run(&["dlq", "edit", &of_named, "--file", "edited"]);
    assert_eq!(edited.code, Some(0), "{}", edited.stderr);
    sandbox.wait_billed(1);

    let of_team = fingerprint(OTHER_KEY);
    for lines in [plain.clone(), hello(&of_team) + &plain, hello("key-0123456789abcdef") + &plain] {
        let answers = ask(&lines);
        // Nobody is asked for a key either.
        assert_eq!((answers.len(), &answers[0]["ok"]), (1, &true.into()), "{answers:?}");
    }
    sandbox.wait_billed(3);
    let billed = sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed);
    let of_other = billed.filter(|entry| entry.account.as_deref() == Some("other"));
    let bodies: Vec<_> = of_other.filter_map(|entry| entry.body).collect();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert!(bodies[0].contains("edited") && bodies[1].contains("plain"), "{bodies:?}");
    agent.stop();
}

#[test]
fn who_may_not_have_lines_or_asks_wrongly_is_told() {
    let home = Home::new();
    home.write("token", "0123456789abcdef0123456789abcdef\n");
    home.configure(&format!("{RELAY}relay.token_file = \"token\"\n"));
    let agent = home.start();
    let path = "GET /token/0123456789abcdef0123456789abcdef/lines";
    for (request, more, status, message) in [
        (path, &[][..], 101, ""),
        ("GET /lines", &["x-revenium-agent-token: 0123456789abcdef0123456789abcdef"], 101, ""),
        ("GET /lines", &[], 401, "the relay's token is missing or wrong"),
        (path, &["Origin: https://evil.example"], 403, "requests of web pages are not taken"),
    ] {
        let (_, told, words) = ask(&agent, request, &[ASKED, more].concat());
        assert_eq!((told, words.starts_with(message)), (status, true), "{request} {more:?}: {words}");
    }
    for (request, headers) in [
        (path, &[][..]),
        (
            &path.replace("GET", "POST"),
            &[ASKED[0], ASKED[1], "Content-Type: application/json", "Content-Length: 0"],
        ),
    ] {
        let (_, status, words) = ask(&agent, request, headers);
        assert_eq!(status, 426, "{words}");
        assert!(words.contains("`Upgrade: revenium-lines`"), "{words}");
    }
    agent.stop();

    home.configure(&format!("{RELAY}relay.strict = true\n"));
    let agent = home.start();
    let (_, status, words) = ask(&agent, "GET /lines", &[ASKED, &[&format!("x-api-key: {KEY}")]].concat());
    assert_eq!((status, &*words), (403, "a strict relay takes no lines, as they show no key"));
    agent.stop();
}

#[test]
fn lines_have_half_of_the_relay_s_connections_and_requests_the_other() {
    let home = Home::new();
    home.configure(&format!("{RELAY}relay.connections_max = 6\n"));
    let agent = home.start();
    let held: Vec<_> = (0..3).map(|_| lines(&agent)).collect();
    let (_, status, words) = ask(&agent, "GET /lines", ASKED);
    assert_eq!((status, &*words), (503, "half of relay.connections_max are connections of lines already"));
    let mut http = Http::connect(agent.ready["relay"].as_str().expect("is on"));
    assert_eq!(http.post("/meter/v2/ai/completions", &[("x-api-key", KEY)], &completion("m")).status, 201);
    // Nor are they the socket's.
    assert_eq!(Line::connect(&home.socket()).ask(&completion("m"))["ok"], true);
    drop(held);
    until("a seat is free again", || ask(&agent, "GET /lines", ASKED).1, |status| *status == 101);
    agent.stop();
}
