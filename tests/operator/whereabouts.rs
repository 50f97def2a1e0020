//! `where`: what became of an event, asked by each of its ids, whether its agent runs, has ended or was killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::stored::{home, report};
use crate::support::{Home, Line, Sandbox, assert_no_secret, completion, names, until};

/// Asks for one id; the exit code and what was said.
fn ask(home: &Home, id: &str) -> (Option<i32>, Value) {
    let (ended, said) = report(home, &["where", id, "--json"]);
    (ended.code, said)
}

/// Asks until the only record that there is has this state.
fn until_it_is(home: &Home, id: &str, state: &str) -> (Option<i32>, Value) {
    until(state, || ask(home, id), |(_, said)| states(said) == [state])
}

fn states(said: &Value) -> Vec<&str> {
    let records = said["records"].as_array().expect("a list");
    records.iter().map(|record| record["state"].as_str().expect("a state")).collect()
}

/// A completion with this `transactionId`, and with what nobody else is to see.
fn event(model: &str, transaction: &str) -> String {
    let more = format!(
        r#"{{"transactionId":"{transaction}","systemPrompt":"hunter2","subscriber":{{"credential":{{"name":"n","value":"hunter2"}}}},"#
    );
    completion(model).replacen('{', &more, 1)
}

/// Hands an event in; its key.
fn send(home: &Home, event: &str) -> String {
    let answer = Line::connect(&home.socket()).ask(event);
    answer["id"].as_str().unwrap_or_else(|| panic!("not taken: {answer}")).to_owned()
}

fn delivering(args: &[&str]) -> (Home, Sandbox) {
    let home = Home::new();
    let sandbox = home.sandbox(args);
    home.deliver_to(&sandbox, "");
    (home, sandbox)
}

fn receipts(home: &Home) -> Vec<String> {
    let dir = home.path("data/receipts");
    let read = |name: String| fs::read_to_string(dir.join(name)).expect("read");
    if dir.is_dir() { names(&dir).into_iter().map(read).collect() } else { Vec::new() }
}

#[test]
fn a_delivery_is_told_by_each_of_its_ids_also_when_the_agent_was_killed() {
    let (home, _sandbox) = delivering(&[]);
    let agent = home.start();
    let key = send(&home, &event("one", "msg_1"));
    send(&home, &event("two", "msg_2"));
    home.wait_drained();
    until("both receipts", || receipts(&home).concat(), |text| text.lines().count() == 2);
    let (_, by_transaction) = ask(&home, "msg_1");
    let revenium = by_transaction["records"][0]["revenium_id"].as_str().expect("it gave one").to_owned();
    agent.kill();
    for id in ["msg_1", &key, &revenium] {
        let (code, said) = ask(&home, id);
        assert_eq!((code, &said["is_known"], &said["is_delivered"]), (Some(0), &true.into(), &true.into()));
        let record = &said["records"][0];
        assert_eq!(
            (states(&said), &record["transaction_id"], &record["key"], &record["profile"], &record["kind"]),
            (
                vec!["delivered"],
                &"msg_1".into(),
                &key.as_str().into(),
                &"default".into(),
                &"completion".into()
            )
        );
        assert_eq!(record["attempts"], 1);
        assert!(record["received_at"].is_string() && record["delivered_at"].is_string(), "{record}");
        let screen = home.run(&["where", id]);
        assert!(screen.stdout.starts_with("delivered: Revenium confirmed it\n"), "{}", screen.stdout);
        for text in ["msg_1", &key, &revenium, "completion of profile default", ", with 1 attempt\n"] {
            assert!(screen.stdout.contains(text), "{text}: {}", screen.stdout);
        }
    }
    let dir = home.path("data/receipts");
    let mode = |path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(dir.clone()), mode(dir.join(&names(&dir)[0]))), (0o700, 0o600));
    let text = receipts(&home).concat();
    assert_no_secret(&[&text]);
    assert!(!text.contains("systemPrompt") && !text.contains("model"), "{text}");
}

#[test]
fn what_has_no_receipt_is_told_from_the_log() {
    let (home, _sandbox) = delivering(&[]);
    let agent = home.start();
    let key = send(&home, &event("one", "msg_1"));
    home.wait_drained();
    // The end is in the log within a second.
    until_it_is(&home, "msg_1", "delivered");
    agent.stop();
    fs::remove_dir_all(home.path("data/receipts")).expect("removed");
    for id in ["msg_1", &key] {
        let (code, said) = ask(&home, id);
        assert_eq!((code, states(&said)), (Some(0), vec!["delivered"]), "{said}");
        assert_eq!(said["records"][0]["revenium_id"], Value::Null);
    }
}

