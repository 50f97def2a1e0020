//! The agent comes and goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use revenium_agent::sandbox::What;
use revenium_emitter::{Emitted, Emitter, Event, LossReason, spool};

use rustix::process::Signal;

use crate::support::{Home, names, until};
use crate::{LONG, billed, builder, event};

#[test]
fn what_is_emitted_is_billed_with_its_members_as_they_were_given() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let emitter = builder(&home).build();
    emitter.emit(event("one").transaction_id("t1").organization("acme").field("note", "caf\u{e9} \"x\""));
    let members = r#""totalCost":0.10000000000000000001,"temperature":0.70"#;
    let raw = format!(r#"{{"model":"m","provider":"x","inputTokenCount":1,"outputTokenCount":2,{members}}}"#);
    emitter.emit_durable(Event::from_json(raw).expect("JSON"), LONG).expect("durable");
    let refused = emitter.emit_durable(Event::completion("m").provider("x"), LONG).expect_err("no amounts");
    assert!(refused.to_string().contains("inputTokenCount"), "{refused}");
    let bodies: Vec<String> = sandbox.wait_billed(2).into_values().collect();
    assert!(bodies.iter().any(|body| body.contains(members)), "{bodies:#?}");
    let given = [r#""transactionId":"t1""#, r#""organizationName":"acme""#, r#""note":"caf"#];
    assert!(bodies.iter().any(|body| given.iter().all(|member| body.contains(member))), "{bodies:#?}");
    let stats = emitter.stats();
    assert_eq!((stats.emitted, stats.durable, stats.lost(LossReason::RefusedInvalid)), (3, 2, 1));
    agent.stop();
}

/// Threads that emit until they are stopped; gives the ids of all.
fn load(emitter: &Emitter, stop: &Arc<AtomicBool>) -> Vec<thread::JoinHandle<BTreeSet<String>>> {
    (0..4)
        .map(|thread| {
            let (emitter, stop) = (emitter.clone(), Arc::clone(stop));
            thread::spawn(move || {
                let mut ids = BTreeSet::new();
                for i in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = format!("{thread}-{i}");
                    match emitter.emit(event(&id)) {
                        Emitted::Sent | Emitted::Queued => _ = ids.insert(id),
                        // No room in memory: it was counted, and never promised.
                        Emitted::Dropped(reason) => assert_eq!(reason, LossReason::MemoryFull),
                        other => panic!("{other:?}"),
                    }
                    if i % 2 == 0 {
                        thread::sleep(Duration::from_millis(2));
                    }
                }
                ids
            })
        })
        .collect()
}

#[test]
fn an_agent_that_is_killed_again_and_again_under_load_loses_and_doubles_nothing() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let emitter = builder(&home).build();
    let stop = Arc::new(AtomicBool::new(false));
    let threads = load(&emitter, &stop);
    for _ in 0..5 {
        let agent = home.start();
        let before = sandbox.count(What::Billed);
        until("deliveries", || sandbox.count(What::Billed), |count| *count >= before + 200);
        agent.kill();
    }
    let agent = home.start();
    stop.store(true, Ordering::Relaxed);
    let mut emitted = BTreeSet::new();
    threads.into_iter().for_each(|thread| emitted.extend(thread.join().expect("no panic")));
    assert!(emitter.flush(LONG).is_complete());
    until("handed in", || spool_files(&home), |files| *files == 0);
    let stats = emitter.stats();
    assert_eq!(stats.emitted - stats.dropped(), emitted.len() as u64);
    until("billed", || sandbox.count(What::Billed), |count| *count >= emitted.len());
    home.wait_drained();
    assert_eq!(billed(&sandbox), emitted);
    agent.stop();
}

#[test]
fn what_was_both_sent_and_spooled_because_the_agent_stood_still_is_billed_once() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    // The client alone takes the files in here; the agent does in another test.
    home.deliver_to(&sandbox, "spool.dirs = []\n");
    let agent = home.start();
    let emitter = builder(&home).build();
    emitter.emit_durable(event("before"), LONG).expect("durable");
    agent.signal(Signal::STOP);
    let mut emitted = BTreeSet::from(["before".to_owned()]);
    for i in 0..100 {
        let id = format!("still-{i}");
        assert_eq!(emitter.emit(event(&id)), Emitted::Sent);
        emitted.insert(id);
    }
    assert!(emitter.flush(Duration::from_secs(1)).is_complete());
    // A stop is not at once everywhere: the agent may have taken the first of them.
    let spooled = emitter.stats().spooled;
    assert!((90..=100).contains(&spooled), "{spooled}");
    agent.signal(Signal::CONT);
    until("handed in", || emitter.stats().handed_in, |events| *events == spooled);
    sandbox.wait_billed(101);
    home.wait_drained();
    assert_eq!(billed(&sandbox), emitted);
    agent.stop();
}

fn spool_files(home: &Home) -> usize {
    let dir = home.path("spool");
    if dir.exists() { names(&dir).iter().filter(|name| name.ends_with(".jsonl")).count() } else { 0 }
}

#[test]
fn what_was_emitted_while_no_agent_was_there_is_billed_when_one_is() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let emitter = builder(&home).build();
    let emitted: BTreeSet<String> = (0..500).map(|i| format!("away-{i}")).collect();
    for id in &emitted {
        emitter.emit(event(id));
    }
    // The process ends, and with it everything but the files.
    drop(emitter);
    assert!(spool_files(&home) > 0);
    let agent = home.start();
    until("taken in", || spool_files(&home), |files| *files == 0);
    until("billed", || sandbox.count(What::Billed), |count| *count >= 500);
    home.wait_drained();
    assert_eq!(billed(&sandbox), emitted);
    agent.stop();
}

#[test]
fn files_that_are_handed_in_twice_are_billed_once() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    // The client alone takes the files in here; the agent does in another test.
    home.deliver_to(&sandbox, "spool.dirs = []\n");
    let emitter = builder(&home).build();
    for i in 0..100 {
        emitter.emit(event(&format!("twice-{i}")));
    }
    drop(emitter);
    let dir = home.path("spool");
    let kept: Vec<(String, Vec<u8>)> = names(&dir)
        .into_iter()
        .map(|name| (name.clone(), std::fs::read(dir.join(name)).expect("read")))
        .collect();
    let mut agent = home.start();
    for round in 0..3 {
        for (name, bytes) in &kept {
            std::fs::write(dir.join(name), bytes).expect("written");
        }
        if round == 2 {
            // Also by an agent that has only its log to remember them by.
            agent.kill();
            agent = home.start();
        }
        let report = spool::hand_in(&dir, &[home.socket()], LONG).expect("listed");
        assert_eq!((report.events, report.left), (100, 0), "{report:?}");
    }
    until("billed", || sandbox.count(What::Billed), |count| *count >= 100);
    home.wait_drained();
    assert_eq!(billed(&sandbox).len(), 100);
    agent.stop();
}
