//! Whose the events are of an application, or of a shell, that has an API key and names no profile.

use std::process::{Command, Stdio};

use revenium_agent::sandbox::What;

use crate::application::{kill_after, start};
use crate::support::{Home, KEY, OTHER_KEY, Sandbox, until};

/// A key that no profile of the agent has.
const UNKNOWN: &str = "rev_mk_unknown0123456789ab";

/// An agent's folder with the profiles `default` and `team`, each with a key.
fn two_accounts() -> (Home, Sandbox) {
    let home = Home::new();
    let sandbox = home.sandbox(&["--key", &format!("{OTHER_KEY}=other")]);
    home.write("other", OTHER_KEY);
    let team = format!("profiles.team = {{ url = \"{}\", api_key_file = \"other\" }}\n", sandbox.url());
    home.deliver_to(&sandbox, &team);
    (home, sandbox)
}

/// Whose account each billed event is, by its model or its test's id.
fn billed(sandbox: &Sandbox) -> Vec<(String, String)> {
    let billed = sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed);
    let billed = billed.map(|entry| {
        let body: serde_json::Value = serde_json::from_str(&entry.body.expect("asked for")).expect("JSON");
        let named = body["testId"].as_str().or(body["model"].as_str()).expect("given").to_owned();
        (named, entry.account.expect("a known key").into_owned())
    });
    let mut billed: Vec<_> = billed.collect();
    billed.sort_unstable();
    billed
}

fn waits_under_a_key(home: &Home) -> u64 {
    let status = home.status();
    let profiles = status["profiles"].as_array().expect("a list").iter();
    let waits =
        profiles.filter(|profile| profile["name"].as_str().is_some_and(|name| name.starts_with("key-")));
    waits.filter_map(|profile| profile["waiting"].as_u64()).sum()
}

#[test]
fn what_an_application_emits_is_billed_to_the_account_of_its_key_or_to_none() {
    let (home, sandbox) = two_accounts();
    // The first of them finds no agent, and spools.
    let mut said = 0;
    for (name, key) in [("spooled", OTHER_KEY), ("other", OTHER_KEY), ("mine", KEY), ("unknown", UNKNOWN)] {
        let word = if name == "spooled" { "flushed " } else { "sent " };
        let agent = (name != "spooled").then(|| home.start());
        let (child, out) = start(&home, name, Some(key));
        // Two, as the last line may be cut.
        said += kill_after(child, out, word, 2).len();
        if let Some(agent) = agent {
            let mine = |billed: &Vec<(String, String)>| billed.iter().any(|(id, _)| id.starts_with(name));
            match name {
                "unknown" => _ = until("they wait", || waits_under_a_key(&home), |count| *count > 0),
                _ => _ = until("they are billed", || billed(&sandbox), mine),
            }
            agent.stop();
        }
    }
    assert!(said >= 4);
    for (id, account) in billed(&sandbox) {
        let expected = if id.starts_with("mine") { "team" } else { "other" };
        assert_eq!(account, expected, "{id}");
        assert!(!id.starts_with("unknown"), "{id}");
    }
}

#[test]
fn what_is_sent_from_a_shell_is_billed_to_the_account_of_its_key_unless_a_profile_is_named() {
    let (home, sandbox) = two_accounts();
    let agent = home.start();
    for (model, key, more) in [
        ("none", None, &[][..]),
        ("blank", Some(" "), &[]),
        ("mine", Some(KEY), &[]),
        ("other", Some(OTHER_KEY), &[]),
        ("named", Some(OTHER_KEY), &["--profile", "default"]),
        ("unknown", Some(UNKNOWN), &[]),
    ] {
        let mut send: Command =
            home.command(&["send", "--socket", "agent.sock", "--provider", "p", "--model", model]);
        send.args(["--input-tokens", "1", "--output-tokens", "2"]).args(more).stdin(Stdio::null());
        key.map(|key| send.env("REVENIUM_METERING_API_KEY", key));
        let ended = send.output().expect("runs");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    until("they are billed", || billed(&sandbox).len(), |count| *count == 5);
    let expected =
        [("blank", "team"), ("mine", "team"), ("named", "team"), ("none", "team"), ("other", "other")];
    assert_eq!(billed(&sandbox), expected.map(|(model, account)| (model.to_owned(), account.to_owned())));
    assert_eq!(waits_under_a_key(&home), 1);
    agent.stop();
}
