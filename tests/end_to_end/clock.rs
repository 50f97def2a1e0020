//! A clock that is set back, or forward, by a day: between two lives of the agent, and while it runs.
//!
//! The clock of one process is shifted by libfaketime (Debian's package faketime); what it measures waits
//! with is not, as when a system's clock is set.

use std::fs;
use std::path::Path;

use crate::support::{Home, Line, completion, unused_address};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// What an event that could not be delivered waits for is written down in wall-clock time.
fn what_waits_is_delivered_after_the_clock_moved(first: &str, then: &str) {
    assert!(Path::new(FAKETIME).is_file(), "{FAKETIME} is missing: apt-get install faketime");
    let home = Home::new();
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), "");
    let start = |shift: &str| {
        let faked = [("LD_PRELOAD", FAKETIME), ("FAKETIME", shift), ("DONT_FAKE_MONOTONIC", "1")];
        home.start_in(&faked, &["--config", "config.toml"])
    };
    let agent = start(first);
    let mut line = Line::connect(&home.socket());
    for model in ["a", "b", "c"] {
        line.send(format!("{}\n", completion(model)).as_bytes());
        assert_eq!(line.answer().expect("answered")["ok"], true);
    }
    drop(line);
    // Each was tried, and is to be tried again later.
    agent.wait_for("the upstream fails");
    home.wait_status("they wait", |status| status["profiles"][0]["waiting"] == 3);
    agent.kill();
    let sandbox = home.sandbox_on(&address, &[]);
    let agent = start(then);
    sandbox.wait_billed(3);
    home.wait_drained();
    agent.stop();
}

#[test]
fn a_clock_that_is_set_back_a_day_keeps_nothing_waiting_for_a_day() {
    what_waits_is_delivered_after_the_clock_moved("+1d", "-1s");
}

#[test]
fn a_clock_that_is_set_forward_a_day_loses_nothing() {
    what_waits_is_delivered_after_the_clock_moved("-1s", "+1d");
}

/// What is sent, what waits to be tried again, and what comes afterwards, with the clock set in between.
fn what_comes_is_billed_once_while_the_clock_is_set(by: &str) {
    assert!(Path::new(FAKETIME).is_file(), "{FAKETIME} is missing: apt-get install faketime");
    let home = Home::new();
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), "");
    // Replaced whole, so that no half of it is read.
    let set = |by: &str| {
        home.write("clock.new", &format!("{by}\n"));
        fs::rename(home.path("clock.new"), home.path("clock")).expect("renamed");
    };
    set("+0");
    let file = home.path("clock");
    let faked = [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("UTF-8")),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let agent = home.start_in(&faked, &["--config", "config.toml"]);
    let mut line = Line::connect(&home.socket());
    let mut send = |models: &[&str]| {
        for model in models {
            line.send(format!("{}\n", completion(model)).as_bytes());
            assert_eq!(line.answer().expect("answered")["ok"], true);
        }
    };
    send(&["a", "b", "c"]);
    agent.wait_for("the upstream fails");
    home.wait_status("they wait", |status| status["profiles"][0]["waiting"] == 3);
    set(by);
    send(&["d", "e", "f"]);
    let sandbox = home.sandbox_on(&address, &[]);
    sandbox.wait_billed(6);
    let status = home.wait_drained();
    assert_eq!(status["profiles"][0]["dead"], 0, "{status}");
    send(&["g", "h"]);
    sandbox.wait_billed(8);
    home.wait_drained();
    // It did see the other day.
    let log = agent.stop().stderr;
    let day = |line: &str| line.get(..10).map(str::to_owned);
    let (first, last) = (log.lines().next().and_then(day), log.lines().last().and_then(day));
    assert!(first.is_some() && first != last, "the clock was not set:\n{log}");
}

#[test]
fn a_clock_that_is_set_forward_a_day_while_it_runs_stops_nothing() {
    what_comes_is_billed_once_while_the_clock_is_set("+86400");
}

#[test]
fn a_clock_that_is_set_back_a_day_while_it_runs_stops_nothing() {
    what_comes_is_billed_once_while_the_clock_is_set("-86400");
}
