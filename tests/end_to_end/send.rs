//! Events on their way when nothing goes wrong.

use revenium_agent::sandbox::What;
use serde_json::Value;

use crate::support::{Home, Line, Producer, completion};

#[test]
fn send_reports_durable_and_the_event_arrives_as_it_was_given() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let socket = home.socket();
    let socket = socket.to_str().expect("UTF-8");

    let flags = ["send", "--socket", socket, "--model", "claude-sonnet-4", "--provider", "Anthropic"];
    let mut send = home.command(&flags);
    let output = send.args(["--input-tokens", "25", "--output-tokens", "15"]).output().expect("runs");
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"durable: 1 event\n"[..]));

    // Digits, order and spelling are the sender's: a trip through a float would change all of them.
    let members = r#""totalCost":0.10000000000000000001,"inputTokenCount":25,"outputTokenCount":15,"temperature":0.70,"organizationName":"caf\u00e9""#;
    home.write("events", &format!("{{\"model\":\"m\",\"provider\":\"x\",{members}}}\n"));
    let ended = home.command(&["send", "--socket", socket, "--file", "events"]).output().expect("runs");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));

    let bodies: Vec<String> = sandbox.wait_billed(2).into_values().collect();
    assert!(bodies.iter().any(|body| body.contains(members)), "{bodies:#?}");
    assert!(bodies.iter().any(|body| body.contains(r#""model":"claude-sonnet-4""#)), "{bodies:#?}");
    let status = home.wait_drained();
    assert_eq!((&status["profiles"][0]["delivered"], &status["health"]), (&2.into(), &"ok".into()));
    assert_eq!(agent.metric("revenium_agent_events_delivered_total{kind=\"completion\"}"), 2.0);
    assert_eq!(agent.metric("revenium_agent_events_received_total{kind=\"completion\",via=\"socket\"}"), 2.0);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_raw_line_is_answered_with_the_key_that_it_is_billed_under() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    // As `echo -n '…' | nc -N -U agent.sock` does: no newline, and the end of what is sent.
    line.send(completion("raw").as_bytes());
    line.finish();
    let answer = line.answer().expect("answered");
    assert_eq!((&answer["ok"], line.answer()), (&Value::Bool(true), None));
    let billed = sandbox.wait_billed(1);
    assert_eq!(billed.keys().next().map(String::as_str), answer["id"].as_str());
    agent.stop();
}

#[test]
fn a_thousand_equal_anonymous_lines_bill_a_thousand() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    line.send(format!("{}\n", completion("same")).repeat(1000).as_bytes());
    line.finish();
    let mut answers = 0;
    while let Some(answer) = line.answer() {
        assert_eq!(answer["ok"], true, "{answer}");
        answers += 1;
    }
    assert_eq!(answers, 1000);
    sandbox.wait_billed(1000);
    assert_eq!(home.wait_drained()["profiles"][0]["delivered"], 1000);
    agent.stop();
}

#[test]
fn what_is_sent_again_is_billed_once_and_other_bytes_under_its_number_are_kept_apart() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let mut producer = Producer::new(7);
    producer.run(&home.socket(), 100, 10).expect("durable");
    // As if no answer had come.
    producer.durable = 0;
    producer.run(&home.socket(), 100, 100).expect("durable again");
    let mut line = Line::connect(&home.socket());
    let hello = format!("{{\"hello\":{{\"v\":1,\"producer\":\"{:032x}\"}}}}\n", 7);
    line.send(hello.as_bytes());
    let refused = line.ask(&format!("{},\"n\":5}}", completion("other").trim_end_matches('}')));
    assert_eq!((&refused["code"], &refused["n"]), (&"conflict".into(), &5.into()));
    sandbox.wait_billed(100);
    let status = home.wait_drained();
    assert_eq!(
        (&status["profiles"][0]["delivered"], &status["profiles"][0]["dead"]),
        (&100.into(), &1.into())
    );
    assert_eq!(sandbox.count(What::Attempt), 100);
    agent.stop();
}

#[test]
fn every_kind_reaches_its_route_and_a_profile_its_own_account() {
    let home = Home::new();
    let sandbox = home.sandbox(&["--key", "hak_other_0123456789=other"]);
    home.deliver_to(
        &sandbox,
        &format!(
            "profiles.b.url = \"{}/meter/v2\"\nprofiles.b.api_key = \"hak_other_0123456789\"\n",
            sandbox.url()
        ),
    );
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    for event in [
        completion("a"),
        completion("b").replace('{', "{\"profile\":\"b\","),
        completion("i")
            .replace('{', "{\"kind\":\"image\",\"actualImageCount\":1,\"requestedImageCount\":1,\"operationType\":\"IMAGE\","),
        r#"{"kind":"tool","toolId":"search","profile":"b"}"#.to_owned(),
    ] {
        let answer = line.ask(&event);
        assert_eq!(answer["ok"], true, "{event}: {answer}");
    }
    let refused = line.ask(&completion("c").replace('{', "{\"profile\":\"c\","));
    assert_eq!((&refused["code"], &refused["field"]), (&"invalid".into(), &"profile".into()));
    sandbox.wait_billed(4);
    let entries = sandbox.entries();
    let mut seen: Vec<(&str, &str)> = entries
        .iter()
        .filter(|entry| entry.what == What::Billed)
        .map(|entry| (entry.account.as_deref().expect("known"), &*entry.path))
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            ("other", "/meter/v2/ai/completions"),
            ("other", "/meter/v2/tool/events"),
            ("team", "/meter/v2/ai/completions"),
            ("team", "/meter/v2/ai/images"),
        ]
    );
    agent.stop();
}

#[test]
fn a_status_knows_of_all_that_was_acknowledged_before_it_was_asked_for() {
    let home = Home::new();
    // Nobody listens on the discard port.
    home.deliver_to_url("http://127.0.0.1:9", "");
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    for sent in 1..=20 {
        // Several at a time, so that the index gathers them.
        for _ in 0..5 {
            assert_eq!(line.ask(&completion("m"))["ok"], true);
        }
        assert_eq!(home.status()["profiles"][0]["waiting"], 5 * sent);
    }
    agent.stop();
}