/// The upstream has it, and the agent is killed before it can have noted that, or after: it is found in either
/// case, and once it is delivered for good it is told as one event.
#[test]
fn an_event_whose_agent_is_killed_as_it_is_delivered_is_known_then_and_delivered_in_the_end() {
    for n in 0..5 {
        let (home, sandbox) = delivering(&[]);
        let agent = home.start();
        send(&home, &event("one", "msg_1"));
        sandbox.wait_billed(1);
        agent.kill();
        let (code, said) = ask(&home, "msg_1");
        match states(&said)[..] {
            ["delivered"] => assert_eq!(code, Some(0), "{n}: {said}"),
            ["waiting"] => assert_eq!(code, Some(1), "{n}: {said}"),
            _ => panic!("{n}: {said}"),
        }
        let agent = home.start();
        home.wait_drained();
        let (code, _) = until_it_is(&home, "msg_1", "delivered");
        assert_eq!(code, Some(0), "{n}");
        sandbox.wait_billed(1);
        agent.stop();
    }
}

#[test]
fn what_waits_is_told_with_why_and_when_it_is_tried_next() {
    let home = home();
    let agent = home.start();
    send(&home, &event("one", "msg_1"));
    let is_tried = |(_, said): &(Option<i32>, Value)| {
        let record = &said["records"][0];
        record["next_try_at"].is_string() && record["attempts"].as_u64() > Some(0)
    };
    let (code, said) = until("it is tried", || ask(&home, "msg_1"), is_tried);
    assert_eq!((code, states(&said), &said["is_delivered"]), (Some(1), vec!["waiting"], &false.into()));
    let why = |said: &Value| said["records"][0]["words"].as_str().unwrap_or_default().to_owned();
    until("the agent says why", || why(&ask(&home, "msg_1").1), |why| why.contains("connect"));
    let screen = home.run(&["where", "msg_1"]);
    assert!(screen.stdout.starts_with("NOT DELIVERED: 1 waiting\n"), "{}", screen.stdout);
    assert!(screen.stdout.contains("not before"), "{}", screen.stdout);
    agent.kill();
    let (code, said) = ask(&home, "msg_1");
    assert_eq!((code, why(&said)), (Some(1), "no agent runs that could be asked".to_owned()));
}

