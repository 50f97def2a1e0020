//! An agent without room: what it refuses for now is sent again, in an order that its answers allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use revenium_emitter::Emitted;

use crate::agent::{Agent, Say, event, until};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn events_for_which_there_was_no_room_are_sent_again_until_there_is() {
    let refusals = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&refusals);
    // Some get `full`, while others around them are taken.
    let agent = Agent::new(move |seen| {
        let mixed = (seen.count + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
        if mixed < 3 {
            counted.fetch_add(1, Ordering::Relaxed);
            Say::Refuse(["full", "disk", "stopping"][usize::try_from(mixed).unwrap()])
        } else {
            Say::Durable
        }
    });
    let emitter = agent.builder().build();
    for id in 0..300 {
        emitter.emit(event(id));
    }
    until("answered", || emitter.stats().in_memory, |left| *left == 0);
    agent.wait_all(300);
    assert!(refusals.load(Ordering::Relaxed) > 10);
    assert_eq!(emitter.stats().refused(), 0, "none was for good");
}

#[test]
fn a_full_agent_is_not_pressed_and_gets_everything_later() {
    let (has_room, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (room, count) = (Arc::clone(&has_room), Arc::clone(&asked));
    let agent = Agent::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        if room.load(Ordering::Relaxed) { Say::Durable } else { Say::Refuse("full") }
    });
    let emitter = agent.builder().build();
    for id in 0..50 {
        assert!(!matches!(emitter.emit(event(id)), Emitted::Dropped(_)));
    }
    until("refused", || asked.load(Ordering::Relaxed), |asked| *asked >= 100);
    assert!(emitter.last_error().is_some());
    has_room.store(true, Ordering::Relaxed);
    assert!(emitter.flush(LONG).is_complete());
    agent.wait_all(50);
}
