//! Dead letters of what came by the relay: whose they are was said by key and path, not by the body.

use revenium_agent::sandbox::What;
use serde_json::Value;

use crate::support::{Agent, Home, Http, KEY, OTHER_KEY, Sandbox, completion, until};

const COMPLETIONS: &str = "/meter/v2/ai/completions";

/// An agent with a relay and two profiles, each with an account of its own.
fn two_accounts(home: &Home) -> (Sandbox, Agent, Http) {
    let sandbox = home.sandbox(&["--key", &format!("{OTHER_KEY}=other")]);
    home.deliver_to(
        &sandbox,
        &format!(
            "relay.listen = \"127.0.0.1:0\"\nprofiles.b.url = \"{}\"\nprofiles.b.api_key = \"{OTHER_KEY}\"\n",
            sandbox.url()
        ),
    );
    let agent = home.start();
    let http = Http::connect(agent.ready["relay"].as_str().expect("is on"));
    (sandbox, agent, http)
}

fn letters(home: &Home) -> Vec<Value> {
    let listed = home.run(&["dlq", "list", "--json"]).stdout;
    listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn edited(event: &str, home: &Home, seq: &Value) {
    home.write("edited.json", event);
    let ended = home.run(&["dlq", "edit", &seq.to_string(), "--file", "edited.json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_letter_of_the_relay_goes_to_the_account_of_its_key_whatever_its_members_say() {
    let home = Home::new();
    let (sandbox, agent, mut http) = two_accounts(&home);
    let says = |member: &str| completion("m").replacen('{', &format!("{{{member},"), 1);
    // No route of Revenium's, so it is refused; its key is the default's.
    let for_b = says("\"profile\":\"b\"");
    assert_eq!(http.post("/meter/v2/ai/poems", &[("x-api-key", KEY)], &for_b).status, 400);
    // Its path made it a completion.
    let as_tool = r#"{"kind":"tool","toolId":"search","timestamp":"2026-11-23T10:00:00Z"}"#;
    assert_eq!(http.post(COMPLETIONS, &[("x-api-key", KEY)], as_tool).status, 400);
    let letters = until("both are kept", || letters(&home), |letters| letters.len() == 2);

    for extra in [&[][..], &["--new-transaction-id"]] {
        let ended = home.run(&[&["dlq", "retry", "--all"][..], extra].concat());
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        for why in ["it came for default, and its member `profile` says b", "its member `kind` says tool"] {
            assert!(ended.stderr.contains(why), "{}", ended.stderr);
        }
    }
    home.write("edited.json", &says("\"profile\":\"b\",\"taskType\":\"mended\""));
    let ended = home.run(&["dlq", "edit", &letters[0]["seq"].to_string(), "--file", "edited.json"]);
    assert!(
        ended.code == Some(1) && ended.stderr.contains("its member `profile` says b"),
        "{}",
        ended.stderr
    );
    assert_eq!(sandbox.count(What::Attempt), 0);

    // A person takes the one out, and says the other.
    edited(&completion("m"), &home, &letters[0]["seq"]);
    edited(&completion("n").replacen('{', "{\"profile\":\"b\",", 1), &home, &letters[1]["seq"]);
    sandbox.wait_billed(2);
    let account = |model: &str| {
        let billed = sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed);
        let mut of = billed.filter(|entry| entry.body.as_deref().is_some_and(|body| body.contains(model)));
        of.next().and_then(|entry| entry.account).map(std::borrow::Cow::into_owned)
    };
    assert_eq!(account("\"m\"").as_deref(), Some("team"));
    assert_eq!(account("\"n\"").as_deref(), Some("other"));
    home.wait_drained();
    agent.stop();
}

#[test]
fn conflicts_of_one_key_are_each_retried_under_a_key_of_their_own() {
    let home = Home::new();
    let (sandbox, agent, mut http) = two_accounts(&home);
    let headers = [("x-api-key", KEY), ("Idempotency-Key", "order-42")];
    let event = |id: &str| completion("m").replacen('{', &format!("{{\"transactionId\":\"{id}\","), 1);
    for (id, status) in [("x", 201), ("y", 409), ("z", 409)] {
        assert_eq!(http.post(COMPLETIONS, &headers, &event(id)).status, status);
    }
    let letters = until("both are kept", || letters(&home), |letters| letters.len() == 2);
    let seqs: Vec<String> = letters.iter().map(|letter| letter["seq"].to_string()).collect();
    let ended = home.run(&["dlq", "retry", &seqs[0], &seqs[1]]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    home.wait_drained();
    assert_eq!(sandbox.wait_billed(3).len(), 3);
    assert_eq!(self::letters(&home), Vec::<Value>::new(), "none of them met the other's key");
    agent.stop();
}
