//! The real agent, its data directory on a disk whose power is cut, under load and while it delivers.
//!
//! Senders number their events and hand over again what was not acknowledged, as all of ours do. The
//! stand-in for Revenium is a process that has power all the time; its journal says what was billed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::time::Instant;

use revenium_agent::sandbox::What;
use rustix::process::Pid;
use serde_json::Value;

use crate::dice::Dice;
use crate::disk::Lie;
use crate::mount::Mount;
use crate::plan::Plan;
use crate::support::{Agent, Home, Producer, Sandbox, until};

/// Of so many cuts of a store, one of an agent.
const ONE_IN: u64 = 20;
const ROUNDS_MAX: u64 = 40;
/// Events sent in one go.
const BURST: u64 = 100;
/// Few, so that most operations are of a flush and what is to be delivered at the end stays little.
const WINDOW: u64 = 8;

#[test]
fn what_an_agent_acknowledged_is_billed_once_however_often_the_power_goes() {
    let plan = Plan::from_environment();
    let rounds = (plan.rounds / ONE_IN).clamp(3, ROUNDS_MAX);
    let mut dice = Dice::new(plan.seed);
    let began = Instant::now();
    let home = Home::new();
    fs::create_dir(home.path("data")).expect("made");
    // Goes before the folder that it is mounted in.
    let mount = Mount::new(&home.path("data"), Lie::None, None);
    let sandbox = home.sandbox(&["--latency-ms", "20"]);
    // What was delivered before a cut could not be lost by it.
    home.deliver_to(&sandbox, "drain.in_flight_max = 4\n");
    let mut producer = Producer::new(1);
    for _ in 0..rounds {
        work_until_cut(&home, &mount, &mut producer, &mut dice);
        mount.restore(&mut dice);
    }
    home.deliver_to(&sandbox, "");
    let agent = start(&home, &mount);
    agent.wait_for("started");
    let sent = producer.next;
    producer.persist(&home.socket(), sent, WINDOW);
    let status = home.wait_drained();
    let _ = writeln!(
        io::stderr(),
        "power: {rounds} cuts of an agent in {:?}, {} events",
        began.elapsed(),
        producer.durable
    );
    assert_billed(&sandbox, &producer);
    let profile = &status["profiles"][0];
    let counts = [&status["lost"], &profile["dead"], &profile["delivered"]].map(Value::as_u64);
    assert_eq!(counts, [Some(0), Some(0), Some(sent)], "the ledger counts each once: {status}");
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

fn start(home: &Home, mount: &Mount) -> Agent {
    let agent = home.launch(&mut home.command(&["run", "--config", "config.toml"]));
    mount.set_victim(Pid::from_raw(i32::try_from(agent.pid()).expect("is small")).expect("is no 0"));
    agent
}

fn work_until_cut(home: &Home, mount: &Mount, producer: &mut Producer, dice: &mut Dice) {
    // A start takes some hundred operations, most of them to write segments in advance.
    let most = [300, 600, 1_500][usize::try_from(dice.between(0..=2)).expect("is small")];
    mount.arm(0, dice.between(0..=most));
    let agent = start(home, mount);
    // Nobody may listen yet, or any more.
    let more = |producer: &mut Producer| {
        let upto = producer.next.max(producer.durable + BURST);
        let _ended = producer.run(&home.socket(), upto, WINDOW);
        mount.is_off() || agent.has_ended()
    };
    until("the power goes", || more(producer), |is_off| *is_off);
    let ended = agent.end();
    assert!(mount.is_off() && ended.code.is_none(), "it ended by itself:\n{}", ended.stderr);
}

/// Fails unless each event was billed once, with what its sender gave, and nothing else was.
fn assert_billed(sandbox: &Sandbox, producer: &Producer) {
    let mut billed = BTreeMap::new();
    for entry in sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed) {
        let transaction = entry.transaction.expect("given").into_owned();
        let body = entry.body.expect("asked for").into_owned();
        assert_eq!(billed.insert(transaction.clone(), body), None, "{transaction} was billed twice");
    }
    for n in 0..producer.durable {
        let transaction = producer.transaction(n);
        let body = billed.remove(&transaction);
        let body = body.unwrap_or_else(|| panic!("{transaction} was acknowledged and is LOST"));
        assert!(body.starts_with(&producer.event(n)), "{transaction} was altered: {body}");
    }
    assert!(billed.is_empty(), "billed and never sent: {billed:?}");
    sandbox.assert_attempts_are_alike();
}
