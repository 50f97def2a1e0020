//! A wrong key for a while, then the right one; and none at all.

use revenium_agent::sandbox::What;
use rustix::process::Signal;

use crate::support::{Home, KEY, OTHER_KEY, Producer, assert_no_secret};

#[test]
fn a_wrong_key_for_a_while_loses_nothing_and_asks_seldom() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    home.write("key", OTHER_KEY);
    let agent = home.start();
    let mut producer = Producer::new(1);
    producer.run(&home.socket(), 500, 100).expect("durable");
    let paused = home.wait_status("a pause and all events", |status| {
        status["profiles"][0]["paused"][0].is_object() && status["profiles"][0]["waiting"] == 500
    });
    let pause = &paused["profiles"][0]["paused"][0];
    assert_eq!((&pause["reason"], pause["route"].is_null()), (&"key".into(), true), "{pause}");
    assert_eq!((&paused["profiles"][0]["waiting"], &paused["health"]), (&500.into(), &"degraded".into()));
    let screen = home.run(&["status"]);
    assert_eq!(screen.code, Some(1));
    assert!(screen.stdout.contains("paused: everything:"), "{}", screen.stdout);
    assert_eq!(agent.metric("revenium_agent_paused{profile=\"default\",reason=\"key\",route=\"all\"}"), 1.0);
    assert_eq!(sandbox.count(What::Billed), 0);

    // A restart knows of the pause.
    let attempts = sandbox.count(What::Attempt);
    assert!((3..=30).contains(&attempts), "{attempts} attempts");
    let log = agent.stop().stderr;
    let agent = home.start();
    home.wait_status("the pause, again", |status| status["profiles"][0]["paused"][0].is_object());
    producer.run(&home.socket(), 510, 10).expect("durable, still");
    assert_eq!(sandbox.count(What::Attempt), attempts, "nothing is tried before its time");

    home.write("key.new", KEY);
    std::fs::rename(home.path("key.new"), home.path("key")).expect("replaced");
    agent.signal(Signal::HUP);
    sandbox.wait_billed(510);
    let status = home.wait_drained();
    assert_eq!(
        (&status["profiles"][0]["paused"], &status["profiles"][0]["dead"]),
        (&serde_json::json!([]), &0.into())
    );
    assert_eq!(agent.metric("revenium_agent_paused{profile=\"default\",reason=\"key\",route=\"all\"}"), 0.0);
    sandbox.assert_attempts_are_alike();
    assert_no_secret(&[&log, &agent.stop().stderr, &paused.to_string(), &screen.stdout]);
}

#[test]
fn a_profile_without_a_key_keeps_its_events_and_says_so() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    let config = |key: &str| {
        home.write(
            "config.toml",
            &format!(
                "data_dir = \"data\"\nsocket.path = \"agent.sock\"\nadmin.listen = \"\"\n\
                 store.segment_bytes = \"16MiB\"\nprofiles.default.url = \"{}\"\n{key}",
                sandbox.url()
            ),
        );
    };
    config("");
    let agent = home.start();
    let mut producer = Producer::new(1);
    producer.run(&home.socket(), 3, 1).expect("durable");
    let status = home.wait_status("events are kept", |status| status["profiles"][0]["waiting"] == 3);
    assert_eq!(status["profiles"][0]["paused"][0]["reason"], "no_key", "{status}");
    agent.stop();
    config("profiles.default.api_key_file = \"key\"\n");
    let agent = home.start();
    sandbox.wait_billed(3);
    agent.stop();
}

#[test]
fn a_profile_that_is_no_longer_configured_keeps_its_events_until_it_is_again() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    let profile =
        format!("profiles.old.url = \"{}\"\nprofiles.old.api_key = \"{OTHER_KEY}\"\n", sandbox.url());
    home.deliver_to(&sandbox, &profile);
    let agent = home.start();
    let mut line = crate::support::Line::connect(&home.socket());
    let event = crate::support::completion("m").replace('{', "{\"profile\":\"old\",");
    assert_eq!(line.ask(&event)["ok"], true);
    home.wait_status("it is refused for its key", |status| {
        status["profiles"].as_array().is_some_and(|all| all.iter().any(|p| p["paused"][0]["reason"] == "key"))
            || sandbox.count(What::Attempt) > 0
    });
    agent.stop();

    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let status = home.wait_status("the old profile's event", |status| status["profiles"][1]["waiting"] == 1);
    let old = &status["profiles"][1];
    assert_eq!((&old["name"], old["url"].is_null()), (&"old".into(), true));
    assert_eq!(old["paused"][0]["words"], "profile not configured");
    assert_eq!(status["health"], "degraded");
    agent.stop();

    home.deliver_to(&sandbox, &profile.replace(OTHER_KEY, KEY));
    let agent = home.start();
    sandbox.wait_billed(1);
    home.wait_drained();
    agent.stop();
}
