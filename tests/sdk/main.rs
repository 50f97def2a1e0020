//! Revenium's own SDK for Python, pointed at the relay by one variable.
//!
//! The package is the official one, and so is Anthropic's; only the two services are stand-ins. A tap
//! before the relay keeps what the SDK sent, and what is billed in the end must be that, byte for byte.

#[path = "../support/mod.rs"]
mod support;

mod gateway;
mod python;
mod tap;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::process::Stdio;

use python::{Anthropic, first_line, run};
use support::{Agent, Home, OTHER_KEY, Sandbox, until, unused_address};
use tap::Tap;

const RELAY: &str = "relay.listen = \"127.0.0.1:0\"\n";

fn tap_before(agent: &Agent) -> Tap {
    Tap::before(agent.ready["relay"].as_str().expect("is on"))
}

/// Fails unless what is billed is what passed the tap, each under the key that the SDK gave it.
fn assert_billed_as_sent(tap: &Tap, sandbox: &Sandbox, requests: usize) {
    let sent: BTreeMap<String, String> = tap
        .requests()
        .into_iter()
        .map(|request| (request.key.expect("the SDK gives one"), request.body))
        .collect();
    assert_eq!(sent.len(), requests, "{sent:#?}");
    assert_eq!(sandbox.wait_billed(requests), sent);
}

#[test]
fn what_revenium_s_sdk_sends_is_billed_byte_for_byte() {
    let (home, anthropic) = (Home::new(), Anthropic::start());
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let tap = tap_before(&agent);
    let mut case = anthropic.case("calls.py", &tap.url());
    case.env("REVENIUM_CAPTURE_PROMPTS", "true");
    run(case);
    // Nine calls that succeed, three that fail, one that breaks off.
    assert_billed_as_sent(&tap, &sandbox, 13);
    let status = home.wait_drained();
    assert_eq!(
        (&status["profiles"][0]["delivered"], &status["profiles"][0]["dead"]),
        (&13.into(), &0.into())
    );
    let name = "revenium_agent_events_received_total{kind=\"completion\",via=\"relay\"}";
    assert_eq!(agent.metric(name), 13.0);
    agent.stop();
}

/// Case 20, where the SDK needed three tries of its own.
#[test]
fn an_upstream_that_fails_twice_is_no_concern_of_the_application() {
    let (home, anthropic) = (Home::new(), Anthropic::start());
    let script = r#"{"steps":[{"fault":{"kind":"503"},"times":2}]}"#;
    let sandbox = home.sandbox(&["--fault-script", script]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let tap = tap_before(&agent);
    run(anthropic.case("exit.py", &tap.url()));
    assert_eq!(tap.requests().len(), 5, "each was sent once");
    assert_billed_as_sent(&tap, &sandbox, 5);
    sandbox.assert_attempts_are_alike();
    agent.stop();
}

/// Case 23, where the SDK dropped each event after one try.
#[test]
fn a_wrong_key_loses_nothing_and_the_right_one_delivers_everything() {
    let (home, anthropic) = (Home::new(), Anthropic::start());
    let sandbox = home.sandbox(&["--key", &format!("{OTHER_KEY}=team")]);
    home.deliver_to(&sandbox, RELAY);
    home.write("key", "rev_mk_notyetknown0000000000");
    let agent = home.start();
    let tap = tap_before(&agent);
    let mut case = anthropic.case("exit.py", &tap.url());
    case.env("REVENIUM_METERING_API_KEY", "rev_mk_notyetknown0000000000");
    run(case);
    home.wait_status("events wait for a key", |status| status["profiles"][0]["waiting"] == 5);
    home.write("key", OTHER_KEY);
    agent.signal(rustix::process::Signal::HUP);
    assert_billed_as_sent(&tap, &sandbox, 5);
    agent.stop();
}

/// Case 28, where five of five were lost.
#[test]
fn an_application_that_exits_during_an_outage_has_lost_nothing() {
    let (home, anthropic) = (Home::new(), Anthropic::start());
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), RELAY);
    let agent = home.start();
    let tap = tap_before(&agent);
    run(anthropic.case("exit.py", &tap.url()));
    home.wait_status("events wait for the upstream", |status| status["profiles"][0]["waiting"] == 5);
    // The agent, too, is killed in the outage.
    agent.kill();
    let sandbox = home.sandbox_on(&address, &[]);
    let agent = home.start();
    assert_billed_as_sent(&tap, &sandbox, 5);
    agent.stop();
}

/// Case 29, where five of five were lost.
#[test]
fn what_reached_the_relay_before_its_application_was_killed_is_billed() {
    let (home, anthropic) = (Home::new(), Anthropic::start());
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), RELAY);
    let agent = home.start();
    let tap = tap_before(&agent);
    let mut application = anthropic
        .case("killed.py", &tap.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut out = BufReader::new(application.stdout.take().expect("piped"));
    for _ in 0..5 {
        assert_eq!(first_line(&mut out), "called");
    }
    until("requests reached the relay", || tap.requests().len(), |count| *count >= 5);
    application.kill().expect("is running");
    application.wait().expect("ends");
    // What the kernel had of it passes the tap to its end.
    let sandbox = home.sandbox_on(&address, &[]);
    let (mut passed, mut billed) = (tap.requests().len(), 0);
    until(
        "what passed the tap is billed",
        || {
            (passed, billed) = (tap.requests().len(), sandbox.billed().len());
            (passed, billed)
        },
        |(passed, billed)| billed >= passed,
    );
    home.wait_drained();
    assert_billed_as_sent(&tap, &sandbox, passed);
    agent.stop();
}
