//! The facts of a call, as a client hands them over: the events made of them are whole, or it is refused.
#![no_main]

#[path = "support/names.rs"]
mod names;

use libfuzzer_sys::fuzz_target;
use revenium_anthropic::{freeze, is_call};
use revenium_event::{Identity, Minted};
use std::collections::BTreeSet;

const MINTED: Minted = Minted { now_ms: 1_795_419_848_263, random: [7; 16] };

fuzz_target!(|bytes: &[u8]| {
    let _ = is_call(bytes);
    let Ok(events) = freeze(bytes, &Identity::Key("k"), &MINTED) else { return };
    assert!(!events.is_empty(), "a call that is taken is an event");
    let keys: BTreeSet<_> = events.iter().map(|event| &event.idempotency_key).collect();
    assert_eq!(keys.len(), events.len(), "each has a key of its own");
    for event in &events {
        let names = names::of(&event.body);
        assert!(names.is_some_and(|names| names.contains(&b"transactionId"[..])));
    }
});
