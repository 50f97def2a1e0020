//! Whether every event is accounted for: counted by reading the log, beside a running agent and without one.

use serde_json::Value;

use crate::stored::{EVENTS, REMOVALS, WINDOW, filled, find, home, report, write};
use crate::support::{Ended, Home, Producer};

fn reconcile(home: &Home) -> (Ended, Value) {
    report(home, &["reconcile", "--json"])
}

#[test]
fn the_books_balance_under_load_and_when_the_agent_is_gone() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    std::thread::scope(|scope| {
        let load =
            scope.spawn(|| Producer::new(1).run(&home.socket(), 20 * EVENTS, WINDOW).expect("durable"));
        while !load.is_finished() {
            let (ended, report) = reconcile(&home);
            assert_eq!((ended.code, &report["is_running"]), (Some(0), &true.into()), "{report}");
        }
    });
    home.wait_drained();
    let (_, report) = reconcile(&home);
    let counts = |name: &str| report["counted"][0][name].as_u64();
    assert_eq!((counts("received"), counts("delivered")), (Some(20 * EVENTS), Some(20 * EVENTS)), "{report}");
    assert_eq!(
        (&report["counted"][0]["profile"], &report["counted"][0]["kind"]),
        (&"default".into(), &"completion".into())
    );
    agent.stop();
    let screen = home.run(&["reconcile"]);
    assert_eq!(screen.code, Some(0), "{}", screen.stdout);
    let told = format!("balanced: each of {} events is accounted for; no agent runs\n", 20 * EVENTS);
    assert!(screen.stdout.ends_with(&told), "{}", screen.stdout);
}

#[test]
fn a_record_that_is_removed_behind_the_agent_s_back_is_missed() {
    for (what, remove) in REMOVALS {
        for is_running in [false, true] {
            let home = home();
            let agent = home.start();
            Producer::new(1).run(&home.socket(), EVENTS, WINDOW).expect("durable");
            home.wait_status("the index has them", |status| status["profiles"][0]["waiting"] == EVENTS);
            let agent = if is_running { Some(agent) } else { agent.stop().code.and(None) };
            let (ended, report) = reconcile(&home);
            assert_eq!(ended.code, Some(0), "{what}: {report}");
            let (path, at) = find(&home, EVENTS / 2);
            remove(&path, at);
            let (ended, report) = reconcile(&home);
            let lost: u64 = report["counted"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|lane| lane["lost"].as_u64())
                .sum();
            // Unless the agent met the damage itself by now, and counts what it took.
            let is_met = is_running && lost > 0;
            assert!(ended.code == Some(1) || is_met, "{what}, running: {is_running}: {report}");
            assert_eq!(report["is_running"], is_running);
            let screen = home.run(&["reconcile"]);
            assert!(screen.stdout.contains("`revenium-agent log verify` says where"), "{}", screen.stdout);
            let is_told = screen.code == Some(1) && screen.stdout.contains("NOT BALANCED: ");
            assert!(is_told || is_running, "{what}: {}", screen.stdout);
            drop(agent);
        }
    }
}

#[test]
fn what_was_lost_and_counted_balances_again() {
    let home = filled();
    let (path, at) = find(&home, EVENTS / 2);
    write(&path, at - 2048, &[0; 4096]);
    assert_eq!(reconcile(&home).0.code, Some(1));
    let agent = home.start();
    let status = home.wait_status("the loss is counted", |status| status["lost"].as_u64() > Some(0));
    agent.stop();
    let (ended, report) = reconcile(&home);
    assert_eq!(ended.code, Some(0), "{report}");
    let lanes = report["counted"].as_array().expect("a list");
    let lost: u64 = lanes.iter().filter_map(|lane| lane["lost"].as_u64()).sum();
    assert_eq!(Some(lost), status["lost"].as_u64(), "{report}");
}

#[test]
fn where_there_is_no_log_nothing_is_said_to_balance() {
    let home = home();
    let ended = home.run(&["reconcile"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    let expected = format!("there is no log in {}", home.path("data/store").display());
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
}
