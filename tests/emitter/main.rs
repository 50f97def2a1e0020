//! The emitter with the real agent, and the stand-in for Revenium as the oracle: what was promised is billed,
//! once, whoever is killed.

mod application;
mod key;
mod outage;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use revenium_agent::sandbox::What;
use revenium_emitter::{Builder, Emitter, Event};

use support::{Home, Sandbox};

/// Far more than anything waited for takes.
const LONG: Duration = Duration::from_secs(60);

fn builder(home: &Home) -> Builder {
    Emitter::builder().socket(home.socket()).spool(home.path("spool"))
}

/// An event that says which it is, and that Revenium would take for a new one whenever it comes under another
/// key: nothing but the agent keeps it from being billed twice.
fn event(id: &str) -> Event {
    Event::completion("m").provider("Anthropic").input_tokens(25).output_tokens(15).field("testId", id)
}

/// The events that were billed. Fails if one was billed twice, or under two sets of bytes.
fn billed(sandbox: &Sandbox) -> BTreeSet<String> {
    let mut billed = BTreeSet::new();
    for entry in sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed) {
        let body: serde_json::Value = serde_json::from_str(&entry.body.expect("asked for")).expect("JSON");
        let id = body["testId"].as_str().expect("given").to_owned();
        assert!(billed.insert(id.clone()), "{id} was billed twice");
    }
    sandbox.assert_attempts_are_alike();
    billed
}
