//! What the readers hold of bodies of any size and shape, counted by the allocator.
//!
//! A process of its own, whose tests take turns: the allocator counts for all threads.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use peak_alloc::PeakAlloc;
use revenium_anthropic::{Answer, By, Call, Ended, Head, Response, Route, Stream, freeze};
use revenium_event::{Identity, Minted};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

static TURN: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;
const GIGANTIC: usize = 256 * MIB;

/// Of a stream: a line, an event's data and the usage, 256 KiB each, and what they are read into.
const STREAM_HOLDS_MAX: usize = MIB;
/// Of an answer in one piece: six members of 64 KiB, and the object that is made of them.
const ANSWER_HOLDS_MAX: usize = MIB;

/// Longest data of a stream's event, and longest member of an answer in one piece, that count.
const DATA_MAX: usize = 256 << 10;
const MEMBER_MAX: usize = 64 << 10;

/// What `read` gives, and the most bytes that were held meanwhile beyond those before.
fn held<T>(read: impl FnOnce() -> T) -> (T, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let said = read();
    (said, HEAP.peak_usage().saturating_sub(before))
}

/// Hands on so many bytes of `unit`, over and over, in pieces of odd sizes.
fn over_and_over(unit: &str, bytes: usize, mut take: impl FnMut(&[u8])) {
    const SIZES: [usize; 6] = [1, 65_521, 7, 16_411, 3, 1_021];
    let text = unit.repeat(65_521 / unit.len() + 2);
    let (mut left, mut at) = (bytes - bytes % unit.len(), 0);
    for size in SIZES.into_iter().cycle() {
        if left == 0 {
            return;
        }
        let size = size.min(left);
        take(&text.as_bytes()[at..at + size]);
        (left, at) = (left - size, (at + size) % unit.len());
    }
}

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":25}}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// A stream that begins as ever, has `before`, so many bytes of `unit` and `after`, and ends as ever.
fn stream(before: &str, unit: &str, bytes: usize, after: &str) -> Response {
    let mut stream = Stream::new();
    let mut push = |bytes: &[u8]| stream.push(bytes, Duration::ZERO);
    [START, before].iter().for_each(|text| push(text.as_bytes()));
    over_and_over(unit, bytes, &mut push);
    [after, STOP].iter().for_each(|text| push(text.as_bytes()));
    stream.finish(Duration::ZERO, By::Server)
}

/// An answer in one piece, in the same way.
fn whole(before: &str, unit: &str, bytes: usize, after: &str) -> Response {
    let mut answer = Answer::new(Route::Messages, &Head { status: 200, ..Head::default() });
    answer.push(before.as_bytes(), Duration::ZERO);
    over_and_over(unit, bytes, |bytes| answer.push(bytes, Duration::ZERO));
    answer.push(after.as_bytes(), Duration::ZERO);
    answer.finish(Duration::ZERO, Ended::Complete).0
}

