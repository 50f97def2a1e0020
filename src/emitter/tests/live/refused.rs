//! What the agent does not take.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use revenium_emitter::{DurableError, Emitted, Event, LossReason};

use crate::agent::{Agent, Say, event, id_of, until};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_refused_event_is_named_and_counted_and_the_others_are_stored() {
    let agent = Agent::new(|seen| match id_of(seen.line) % 10 {
        3 => Say::Refuse("invalid"),
        7 => Say::Refuse("conflict"),
        _ => Say::Durable,
    });
    let losses = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&losses);
    let emitter =
        agent.builder().on_loss(move |loss| told.lock().unwrap().push((loss.reason, loss.events))).build();
    for id in 0..3 {
        emitter.emit(event(id));
    }
    let DurableError::Refused(why) = emitter.emit_durable(event(3), LONG).unwrap_err() else { panic!() };
    assert_eq!((why.reason, &*why.to_string()), (LossReason::RefusedInvalid, "model: no"));
    for id in 4..50 {
        emitter.emit(event(id));
    }
    assert!(emitter.flush(LONG).is_complete());
    let stats = emitter.stats();
    assert_eq!((stats.durable, stats.refused(), stats.dropped()), (40, 10, 0));
    assert_eq!((stats.lost(LossReason::RefusedInvalid), stats.lost(LossReason::RefusedConflict)), (5, 5));
    until("reported", || losses.lock().unwrap().iter().map(|(_, n)| n).sum::<u64>(), |n| *n == 10);
    agent.wait_stored(40);
}

#[test]
fn after_many_refusals_a_new_producer_begins_and_nothing_is_lost() {
    // The agent remembers a bounded number of gaps for each producer.
    let agent =
        Agent::new(|seen| if id_of(seen.line) % 2 == 1 { Say::Refuse("invalid") } else { Say::Durable });
    let emitter = agent.builder().memory_bytes_max(64 << 20).build();
    for id in 0..4000 {
        emitter.emit(event(id));
    }
    assert!(emitter.flush(LONG).is_complete());
    agent.wait_stored(2000);
    assert!(agent.producers() >= 3, "{}", agent.producers());
    assert!(agent.runs() <= 1024, "{}", agent.runs());
    assert_eq!(emitter.stats().refused(), 2000);
}

#[test]
fn an_event_that_no_agent_takes_is_not_kept() {
    let agent = Agent::new(|_| Say::Durable);
    let emitter = agent.builder().memory_bytes_max(64 << 20).build();
    let large = Event::completion("m").field("systemPrompt", "x".repeat(2 << 20));
    assert_eq!(emitter.emit(large), Emitted::Dropped(LossReason::TooLarge));
    assert_eq!(emitter.stats().lost(LossReason::TooLarge), 1);
}

#[test]
fn a_callback_that_panics_or_emits_harms_nobody() {
    let agent = Agent::new(|seen| if id_of(seen.line) == 0 { Say::Refuse("invalid") } else { Say::Durable });
    let emitter = agent.builder().on_loss(|_| panic!("a bug of the application's")).build();
    emitter.emit(event(0));
    for id in 1..100 {
        emitter.emit(event(id));
    }
    assert!(emitter.flush(LONG).is_complete());
    agent.wait_stored(99);
    emitter.emit_durable(event(100), LONG).unwrap();
}
