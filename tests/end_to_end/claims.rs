//! Events of an unknown API key, as the relay stores them, until a person says whose they are.

use revenium_agent::sandbox::What;
use serde_json::Value;

use crate::support::{Agent, Home, Line, OTHER_KEY, completion, unused_address};

const UNKNOWN: &str = "key-0123abcd";

/// A home whose log holds events of an unknown key.
fn with_events(home: &Home, url: &str) -> Agent {
    // A profile of that name makes the lane; nobody configures it afterwards.
    home.deliver_to_url(url, &format!("profiles.{UNKNOWN}.url = \"{url}\"\n"));
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    for i in 0..5 {
        let event = completion(&format!("m{i}")).replace('{', &format!("{{\"profile\":\"{UNKNOWN}\","));
        assert_eq!(line.ask(&event)["ok"], true);
    }
    agent.stop();
    home.deliver_to_url(url, &format!("profiles.b.url = \"{url}\"\nprofiles.b.api_key = \"{OTHER_KEY}\"\n"));
    home.start()
}

fn profile(status: &Value) -> &Value {
    let profiles = status["profiles"].as_array().expect("a list");
    profiles.iter().find(|profile| profile["name"] == UNKNOWN).expect("is told")
}

#[test]
fn events_of_an_unknown_key_wait_until_it_is_claimed() {
    let home = Home::new();
    let sandbox = home.sandbox(&["--key", &format!("{OTHER_KEY}=other")]);
    let agent = with_events(&home, &sandbox.url());
    let status = home.status();
    assert_eq!((&profile(&status)["waiting"], &status["health"]), (&5.into(), &"degraded".into()));
    let hint = format!("unknown API key: revenium-agent profile claim {UNKNOWN} --as NAME");
    assert!(home.run(&["status"]).stdout.contains(&hint));
    let listed = home.run(&["profile", "list"]).stdout;
    assert!(
        listed.contains(&format!("{UNKNOWN}  unknown key, not claimed")) && listed.contains(&hint),
        "{listed}"
    );
    assert_eq!(sandbox.count(What::Attempt), 0);

    for (args, message) in [
        ([UNKNOWN, "--as", "nobody"], "claim_as: profile nobody is not configured here; there is b, default"),
        (["b", "--as", "default"], "profile: \"b\" is no unknown key's profile"),
        (["key-none", "--as", "b"], "profile: no event came with key-none"),
    ] {
        let ended = home.run(&[&["profile", "claim"][..], &args].concat());
        assert!(ended.code == Some(1) && ended.stderr.contains(message), "{}", ended.stderr);
    }
    assert_eq!(sandbox.count(What::Attempt), 0, "nothing came of it");

    let claimed = home.run(&["profile", "claim", UNKNOWN, "--as", "b"]);
    assert_eq!(claimed.code, Some(0), "{}", claimed.stderr);
    sandbox.wait_billed(5);
    let status = home.wait_drained();
    let told = profile(&status);
    assert_eq!(
        (&told["claimed_as"], &told["delivered"], &told["paused"]),
        (&"b".into(), &5.into(), &Value::Array(vec![]))
    );
    assert!(!told["url"].is_null());
    let screen = home.run(&["status"]).stdout;
    assert!(screen.contains("claimed as b") && !screen.contains("not configured"), "{screen}");
    let accounts: Vec<_> =
        sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed).map(|e| e.account).collect();
    assert!(accounts.iter().all(|account| account.as_deref() == Some("other")), "{accounts:?}");

    let again = home.run(&["profile", "claim", UNKNOWN, "--as", "b"]);
    assert_eq!((again.code, &*again.stdout), (Some(0), &*format!("{UNKNOWN} is claimed as b already\n")));
    let other = home.run(&["profile", "claim", UNKNOWN, "--as", "default"]);
    assert!(other.code == Some(1) && other.stderr.contains("--force"), "{}", other.stderr);
    assert_eq!(home.run(&["profile", "claim", UNKNOWN, "--as", "default", "--force"]).code, Some(0));
    let listed = home.run(&["profile", "list", "--json"]).stdout;
    assert!(listed.contains("\"claimed_as\":\"default\"") && !listed.contains(OTHER_KEY), "{listed}");
    agent.stop();
}

#[test]
fn a_claim_that_was_answered_survives_a_kill() {
    let home = Home::new();
    let address = unused_address();
    let agent = with_events(&home, &format!("http://{address}"));
    let claimed = home.run(&["profile", "claim", UNKNOWN, "--as", "default"]);
    assert_eq!(claimed.code, Some(0), "{}", claimed.stderr);
    agent.kill();
    let sandbox = home.sandbox_on(&address, &[]);
    let agent = home.start();
    sandbox.wait_billed(5);
    home.wait_drained();
    agent.stop();

    // Its profile is taken away: the claim stays, and says so.
    let url = sandbox.url();
    home.write("config.toml", &format!(
        "data_dir = \"data\"\nsocket.path = \"agent.sock\"\nadmin.listen = \"\"\nprofiles.{UNKNOWN}.url = \"{url}\"\n"
    ));
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    let event = completion("more").replace('{', &format!("{{\"profile\":\"{UNKNOWN}\","));
    assert_eq!(line.ask(&event)["ok"], true);
    // Configured by itself it is its own, claimed or not: it has no key.
    let status = home.wait_status("a pause", |status| profile(status)["paused"][0].is_object());
    assert_eq!(profile(&status)["paused"][0]["reason"], "no_key");
    assert_eq!(sandbox.count(What::Billed), 5);
    agent.stop();
}
