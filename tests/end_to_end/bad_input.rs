//! Lines that are no events, connections that behave badly: each is told, the rest goes on.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::support::{Home, Line, completion, until};

/// The answer's code and field.
fn refusal(answer: &Value) -> (&str, &str) {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    assert_eq!(answer["ok"], false, "{answer}");
    (text("code"), text("field"))
}

#[test]
fn each_bad_line_is_refused_by_name_and_the_good_ones_between_are_delivered() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    let with = |member: &str| completion("m").replace('{', &format!("{{{member},"));
    let tokens = |count: &str| completion("m").replace("25", count);
    let rows: &[(String, &str, &str)] = &[
        ("model=x".into(), "invalid", ""),
        ("[1,2]".into(), "invalid", ""),
        (completion("m").replace("\"model\":\"m\",", ""), "invalid", "model"),
        (tokens("NaN"), "invalid", ""),
        (tokens("-1"), "invalid", "inputTokenCount"),
        (tokens("9223372036854775808"), "invalid", "inputTokenCount"),
        (with("\"model\":\"twice\""), "invalid", "model"),
        (with("\"profile\":\"nobody\""), "invalid", "profile"),
        (with(&format!("\"filler\":\"{}\"", "x".repeat(1 << 20))), "too_large", ""),
    ];
    for (bad, code, field) in rows {
        let answer = line.ask(bad);
        let shown: String = bad.chars().take(100).collect();
        assert_eq!(refusal(&answer), (*code, *field), "{shown}: {answer}");
        assert_eq!(line.ask(&completion("good"))["ok"], true, "after {shown}");
    }
    // What breaks only a column is cut, and counted.
    let long = with(&format!("\"productName\":\"{}\",\"totalCost\":0.{}", "p".repeat(300), "1".repeat(40)));
    assert_eq!(line.ask(&long)["ok"], true);
    let billed = sandbox.wait_billed(rows.len() + 1);
    assert!(billed.values().any(|body| body.contains(&"1".repeat(40)) && !body.contains(&"p".repeat(300))));
    assert_eq!(agent.metric("revenium_agent_events_rejected_total{reason=\"invalid\"}"), 8.0);
    assert_eq!(agent.metric("revenium_agent_event_warnings_total{what=\"cut\"}"), 1.0);
    let status = home.wait_status("refused JSON is kept", |status| {
        status["profiles"].as_array().is_some_and(|all| {
            all.iter().map(|profile| profile["dead"].as_u64().unwrap_or(0)).sum::<u64>() == 6
        })
    });
    assert_eq!(status["imbalance"], 0, "{status}");
    agent.stop();
}

#[test]
fn senders_that_vanish_or_never_read_do_not_hold_up_the_others() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "socket.line_timeout = \"1s\"\n");
    let agent = home.start();
    let socket = home.socket();

    let mut newer = Line::connect(&socket);
    newer.send(b"{\"hello\":{\"v\":2}}\n");
    assert_eq!(newer.answer().map(|answer| answer["code"].clone()), Some("invalid".into()));
    assert_eq!(newer.answer(), None, "what would follow is not understood");

    let mut half = Line::connect(&socket);
    half.send(b"{\"model\":");
    let mut vanishing = Line::connect(&socket);
    vanishing.send(format!("{}\n", completion("vanished")).as_bytes());
    drop(vanishing);

    // Short lines without end, and nobody who reads the answers: the agent stops reading them.
    let mut deaf = Line::connect(&socket);
    let taken = deaf.send_until_held_back(b"{}\n", 20_000_000);
    assert!(taken < 20_000_000, "it took {taken} bytes");

    let mut well = Line::connect(&socket);
    assert_eq!(well.ask(&completion("well"))["ok"], true);
    sandbox.wait_billed(2);
    while half.answer().is_some() {}
    until(
        "the unfinished line is counted",
        || agent.metric("revenium_agent_limit_reached_total{limit=\"line_time\"}"),
        |count| *count >= 1.0,
    );
    drop(deaf);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn what_makes_no_sense_to_the_control_socket_is_refused_by_name_and_changes_nothing() {
    let home = Home::new();
    home.deliver_to_url("http://127.0.0.1:9", "");
    let agent = home.start();
    let post = |path: &str, body: &str| {
        let mut stream = UnixStream::connect(home.path("data/control.sock")).expect("listens");
        let head = format!("POST {path} HTTP/1.0\r\ncontent-length: {}\r\n\r\n", body.len());
        // It may hang up before it has read all of it, and then nothing is left to be read.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let retry = r#"{"retry":{"filter":{},"after":0,"upto":null,"new_transaction_id":false}}"#;
    for (path, body, status, word) in [
        ("/nothing", "{}", "404", "/letters, /claims, /flush and /books"),
        ("/letters", "", "400", "makes no sense"),
        ("/letters", "{}", "400", "makes no sense"),
        ("/letters", &retry.replace("retry", "resend"), "400", "makes no sense"),
        ("/letters", &retry.replace("{}", r#"{"profil":"x"}"#), "400", "profil"),
        ("/letters", r#"{"show":{"seq":7,"reveal":true}}"#, "404", "there is no dead letter 7"),
        ("/claims", r#"{"profile":"key-a\n","claim_as":"default","force":false}"#, "400", "no unknown key"),
        ("/flush", r#"{"upto":-1}"#, "400", "makes no sense"),
        ("/letters", retry, "200", r#""done":0"#),
    ] {
        let answer = post(path, body);
        assert!(
            answer.starts_with(&format!("HTTP/1.0 {status} ")) && answer.contains(word),
            "{body}: {answer}"
        );
    }
    let too_long = post("/letters", &format!("\"{}\"", "x".repeat(5 << 20)));
    assert!(too_long.is_empty() || too_long.starts_with("HTTP/1.0 400"), "{too_long}");
    assert_eq!(home.run(&["dlq", "list"]).code, Some(0), "it goes on");
    assert_eq!(agent.stop().code, Some(0));
}
