//! Dead letters as a person meets them: told, mended, sent again, given up.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use revenium_agent::sandbox::What;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Agent, Ended, Home, Line, OTHER_KEY, Sandbox, completion, until};

/// A completion with a member more.
fn with(model: &str, member: &str) -> String {
    completion(model).replace('{', &format!("{{{member},"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Runs a command that succeeds; what it prints.
fn run(home: &Home, args: &[&str]) -> String {
    let ended = home.run(args);
    assert_eq!(ended.code, Some(0), "{args:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// Runs a command that fails with 1; what it says.
fn fail(home: &Home, args: &[&str]) -> Ended {
    let ended = home.run(args);
    assert_eq!(ended.code, Some(1), "{args:?}: {}{}", ended.stdout, ended.stderr);
    ended
}

fn letters(home: &Home) -> Vec<Value> {
    lines(&run(home, &["dlq", "list", "--all", "--json"]))
}

fn number(letter: &Value) -> String {
    letter["seq"].to_string()
}

/// UUIDv5(old key, 1).
fn next_key(letter: &Value) -> String {
    let old = Uuid::parse_str(letter["key"].as_str().expect("a key")).expect("a UUID");
    Uuid::new_v5(&old, b"1").to_string()
}

/// An agent whose upstream refuses the first so many events.
fn refusing(home: &Home, times: usize) -> (Sandbox, Agent) {
    let script = format!(r#"{{"steps":[{{"fault":{{"kind":"422"}},"times":{times}}}]}}"#);
    let sandbox = home.sandbox(&["--fault-script", &script]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    (sandbox, agent)
}

#[test]
fn a_refused_event_is_told_without_its_secrets_and_billed_once_when_it_is_retried() {
    let home = Home::new();
    let (sandbox, agent) = refusing(&home, 2);
    let secrets = r#""transactionId":"t-NAME","systemPrompt":"you are","subscriber":{"id":"u","credential":{"name":"n","value":"hunter2"}}"#;
    let mut line = Line::connect(&home.socket());
    for name in ["first", "second"] {
        assert_eq!(line.ask(&with(name, &secrets.replace("NAME", name)))["ok"], true);
        home.wait_drained();
    }
    let told = letters(&home);
    assert_eq!(told.len(), 2, "{told:?}");
    let first = &told[0];
    assert_eq!(
        (&first["profile"], &first["kind"], &first["reason"], &first["status"]),
        (&"default".into(), &"completion".into(), &"refused-by-upstream".into(), &422.into())
    );
    let seq = number(first);
    let screen = run(&home, &["dlq", "list"]);
    let shown = run(&home, &["dlq", "show", &seq]);
    let as_json = run(&home, &["dlq", "show", &seq, "--json"]);
    for text in [&screen, &shown, &as_json, &told[0].to_string()] {
        assert!(!text.contains("hunter2") && !text.contains("you are"), "{text}");
    }
    assert!(shown.contains(r#""credential":{"name":"n","value":"***"}"#), "{shown}");
    assert!(shown.contains("  \"inputTokenCount\": 25"), "{shown}");
    let revealed = run(&home, &["dlq", "show", &seq, "--reveal"]);
    assert!(revealed.contains("hunter2") && revealed.contains("you are"), "{revealed}");

    assert_eq!(run(&home, &["dlq", "retry", &seq]), "retried: 1 letter\n");
    let billed = sandbox.wait_billed(1);
    let (key, body) = billed.first_key_value().expect("one");
    assert_eq!(*key, next_key(first));
    assert!(body.contains("\"transactionId\":\"t-first\"") && body.contains("hunter2"), "{body}");
    let refused = sandbox.entries().into_iter().find(|entry| entry.what == What::Attempt).expect("there");
    let hash =
        sandbox.entries().into_iter().find(|entry| entry.what == What::Billed).expect("there").body_hash;
    assert_eq!(refused.body_hash, hash, "it was sent as it was");

    let again = fail(&home, &["dlq", "retry", &seq]);
    assert!(
        again.stderr.contains(&format!("letter {seq}: there is no dead letter {seq}")),
        "{}",
        again.stderr
    );
    let unasked = home.run(&["dlq", "discard", "--all"]);
    assert_eq!(unasked.code, Some(2), "{}", unasked.stderr);
    assert_eq!(home.run(&["dlq", "discard", "--yes"]).code, Some(2), "it wants to know which");
    assert_eq!(letters(&home).len(), 1);
    assert_eq!(run(&home, &["dlq", "discard", "--all", "--yes"]), "discarded: 1 letter\n");
    let status = home.wait_drained();
    assert_eq!((&status["profiles"][0]["delivered"], &status["profiles"][0]["dead"]), (&1.into(), &0.into()));
    assert_eq!(status["health"], "ok");
    agent.stop();
    let agent = home.start();
    assert_eq!(letters(&home), Vec::<Value>::new(), "a restart brings nothing back");
    assert_eq!(home.wait_drained()["profiles"][0]["delivered"], 1);
    sandbox.wait_billed(1);
    agent.stop();
}

#[test]
fn filters_choose_what_is_told_and_a_wrong_one_is_named() {
    let home = Home::new();
    let (_sandbox, agent) = refusing(&home, 1);
    let mut line = Line::connect(&home.socket());
    assert_eq!(line.ask(&completion("refused"))["ok"], true);
    home.wait_drained();
    line.ask(&with("x", "\"profile\":\"nobody\""));
    line.ask(r#"{"kind":"tool","toolId":" "}"#);
    let count = |args: &[&str]| {
        let all = [&["dlq", "list", "--all", "--json"], args].concat();
        lines(&run(&home, &all)).len()
    };
    for (args, letters) in [
        (&[][..], 3),
        (&["--profile", "nobody"], 1),
        (&["--kind", "tool"], 1),
        (&["--kind", "completion"], 2),
        (&["--reason", "refused-at-intake"], 2),
        (&["--reason", "refused-at-intake", "--kind", "tool"], 1),
        (&["--since", "1h"], 3),
        (&["--until", "1h"], 0),
        (&["--since", "2000-01-01T00:00:00Z"], 3),
        (&["--until", "2000-01-01T00:00:00Z"], 0),
        (&["--after", "2"], 1),
        (&["1", "3", "99"], 2),
    ] {
        assert_eq!(count(args), letters, "{args:?}");
    }
    let limited = home.run(&["dlq", "list", "--limit", "2", "--json"]);
    assert_eq!(lines(&limited.stdout).len(), 2);
    assert!(limited.stderr.contains("--after 2"), "{}", limited.stderr);
    for (args, message) in [
        (["--kind", "tools"], "kind: tools is no kind; there are completion, "),
        (["--reason", "bad"], "reason: bad is no reason; there are conflict, "),
    ] {
        let ended = fail(&home, &["dlq", "list", args[0], args[1]]);
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
    }
    assert_eq!(home.run(&["dlq", "list", "--since", "yesterday"]).code, Some(2));
    agent.stop();
    let none = home.run(&["dlq", "list"]);
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("no agent runs on"), "{}", none.stderr);
}

/// An editor that changes the one word into the other.
fn editor(home: &Home, from: &str, to: &str) -> String {
    let script = format!("test \"$(stat -c %a \"$2\")\" = 600 && sed -i 's/{from}/{to}/' \"$2\"");
    home.write("editor.sh", &script);
    // With an argument of its own, as editors have.
    format!("sh {} --wait", home.path("editor.sh").display())
}

fn edit(home: &Home, seq: &str, editor: &str) -> Ended {
    let mut command = home.command(&["dlq", "edit", seq, "--config", "config.toml"]);
    command.env("EDITOR", editor).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.env("TMPDIR", home.path("")).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn an_event_that_intake_refused_is_mended_in_an_editor_and_billed_where_it_belongs() {
    let home = Home::new();
    let sandbox = home.sandbox(&["--key", &format!("{OTHER_KEY}=other")]);
    let profile = format!("profiles.b.url = \"{}\"\nprofiles.b.api_key = \"{OTHER_KEY}\"\n", sandbox.url());
    home.deliver_to(&sandbox, &profile);
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    assert_eq!(line.ask(&with("m", "\"totalCost\":0.10000000000000000001,\"profile\":\"bee\""))["ok"], false);
    let letter = letters(&home).remove(0);
    let seq = number(&letter);

    let as_it_is = fail(&home, &["dlq", "retry", &seq]);
    assert!(as_it_is.stderr.contains("profile: profile bee is not configured here"), "{}", as_it_is.stderr);
    let unchanged = edit(&home, &seq, "true");
    assert!(unchanged.code == Some(1) && unchanged.stderr.contains("unchanged"), "{}", unchanged.stderr);
    let no_editor = edit(&home, &seq, "");
    assert!(no_editor.code == Some(2) && no_editor.stderr.contains("--file"), "{}", no_editor.stderr);
    let failing = edit(&home, &seq, "false");
    assert!(failing.code == Some(1) && failing.stderr.contains("nothing was done"), "{}", failing.stderr);
    let wrong = edit(&home, &seq, &editor(&home, "25", "-25"));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("nothing was changed: inputTokenCount: "), "{}", wrong.stderr);
    let kept = wrong.stderr.split("kept in ").nth(1).and_then(|rest| rest.split(',').next()).expect("a file");
    assert_eq!(fs::metadata(kept).expect("is there").permissions().mode() & 0o777, 0o600);
    home.write(
        "same.json",
        &completion("m").replace('{', "{ \"totalCost\": 0.10000000000000000001, \"profile\": \"bee\", "),
    );
    let same = fail(&home, &["dlq", "edit", &seq, "--file", "same.json"]);
    assert!(same.stderr.contains("the event is unchanged"), "{}", same.stderr);
    assert_eq!(letters(&home), std::slice::from_ref(&letter), "nothing changed it");

    let mended = edit(&home, &seq, &editor(&home, "bee", "b"));
    assert_eq!(
        (mended.code, &*mended.stdout),
        (Some(0), "retried: 1 letter, as it was edited\n"),
        "{}",
        mended.stderr
    );
    let billed = sandbox.wait_billed(1);
    let (key, body) = billed.first_key_value().expect("one");
    assert_eq!(*key, next_key(&letter));
    assert!(body.contains("\"totalCost\":0.10000000000000000001") && !body.contains("profile"), "{body}");
    let entry = sandbox.entries().into_iter().find(|entry| entry.what == What::Billed).expect("billed");
    assert_eq!(entry.account.as_deref(), Some("other"));
    let status = home.wait_drained();
    assert_eq!((status["imbalance"].as_u64(), letters(&home).len()), (Some(0), 0));
    agent.stop();
}

#[test]
fn what_was_sent_before_keeps_its_transaction_and_account_unless_a_person_says_otherwise() {
    let home = Home::new();
    let (sandbox, agent) = refusing(&home, 2);
    let mut line = Line::connect(&home.socket());
    for name in ["one", "two"] {
        assert_eq!(
            line.ask(&with(
                name,
                &format!("\"kind\":\"tool\",\"toolId\":\"t\",\"transactionId\":\"{}\"", Uuid::nil())
            ))["ok"],
            true
        );
        home.wait_drained();
    }
    let told = letters(&home);
    let body = |letter: &Value| {
        let json = run(&home, &["dlq", "show", &number(letter), "--reveal", "--json"]);
        lines(&json)[0]["body"].to_string()
    };
    let nil = Uuid::nil().to_string();
    for (changed, message) in [
        (
            body(&told[0]).replace(&nil, &Uuid::max().to_string()),
            "transactionId: the event was sent under another",
        ),
        (
            body(&told[0]).replace(&format!(",\"transactionId\":\"{nil}\""), ""),
            "transactionId: the event was sent",
        ),
        (body(&told[0]).replacen('{', "{\"profile\":\"b\",", 1), "profile: profile b is not configured here"),
        ("{\"a\":".to_owned(), "not JSON"),
    ] {
        home.write("event.json", &changed);
        let ended = home.run(&["dlq", "edit", &number(&told[0]), "--file", "event.json"]);
        assert!(ended.code == Some(1) && ended.stderr.contains(message), "{changed}: {}", ended.stderr);
    }
    assert_eq!(letters(&home), told);
    run(&home, &["dlq", "retry", &number(&told[0])]);
    let first = sandbox.wait_billed(1);
    assert!(first.values().all(|body| body.contains(&nil)));
    // As it is it would be dropped as a repetition of the first.
    run(&home, &["dlq", "retry", &number(&told[1]), "--new-transaction-id"]);
    let both = sandbox.wait_billed(2);
    let second = both.iter().find(|(key, _)| !first.contains_key(*key)).expect("another");
    assert_eq!(*second.0, next_key(&told[1]));
    assert!(second.1.contains("\"toolId\":\"t\"") && !second.1.contains(&nil), "{}", second.1);
    home.wait_drained();
    agent.stop();
}

#[test]
fn retry_all_leaves_out_what_was_probably_delivered() {
    let home = Home::new();
    let (sandbox, agent) = refusing(&home, 1);
    let mut line = Line::connect(&home.socket());
    assert_eq!(line.ask(&completion("refused"))["ok"], true);
    home.wait_drained();
    line.send(b"{\"hello\":{\"v\":1,\"producer\":\"0123456789abcdef0123456789abcdef\"}}\n");
    let mut numbered = Line::connect(&home.socket());
    numbered.send(b"{\"hello\":{\"v\":1,\"producer\":\"0123456789abcdef0123456789abcdef\"}}\n");
    assert_eq!(numbered.ask(&with("once", "\"n\":1"))["upto"], 1);
    assert_eq!(numbered.ask(&with("other", "\"n\":1"))["code"], "conflict");
    sandbox.wait_billed(1);
    let told = letters(&home);
    let conflict = told.iter().find(|letter| letter["reason"] == "conflict").expect("kept");
    assert_eq!(conflict["probably_delivered"], true);
    assert!(run(&home, &["dlq", "list"]).contains("conflict, probably delivered: "));

    let all = run(&home, &["dlq", "retry", "--all"]);
    assert!(all.starts_with("retried: 1 letter; left out as probably delivered: 1"), "{all}");
    assert_eq!(
        run(&home, &["dlq", "retry", "--all", "--json"]),
        "{\"done\":0,\"left_out\":1,\"failed\":0}\n"
    );
    sandbox.wait_billed(2);
    let by_number = home.run(&["dlq", "retry", &number(conflict)]);
    assert_eq!(by_number.code, Some(0), "{}", by_number.stderr);
    assert!(by_number.stderr.contains("it was probably delivered before"), "{}", by_number.stderr);
    home.wait_drained();
    // Its transactionId is the first one's, and Revenium tells by that.
    assert_eq!((sandbox.count(What::Repeated), letters(&home).len()), (1, 0));
    sandbox.wait_billed(2);
    agent.stop();
}

#[test]
fn an_export_has_all_and_is_its_owners_alone() {
    let home = Home::new();
    let (_sandbox, agent) = refusing(&home, 1);
    let mut line = Line::connect(&home.socket());
    let event =
        with("m", r#""totalCost":0.10000000000000000001,"subscriber":{"credential":{"value":"hunter2"}}"#);
    assert_eq!(line.ask(&event)["ok"], true);
    home.wait_drained();
    let to_stdout = home.run(&["dlq", "export"]);
    assert_eq!(to_stdout.code, Some(0));
    assert!(to_stdout.stderr.contains("credentials included"), "{}", to_stdout.stderr);
    let exported = run(&home, &["dlq", "export", "--output", "letters.jsonl"]);
    assert_eq!(exported, "");
    let written = fs::read_to_string(home.path("letters.jsonl")).expect("written");
    assert_eq!(written, to_stdout.stdout);
    let mode = fs::metadata(home.path("letters.jsonl")).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(written.contains("0.10000000000000000001") && written.contains("hunter2"), "{written}");
    let letter = lines(&written).remove(0);
    for member in ["seq", "profile", "kind", "reason", "status", "words", "key", "received_at", "body"] {
        assert!(!letter[member].is_null(), "{member}: {letter}");
    }
    let twice = home.run(&["dlq", "export", "--output", "letters.jsonl"]);
    assert_eq!(twice.code, Some(74));
    assert!(twice.stderr.contains("must not be there yet"), "{}", twice.stderr);
    assert_eq!(fs::read_to_string(home.path("letters.jsonl")).expect("kept"), written);
    agent.stop();
}

/// Kills the agent at random moments while it retries many letters, until none is left.
#[test]
fn a_kill_while_letters_are_retried_leaves_each_of_them_or_its_retry() {
    const LETTERS: usize = 600;
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    for i in 0..LETTERS {
        let answer = line.ask(&with(&format!("m{i}"), "\"profile\":\"later\""));
        assert_eq!((&answer["code"], &answer["field"]), (&"invalid".into(), &"profile".into()));
    }
    assert_eq!(letters(&home).len(), LETTERS);
    agent.stop();

    let profile =
        format!("profiles.later.url = \"{}\"\nprofiles.later.api_key_file = \"key\"\n", sandbox.url());
    home.deliver_to(&sandbox, &profile);
    for round in 0..4u64 {
        let agent = home.start();
        let mut retry = home.command(&["dlq", "retry", "--all", "--config", "config.toml"]);
        let retry = retry.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut retry = retry.spawn().expect("starts");
        let before = sandbox.count(What::Billed);
        let some = usize::try_from(round * 40).expect("small");
        until(
            "some are retried",
            || sandbox.count(What::Billed),
            |count| *count >= (before + some).min(LETTERS) || *count == LETTERS,
        );
        agent.kill();
        let _ = retry.wait();
    }
    let agent = home.start();
    run(&home, &["dlq", "retry", "--all"]);
    let billed = sandbox.wait_billed(LETTERS);
    let models: std::collections::BTreeSet<String> = billed
        .values()
        .map(|body| serde_json::from_str::<Value>(body).expect("JSON")["model"].to_string())
        .collect();
    assert_eq!(models.len(), LETTERS, "each once");
    home.wait_drained();
    assert_eq!(letters(&home), Vec::<Value>::new());
    sandbox.assert_attempts_are_alike();
    agent.stop();
}
