//! Keys that applications hand over: each application's events are billed by its own, whatever happens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::mine::{Application, Mine, profile_of};
use crate::support::{KEY, OTHER_KEY, Sandbox, SpoolFile, assert_no_secret, until, unused_address};
use crate::user::mode;
use revenium_agent::sandbox::What;

/// A stand-in that knows both keys.
fn sandbox(mine: &Mine, address: &str) -> Sandbox {
    let keys = [format!("{KEY}=one"), format!("{OTHER_KEY}=two")];
    let args = ["--key", &keys[0], "--key", &keys[1], "--rate-limit", "0"];
    Sandbox::start_on(address, &mine.user.path("journal"), &args)
}

/// Whose key each event was billed by.
fn billed(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let billed = sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed);
    let text = |text: Option<std::borrow::Cow<'static, str>>| text.unwrap_or_default().into_owned();
    billed.map(|entry| (text(entry.transaction), text(entry.account))).collect()
}

fn all(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(event, account)| ((*event).to_owned(), (*account).to_owned())).collect()
}

#[test]
fn two_applications_with_two_keys_are_never_billed_to_each_other() {
    let mine = Mine::new();
    let sandbox = sandbox(&mine, "127.0.0.1:0");
    mine.start(&[]);
    let mut one = Application::connect(&mine, KEY, &sandbox.url());
    let mut two = Application::connect(&mine, OTHER_KEY, &sandbox.url());
    for application in [&mut one, &mut two] {
        assert_eq!(application.answer()["want"], "key");
    }
    // What is reported before the key is there waits for it.
    one.report("one-1");
    two.report("two-1");
    two.hand_over();
    one.hand_over();
    one.report("one-2");
    two.report("two-2");
    // One is told of by name in an event, another lies in the spool.
    let named = format!(r#"{{"profile":"{}","transactionId":"two-3","#, profile_of(OTHER_KEY));
    one.say(&crate::support::completion("m").replacen('{', &named, 1));
    assert_eq!(one.answer()["ok"], true);
    let mut file = SpoolFile::new(7, 1);
    file.text = file.text.replace("}}", &format!(",\"profile\":\"{}\"}}}}", profile_of(OTHER_KEY)));
    file.event(1);
    file.put(&mine.user.path("home/.local/state/revenium/spool"));
    let expected = all(&[
        ("one-1", "one"),
        ("one-2", "one"),
        ("two-1", "two"),
        ("two-2", "two"),
        ("two-3", "two"),
        (&file.transaction(1), "two"),
    ]);
    until("all are billed", || billed(&sandbox), |billed| billed.len() >= expected.len());
    assert_eq!(billed(&sandbox), expected);
    assert_eq!(sandbox.count(What::Attempt), expected.len(), "none was tried with another key");

    let kept = |key: &str| mine.data("keys").join(profile_of(key));
    assert_eq!(
        [kept(KEY), kept(OTHER_KEY), mine.data("keys")].map(|path| mode(&path)),
        [0o600, 0o600, 0o700]
    );
    // A key that is offered wrongly is told to nobody either.
    one.say(&format!(r#"{{"key":{{"value":"{OTHER_KEY}"}}}}"#));
    assert_eq!(one.answer()["field"], "key.value");
    one.say(&format!(r#"{{"key":{{"value":"{KEY}"}},"model":"m"}}"#));
    assert_eq!(one.answer()["field"], "key");
    let status = mine.wait_status("nothing is wrong", |status| status["health"] == "ok");
    assert_eq!(status["imbalance"], 0);
    assert_no_secret(&[&mine.shown()]);
}

#[test]
fn what_waited_when_the_agent_was_killed_is_delivered_with_the_key_that_it_kept() {
    let mine = Mine::new();
    let address = unused_address();
    mine.start(&[]);
    let mut one = Application::connect(&mine, KEY, &format!("http://{address}"));
    assert_eq!(one.answer()["want"], "key");
    one.hand_over();
    one.report("before");
    drop(one);
    mine.kill(Signal::KILL);
    mine.wait_ended();
    let sandbox = sandbox(&mine, &address);
    assert_eq!(mine.start(&[])["state"], "started");
    until("it is billed", || billed(&sandbox), |billed| !billed.is_empty());
    assert_eq!(billed(&sandbox), all(&[("before", "one")]));
    // It knows the key, and does not ask again.
    let mut again = Application::connect(&mine, KEY, &sandbox.url());
    again.report("after");
    until("it is billed", || billed(&sandbox), |billed| billed.len() == 2);
}

#[test]
fn what_comes_just_as_an_agent_ends_for_nobody_needs_it_is_delivered_all_the_same() {
    let mine = Mine::new();
    let sandbox = sandbox(&mine, "127.0.0.1:0");
    let mut served = 0;
    // Between the last look and the closed door, which is in the first moments after the card is gone.
    for round in 0..40_u32 {
        mine.start(&["--idle-end", "20ms"]);
        while mine.card_path().exists() {
            std::hint::spin_loop();
        }
        let gone = Instant::now();
        while gone.elapsed() < round % 20 * Duration::from_micros(4) {
            std::hint::spin_loop();
        }
        let event = format!("late-{round}");
        let is_served = Application::report_once(&mine, KEY, &sandbox.url(), &event);
        mine.wait_ended();
        if is_served {
            served += 1;
            assert!(billed(&sandbox).contains_key(&event), "{event} waits in a log that nobody has open");
        }
    }
    assert!(served > 0, "the moment was never met");
}

#[test]
fn an_agent_that_nobody_needs_ends_but_not_before_everything_is_delivered() {
    let mine = Mine::new();
    let address = unused_address();
    mine.start(&["--idle-end", "300ms"]);
    let mut one = Application::connect(&mine, KEY, &format!("http://{address}"));
    assert_eq!(one.answer()["want"], "key");
    one.hand_over();
    one.report("late");
    drop(one);
    // Far beyond its idle time, with an event that cannot be delivered.
    mine.wait_status("it stays", |status| status["uptime_s"].as_u64().is_some_and(|up| up >= 3));
    let sandbox = sandbox(&mine, &address);
    // A client holds it too.
    let held = Application::connect(&mine, KEY, &sandbox.url());
    until("it is billed", || billed(&sandbox), |billed| billed.len() == 1);
    let up = mine.wait_status("it drained", |status| {
        status["profiles"].as_array().is_some_and(|all| all.iter().all(|profile| profile["waiting"] == 0))
    });
    let until_s = up["uptime_s"].as_u64().expect("a number") + 3;
    mine.wait_status("it stays", |status| status["uptime_s"].as_u64().is_some_and(|up| up >= until_s));
    drop(held);
    mine.wait_ended();
    assert_eq!([mine.socket(), mine.card_path()].map(|path: PathBuf| path.exists()), [false, false]);
    let log = std::fs::read_to_string(mine.data("agent.log")).expect("a log");
    assert!(log.contains("nothing to do") && log.contains("stopped"), "{log}");
}
