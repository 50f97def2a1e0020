//! The emitter with the real agent, and the stand-in for Revenium as the oracle: what was promised is billed,
//! once, whoever is killed.

mod application;
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

/// An event that is recognised by its `transactionId`.
fn event(id: &str) -> Event {
    Event::completion("m").provider("Anthropic").input_tokens(25).output_tokens(15).transaction_id(id)
}

/// The `transactionId`s that were billed. Fails if one was billed twice, or under two sets of bytes.
fn billed(sandbox: &Sandbox) -> BTreeSet<String> {
    let mut billed = BTreeSet::new();
    for entry in sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed) {
        let transaction = entry.transaction.expect("given").into_owned();
        assert!(billed.insert(transaction.clone()), "{transaction} was billed twice");
    }
    sandbox.assert_attempts_are_alike();
    billed
}
