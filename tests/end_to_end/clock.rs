//! A clock that is set back, or forward, by a day between two lives of the agent.
//!
//! The clock of one process is shifted by libfaketime (Debian's package faketime); what it measures waits
//! with is not, as when a system's clock is set.

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