fn usage(said: &Response) -> &str {
    said.usage.as_ref().map_or("", |usage| usage.get())
}

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn of_a_stream_of_any_size_and_shape_a_mebibyte_is_held_at_most() {
    let _turn = turn();
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"";
    let change = "event: message_delta\ndata: {\"usage\":{\"output_tokens\":15},\n";
    for (what, before, unit, bytes, after, ended) in [
        ("a delta", delta, "word ", GIGANTIC, "\"}}\n\n", Ended::Complete),
        ("an event that nobody knows", "event: new\ndata: ", "word ", 8 * MIB, "\n\n", Ended::Complete),
        ("a name without end", "event: ", "name", 8 * MIB, "\n\n", Ended::Complete),
        ("a line without end", "data: ", "no end ", 8 * MIB, "", Ended::Cut),
        ("a million lines of data", change, "data: 0123,\n", 12_000_000, "\n", Ended::Cut),
        ("a million lines of a delta", delta, "\ndata: 0123", 11_000_000, "\n\n", Ended::Complete),
        ("a million events", "", "data: {\"usage\":1}\n\n", 19_000_000, "", Ended::Complete),
    ] {
        let (said, held) = held(|| stream(before, unit, bytes, after));
        assert!(held <= STREAM_HOLDS_MAX, "{what}: {held} bytes were held");
        assert_eq!(
            (said.ended, said.usage.expect("was said").get()),
            (ended, r#"{"input_tokens":25}"#),
            "{what}"
        );
    }
}

#[test]
fn an_event_counts_up_to_its_bound_and_one_byte_beyond_it_the_answer_is_cut() {
    let _turn = turn();
    let begin = "event: message_delta\ndata: {\"usage\":{\"output_tokens\":15}";
    let data = begin.len() - "event: message_delta\n".len();
    // In one line, which counts with its field, and in many, whose line feeds count.
    let in_one = DATA_MAX - data - "}".len();
    let in_many = DATA_MAX - (data - "data: ".len()) - "\n}".len();
    let line = "\ndata: ";
    let table = [
        (stream(begin, " ", in_one, "}\n\n"), Ended::Complete),
        (stream(begin, " ", in_one + 1, "}\n\n"), Ended::Cut),
        (stream(begin, line, line.len() * in_many, "\ndata: }\n\n"), Ended::Complete),
        (stream(begin, line, line.len() * (in_many + 1), "\ndata: }\n\n"), Ended::Cut),
    ];
    for (n, (said, ended)) in table.into_iter().enumerate() {
        let counted = if ended == Ended::Cut {
            r#"{"input_tokens":25}"#
        } else {
            r#"{"input_tokens":25,"output_tokens":15}"#
        };
        assert_eq!((usage(&said), &said.ended), (counted, &ended), "{n}");
    }
}

#[test]
fn of_an_answer_in_one_piece_of_any_size_a_mebibyte_is_held_at_most_and_its_members_up_to_their_bound() {
    let _turn = turn();
    let (begin, end) = (r#"{"id":"msg_1","content":[{"text":""#, r#""}],"usage":{"input_tokens":25}}"#);
    let (said, bytes) = held(|| whole(begin, "word ", GIGANTIC, end));
    assert!(bytes <= ANSWER_HOLDS_MAX, "{bytes} bytes were held");
    assert_eq!((usage(&said), &said.ended), (r#"{"input_tokens":25}"#, &Ended::Complete));
    for (what, begin, unit, end) in [
        ("a member without end", r#"{"id":""#, "word ", ""),
        ("a million members", r#"{"id":"msg_1""#, ",\"usage\":1", "}"),
        ("a million levels", r#"{"id":"msg_1","content":"#, "[", ""),
    ] {
        let bytes = held(|| whole(begin, unit, 8 * MIB, end)).1;
        assert!(bytes <= ANSWER_HOLDS_MAX, "{what}: {bytes} bytes were held");
    }
    let begin = r#"{"usage":{"input_tokens":25"#;
    let room = MEMBER_MAX - begin.len() + "{\"usage\":".len() - "}".len();
    let (at, beyond) = (whole(begin, " ", room, "}}"), whole(begin, " ", room + 1, "}}"));
    assert_eq!((usage(&at).len(), usage(&beyond).len()), (MEMBER_MAX, 0));
}

#[test]
fn a_usage_of_any_depth_is_billed() {
    let _turn = turn();
    // An event may have 128 levels, of which it and its attributes are two.
    for (levels, is_kept) in [(10, true), (126, true), (127, false), (1_000, false), (30_000, false)] {
        let new = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let message = format!(
            r#"{{"id":"msg_1","model":"m","usage":{{"input_tokens":25,"server_tool_use":{{"new":{new},"web_search_requests":5}}}}}}"#
        );
        let start = format!("data: {{\"type\":\"message_start\",\"message\":{message}}}\n\n");
        for said in [stream(&start, " ", 0, ""), whole(&message, " ", 0, "")] {
            assert_eq!(said.ended, Ended::Complete, "{levels}");
            let call = Call { response: said, ..Call::default() };
            let minted = Minted { now_ms: 1_795_419_848_263, random: [7; 16] };
            let events = freeze(call.to_line().as_bytes(), &Identity::Body, &minted).expect("is billed");
            let body = String::from_utf8_lossy(&events[0].body);
            assert_eq!((events[0].tokens.input, body.contains(&new)), (25, is_kept), "{levels}: {body}");
            assert!(body.contains(r#""web_search_requests":5"#), "{levels}: {body}");
        }
    }
}