#[test]
fn a_dead_letter_is_told_with_its_number_and_reason_and_what_a_person_made_of_it() {
    let (home, _sandbox) =
        delivering(&["--fault-script", r#"{"steps":[{"fault":{"kind":"422"},"times":2}]}"#]);
    let agent = home.start();
    for transaction in ["msg_1", "msg_2"] {
        send(&home, &event("one", transaction));
        home.wait_drained();
    }
    let mut seqs = Vec::new();
    for transaction in ["msg_1", "msg_2"] {
        let (code, said) = until_it_is(&home, transaction, "dead");
        let record = &said["records"][0];
        assert_eq!(
            (code, &record["reason"], &record["status"]),
            (Some(1), &"refused-by-upstream".into(), &422.into())
        );
        seqs.push(record["seq"].to_string());
        let screen = home.run(&["where", transaction]);
        assert!(
            screen.stdout.contains(&format!("`revenium-agent dlq show {}`", record["seq"])),
            "{}",
            screen.stdout
        );
    }
    assert_eq!(home.run(&["dlq", "discard", &seqs[0], "--yes"]).code, Some(0));
    let (code, _) = until_it_is(&home, "msg_1", "discarded");
    assert_eq!(code, Some(1), "nobody is billed for it");
    assert_eq!(home.run(&["dlq", "retry", &seqs[1]]).code, Some(0));
    home.wait_drained();
    let (code, said) =
        until("it is retried", || ask(&home, "msg_2"), |(_, said)| states(said) == ["ended", "delivered"]);
    assert_eq!((code, &said["is_delivered"]), (Some(0), &true.into()), "{said}");
    agent.stop();
}

#[test]
fn an_event_that_was_refused_at_intake_is_found_as_the_dead_letter_that_it_is() {
    let home = home();
    let agent = home.start();
    let call = r#"{"call":{"id":"msg_call","model":"m","usage":{"input_tokens":-1}},"profile":"nobody"}"#;
    let dialect = r#"{"model":"m","input_token_count":1,"output_token_count":1,"transaction_id":"msg_old","profile":"nobody"}"#;
    for (line, id) in [(call, "msg_call"), (dialect, "msg_old")] {
        assert_eq!(Line::connect(&home.socket()).ask(line)["ok"], false);
        let (code, said) = until_it_is(&home, id, "dead");
        assert_eq!((code, &said["records"][0]["reason"]), (Some(1), &"refused-at-intake".into()));
    }
    agent.stop();
}

#[test]
fn all_records_with_one_id_are_told() {
    let (home, _sandbox) = delivering(&[]);
    let agent = home.start();
    let keys = ["one", "two"].map(|model| send(&home, &event(model, "msg_1")));
    home.wait_drained();
    let (code, said) =
        until("both", || ask(&home, "msg_1"), |(_, said)| states(said) == ["delivered", "delivered"]);
    let told = [0, 1].map(|n| said["records"][n]["key"].as_str().expect("a key").to_owned());
    assert_eq!((code, told), (Some(0), keys));
    // One that is left makes it an event that is not delivered.
    let nobodys = event("three", "msg_1").replacen('{', r#"{"profile":"nobody","#, 1);
    assert_eq!(Line::connect(&home.socket()).ask(&nobodys)["ok"], false);
    let is_kept = |(_, said): &(Option<i32>, Value)| states(said) == ["delivered", "delivered", "dead"];
    let (code, _) = until("the third", || ask(&home, "msg_1"), is_kept);
    assert_eq!(code, Some(1));
    let screen = home.run(&["where", "msg_1"]);
    assert!(
        screen.stdout.starts_with("NOT ALL OF IT IS DELIVERED: 2 delivered, 1 dead\n"),
        "{}",
        screen.stdout
    );
    agent.stop();
}

#[test]
fn what_nobody_heard_of_is_told_with_where_else_to_look() {
    let (home, _sandbox) = delivering(&[]);
    let nothing = home.run(&["where", "msg_1"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(2), ""));
    assert!(
        nothing.stderr.contains("there is no log in") && nothing.stderr.contains("--data-dir"),
        "{}",
        nothing.stderr
    );
    assert_eq!(home.run(&["where", ""]).code, Some(2));
    let agent = home.start();
    let (code, said) = ask(&home, "msg_1");
    assert_eq!((code, &said["is_known"], &said["receipts_since"]), (Some(1), &false.into(), &Value::Null));
    send(&home, &event("one", "msg_1"));
    home.wait_drained();
    until("a receipt", || receipts(&home).concat(), |text| text.ends_with('\n'));
    let screen = home.run(&["where", "msg_2"]);
    assert_eq!(screen.code, Some(1));
    for text in ["not known: ", "receipts go back to 20", "spool", "--data-dir"] {
        assert!(screen.stdout.contains(text), "{text}: {}", screen.stdout);
    }
    agent.stop();
}

#[test]
fn receipts_that_cannot_be_written_hold_nothing_up_and_are_counted() {
    let (home, sandbox) = delivering(&[]);
    fs::create_dir(home.path("data")).expect("made");
    fs::set_permissions(home.path("data"), fs::Permissions::from_mode(0o700)).expect("set");
    home.write("data/receipts", "in its place");
    let agent = home.start();
    for n in 0..20 {
        send(&home, &event("one", &format!("msg_{n}")));
    }
    sandbox.wait_billed(20);
    home.wait_drained();
    let missed = || agent.metric("revenium_agent_receipts_missed_total");
    until("all are counted", missed, |missed| (*missed - 20.0).abs() < f64::EPSILON);
    assert_eq!(agent.log().matches("receipts cannot be written").count(), 1, "{}", agent.log());
    until_it_is(&home, "msg_7", "delivered");
    let told = home.run(&["where", "msg_7"]);
    assert!(told.code == Some(0) && told.stderr.contains("the log alone was searched"), "{}", told.stderr);
    let unknown = home.run(&["where", "msg_20"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""), "nobody knows: {}", unknown.stderr);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_receipt_is_found_although_the_log_cannot_be_read() {
    let (home, _sandbox) = delivering(&[]);
    let agent = home.start();
    send(&home, &event("one", "msg_1"));
    until("a receipt", || receipts(&home).concat(), |text| text.ends_with('\n'));
    assert_eq!(agent.stop().code, Some(0));
    fs::remove_dir_all(home.path("data/store")).expect("removed");
    let told = home.run(&["where", "msg_1"]);
    assert_eq!((told.code, told.stdout.lines().next()), (Some(0), Some("delivered: Revenium confirmed it")));
    assert!(told.stderr.contains("the receipts alone were"), "{}", told.stderr);
    let unknown = home.run(&["where", "msg_2"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""), "{}", unknown.stderr);
}
