//! Events in any dialect: what is frozen is one JSON object within the bounds, and stays as it is when it is
//! frozen again.
#![no_main]

#[path = "support/names.rs"]
mod names;

use libfuzzer_sys::fuzz_target;
use revenium_event::limits::BODY_BYTES_MAX;
use revenium_event::{Frozen, Identity, Minted, freeze, outline};

const MINTED: Minted = Minted { now_ms: 1_795_419_848_263, random: [7; 16] };

fuzz_target!(|bytes: &[u8]| {
    let _ = outline(bytes, &Identity::Body, &MINTED);
    let Ok(first) = freeze(bytes, &Identity::Body, &MINTED) else { return };
    assert!(first.body.len() <= BODY_BYTES_MAX && first.idempotency_key.len() <= 255);
    let names = names::of(&first.body).expect("an object");
    assert!(!names.contains(&b"kind"[..]) && !names.contains(&b"profile"[..]), "what routes is not sent");
    let again = freeze(&routed(&first), &Identity::Body, &Minted { now_ms: 0, random: [0; 16] });
    let again = again.unwrap_or_else(|refusal| panic!("{refusal}: {}", shown(&first.body)));
    assert_eq!(shown(&first.body), shown(&again.body));
});

/// The kind goes right behind the last value, so that cutting it out leaves no trace.
fn routed(frozen: &Frozen) -> Vec<u8> {
    let body = shown(&frozen.body);
    let members = body.strip_suffix('}').expect("an object").trim_end();
    format!("{members},\"kind\":\"{}\"{}", frozen.kind, &body[members.len()..]).into_bytes()
}

fn shown(body: &[u8]) -> &str {
    std::str::from_utf8(body).expect("UTF-8")
}
