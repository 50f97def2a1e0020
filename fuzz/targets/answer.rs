//! What a provider answers, in one piece, as a stream, or as a batch's results: the split does not matter.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use revenium_anthropic::{Answer, Asked, Ended, Head, Route};

const TOOK: Duration = Duration::from_millis(5);
const TYPES: [&str; 3] = ["application/json", "text/event-stream", "application/x-jsonl"];

fuzz_target!(|bytes: &[u8]| {
    let [how, rest @ ..] = bytes else { return };
    let route = if how & 4 == 0 { Route::of("/v1/messages") } else { Route::BatchResults };
    let status = if how & 8 == 0 { 200 } else { 529 };
    let head = Head { status, content_type: TYPES[usize::from(how & 3) % 3], request_id: "req_1" };
    let most = usize::from(how >> 4) + 1;
    let whole = read(route, &head, &[rest]);
    let split: Vec<&[u8]> = rest.chunks(most).collect();
    assert_eq!(whole, read(route, &head, &split), "in pieces of {most}");
    let mut asked = Asked::new();
    split.iter().for_each(|piece| asked.push(piece));
    let _ = (asked.request(), asked.wants_stream());
});

fn read(route: Route, head: &Head<'_>, pieces: &[&[u8]]) -> (String, usize, u64) {
    let mut answer = Answer::new(route, head);
    pieces.iter().for_each(|piece| answer.push(piece, TOOK));
    let (outcomes, odd) = answer.results(true);
    let (response, _) = answer.finish(TOOK, Ended::Complete);
    (serde_json::to_string(&response).expect("it is written"), outcomes.len(), odd)
}
