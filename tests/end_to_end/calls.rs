//! Facts of calls as a client reports them: the agent makes the events.

use revenium_agent::sandbox::What;
use serde_json::Value;

use crate::support::{Home, Line, SpoolFile, until};

/// A call that an advisor was part of: its pass is billed beside the call's own.
const ADVISED: &str = r#"{"call":{"endpoint":"https://api.anthropic.com","id":"msg_advised","model":"claude-sonnet-4","stop_reason":"end_turn","usage":{"input_tokens":25,"output_tokens":15,"iterations":[{"type":"message","input_tokens":25,"output_tokens":15},{"type":"advisor_message","model":"claude-opus-4","input_tokens":700,"output_tokens":80}]},"duration_ms":143,"usage_metadata":{"agent":"support","subscriber":{"id":"u","credential":{"name":"k","value":"hunter2"}}}}}"#;

const HELLO: &str = "{\"hello\":{\"v\":1,\"producer\":\"0f0e0d0c0b0a09080706050403020100\"}}\n";

fn call(id: &str, usage: &str) -> String {
    format!(r#"{{"call":{{"id":"{id}","model":"claude-sonnet-4","usage":{usage}}}}}"#)
}

fn numbered(n: u64, line: &str) -> String {
    format!("{}\n", line.replacen('{', &format!("{{\"n\":{n},"), 1))
}

/// The billed bodies by their `transactionId`.
fn bodies(billed: impl IntoIterator<Item = String>) -> Vec<(String, Value)> {
    let body = |body: String| {
        let body: Value = serde_json::from_str(&body).expect("JSON");
        (body["transactionId"].as_str().expect("a text").to_owned(), body)
    };
    let mut bodies: Vec<_> = billed.into_iter().map(body).collect();
    bodies.sort_by(|one, other| one.0.cmp(&other.0));
    bodies
}

#[test]
fn a_call_and_what_is_billed_beside_it_are_one_line_with_one_answer_and_billed_once_each() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let text = [
        HELLO,
        &numbered(1, ADVISED),
        &numbered(2, &call("msg_2", r#"{"input_tokens":1,"output_tokens":2}"#)),
    ]
    .concat();
    let mut line = Line::connect(&home.socket());
    line.send(text.as_bytes());
    until("both are answered", || line.answer().expect("answered"), |answer| answer["upto"] == 2);
    let billed = sandbox.wait_billed(3);
    // A resend on another connection, and one after a kill, are known in all their parts.
    let resend = || {
        let mut again = Line::connect(&home.socket());
        again.send(text.as_bytes());
        until("both are answered", || again.answer().expect("answered"), |answer| answer["upto"] == 2);
        home.wait_drained();
    };
    resend();
    agent.kill();
    let agent = home.start();
    resend();
    assert_eq!((sandbox.wait_billed(3), sandbox.count(What::Repeated)), (billed.clone(), 0));

    let told = bodies(billed.into_values());
    let (id, own) = &told[1];
    assert_eq!(
        (&**id, &own["model"], &own["inputTokenCount"]),
        ("msg_advised", &"claude-sonnet-4".into(), &25.into())
    );
    assert_eq!(own["subscriber"]["credential"]["value"], "hunter2");
    let (id, pass) = &told[2];
    assert_eq!(
        (&**id, &pass["model"], &pass["outputTokenCount"]),
        ("msg_advised-iteration-1", &"claude-opus-4".into(), &80.into())
    );
    assert_eq!((&pass["parentTransactionId"], &pass["agent"]), (&"msg_advised".into(), &"support".into()));
    assert_eq!(agent.stop().code, Some(0));
}

/// A pass that only the second of two lines under one number has is not billed beside the first.
#[test]
fn of_a_call_that_conflicts_nothing_is_billed_and_all_of_it_is_kept() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let answer = |line: &str| {
        let mut connection = Line::connect(&home.socket());
        connection.send([HELLO, &numbered(1, line)].concat().as_bytes());
        connection.answer().expect("answered")
    };
    assert_eq!(answer(&call("msg_1", r#"{"input_tokens":1,"output_tokens":2}"#))["upto"], 1);
    sandbox.wait_billed(1);
    for _ in 0..2 {
        assert_eq!(answer(ADVISED)["code"], "conflict");
    }
    home.wait_drained();
    let billed = bodies(sandbox.wait_billed(1).into_values());
    assert_eq!(billed.iter().map(|(id, _)| &**id).collect::<Vec<_>>(), ["msg_1"]);
    let letters = home.run(&["dlq", "list", "--all", "--json"]).stdout;
    assert_eq!(letters.lines().count(), 2, "{letters}");
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn calls_in_a_spool_file_and_of_nobody_in_particular_are_billed_as_well() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let mut file = SpoolFile::new(1, 1);
    file.line(numbered(1, ADVISED).trim_end());
    file.put(&home.path("spool"));
    let _agent = home.start();
    sandbox.wait_billed(2);
    let answer = Line::connect(&home.socket()).ask(&call("msg_3", r#"{"input_tokens":3,"output_tokens":4}"#));
    let billed = sandbox.wait_billed(3);
    assert!(billed.contains_key(answer["id"].as_str().expect("its key")), "{answer}");
}

#[test]
fn a_call_that_is_wrong_is_named_and_kept_and_bills_once_it_is_mended() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let _agent = home.start();
    let mut line = Line::connect(&home.socket());
    let answer = line.ask(&ADVISED.replace("\"input_tokens\":700", "\"input_tokens\":-700"));
    assert_eq!(
        (&answer["code"], &answer["field"]),
        (&"invalid".into(), &"call.usage.iterations[1].input_tokens".into())
    );
    let answer = line.ask(r#"{"call":[],"model":"m","provider":"p","inputTokenCount":1}"#);
    assert_eq!((&answer["code"], &answer["field"]), (&"invalid".into(), &"call".into()));

    let shown = home.run(&["dlq", "show", "1"]).stdout;
    assert!(shown.contains("msg_advised") && !shown.contains("hunter2"), "{shown}");
    let mended = home.path("mended.json");
    std::fs::write(&mended, ADVISED).expect("written");
    let ended = home.run(&["dlq", "edit", "1", "--file", mended.to_str().expect("a text")]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = bodies(sandbox.wait_billed(2).into_values());
    assert_eq!(
        told.iter().map(|(id, _)| &**id).collect::<Vec<_>>(),
        ["msg_advised", "msg_advised-iteration-1"]
    );
    assert_eq!(
        home.run(&["dlq", "list", "--all", "--json"]).stdout.lines().count(),
        1,
        "the other one stays"
    );
}
