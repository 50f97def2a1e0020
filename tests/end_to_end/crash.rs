//! The agent ends: by kill -9, and when it is asked to.

use std::collections::BTreeSet;
use std::thread;

use revenium_agent::sandbox::What;
use rustix::process::Signal;

use crate::support::{Agent, Home, Line, Producer, Sandbox, completion, until, unused_address};

const PRODUCERS: u8 = 4;

/// Ends `agent` while producers send as fast as they may. Returns how far each came.
fn end_under_load(home: &Home, first: u8, end: impl FnOnce()) -> Vec<Producer> {
    let sending: Vec<_> = (first..first + PRODUCERS)
        .map(|id| {
            let socket = home.socket();
            thread::spawn(move || {
                let mut producer = Producer::new(id);
                // Ends when the agent does, which is the point.
                let _ended = producer.run(&socket, u64::MAX, 64);
                producer
            })
        })
        .collect();
    end();
    sending.into_iter().map(|thread| thread.join().expect("no panic")).collect()
}

/// Fails unless all that was acknowledged was billed, once, and nothing else but what was sent.
fn assert_billed(sandbox: &Sandbox, producers: &[Producer]) {
    let mut billed = BTreeSet::new();
    for entry in sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed) {
        let transaction = entry.transaction.expect("given").into_owned();
        assert!(billed.insert(transaction.clone()), "{transaction} was billed twice");
    }
    let all = |of: fn(&Producer) -> u64| -> BTreeSet<String> {
        producers.iter().flat_map(|producer| (0..of(producer)).map(|n| producer.transaction(n))).collect()
    };
    let (acknowledged, sent) = (all(|producer| producer.durable), all(|producer| producer.next));
    assert!(acknowledged.len() > 100, "there was load: {}", acknowledged.len());
    let lost: Vec<_> = acknowledged.difference(&billed).collect();
    assert!(lost.is_empty(), "{} acknowledged and lost, such as {:?}", lost.len(), lost[0]);
    let unsent: Vec<_> = billed.difference(&sent).collect();
    assert!(unsent.is_empty(), "billed and never sent: {unsent:?}");
    sandbox.assert_attempts_are_alike();
}

#[test]
fn what_was_acknowledged_before_a_kill_is_delivered_after_it() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let mut producers = Vec::new();
    for round in 0..3 {
        let agent = home.start();
        let before = sandbox.count(What::Billed);
        producers.extend(end_under_load(&home, 1 + round * PRODUCERS, || {
            until("deliveries", || sandbox.count(What::Billed), |count| *count >= before + 300);
            agent.kill();
        }));
    }
    let agent = home.start();
    home.wait_drained();
    assert_billed(&sandbox, &producers);
    agent.stop();
}

#[test]
fn what_was_acknowledged_while_the_upstream_was_away_is_delivered_after_a_kill() {
    let home = Home::new();
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), "");
    let agent = home.start();
    let mut producer = Producer::new(1);
    producer.run(&home.socket(), 2000, 500).expect("durable");
    home.wait_status("the outage is noticed", |status| status["pace"][0]["note"] != serde_json::Value::Null);
    agent.kill();
    let sandbox = home.sandbox_on(&address, &[]);
    let agent = home.start();
    sandbox.wait_billed(2000);
    home.wait_drained();
    assert_billed(&sandbox, &[producer]);
    agent.stop();
}

fn stop(agent: Agent) {
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn sigterm_under_load_answers_what_was_read_and_loses_nothing() {
    let home = Home::new();
    let sandbox = home.sandbox(&["--latency-ms", "20"]);
    home.deliver_to(&sandbox, "drain.in_flight_max = 4\n");
    let agent = home.start();
    let producers = end_under_load(&home, 1, || {
        until("deliveries", || sandbox.count(What::Billed), |count| *count >= 50);
        stop(agent);
    });
    // Requests that were on their way had the time to end, so no answer was missed.
    let attempts = sandbox.count(What::Attempt);
    assert_eq!(attempts, sandbox.count(What::Billed));
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    home.wait_drained();
    assert_billed(&sandbox, &producers);
    assert_eq!(sandbox.count(What::Repeated), 0, "nothing was sent twice");
    stop(agent);
}

#[test]
fn a_line_that_was_sent_before_the_stop_is_acknowledged() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    assert_eq!(line.ask(&completion("one"))["ok"], true);
    line.send(format!("{}\n", completion("two")).repeat(500).as_bytes());
    agent.signal(Signal::TERM);
    let mut answers = 0;
    while let Some(answer) = line.answer() {
        assert_eq!(answer["ok"], true, "{answer}");
        answers += 1;
    }
    assert_eq!(answers, 500);
    assert_eq!(agent.end().code, Some(0));
    let agent = home.start();
    sandbox.wait_billed(501);
    agent.stop();
}
