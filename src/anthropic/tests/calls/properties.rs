//! What holds for every input, not only for the ones we thought of.

use proptest::prelude::*;
use revenium_anthropic::{By, Call, Ended, Response, batch, freeze};
use revenium_event::{Identity, Minted};

use crate::support::*;

/// Pieces that streams are made of, whole and broken.
const PIECES: [&str; 16] = [
    "event: ",
    "data: ",
    "message_start",
    "message_delta",
    "message_stop",
    "content_block_delta",
    "error",
    "\n",
    "\r",
    "\r\n\r\n",
    ":",
    r#"{"type":"message_start","message":{"id":"m","model":"x","usage":{"input_tokens":5}}}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9,"iterations":[{}]}}"#,
    r#"{"type":"message_stop"}"#,
    r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
    "\u{feff}null",
];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Raw values of every type, many of them near a limit.
fn raw_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        "\"[ -!#-\\[\\]-~äß😀]{0,20}\"",
        "\"(\\\\u0[0-9a-f]{3}|\\\\n|a){0,20}\"",
        prop::sample::select(
            &[
                "\"complete\"",
                "\"cut\"",
                "\"error\"",
                "\"/v1/messages\"",
                "\"messages.count_tokens\"",
                "[1]",
                "{}"
            ][..]
        )
        .prop_map(str::to_owned),
        Just(r#"{"type":5,"status":429,"input_tokens":5,"model":[],"attributes":{"a":1}}"#.to_owned()),
        Just(r#"[{"type":"compaction","input_tokens":5},{"type":"compaction"},7,null]"#.to_owned()),
    ]
}

const NAMES: &str = "provider endpoint route id request_id model request usage stop_reason started_at_ms duration_ms \
    time_to_first_token_ms is_streamed ended error retry_number middleware usage_metadata prompts batch_id custom_id later";

const AMOUNTS: &str = "input_tokens output_tokens cache_read_input_tokens cache_creation_input_tokens cache_creation \
    output_tokens_details server_tool_use service_tier speed iterations inference_geo later";

fn members_of(names: &'static str) -> impl Strategy<Value = String> {
    let names: Vec<&str> = names.split_whitespace().collect();
    let member =
        (prop::sample::select(names), raw_value()).prop_map(|(name, raw)| format!("\"{name}\":{raw}"));
    prop::collection::vec(member, 0..10).prop_map(|members| members.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_anything_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), status: u16, now_ms: u64) {
        let minted = Minted { now_ms, random: [0; 16] };
        let _ = freeze(&bytes, &Identity::Body, &minted);
        let _ = batch::read(&bytes);
        for response in [Response::read(status, &bytes), streamed([&bytes[..]], By::Client)] {
            let _ = freeze(Call { response, ..Call::default() }.to_line().as_bytes(), &Identity::Body, &minted);
        }
    }

    #[test]
    fn nearly_json_makes_nothing_panic(text in "[{}\\[\\]\",:\\\\un0-9eE.+-]{0,60}") {
        let _ = freeze(text.as_bytes(), &NUMBERED, &MINTED);
        let _ = freeze(format!("{{\"call\":{{\"usage\":{text}").as_bytes(), &NUMBERED, &MINTED);
        let _ = batch::read(text.as_bytes());
    }

    #[test]
    fn a_call_of_any_members_is_refused_by_name_or_is_billed(call in members_of(NAMES), usage in members_of(AMOUNTS), now_ms: u64) {
        let line = format!(r#"{{"call":{{"model":"claude","usage":{{{usage}}}{}{call}}}}}"#, if call.is_empty() { "" } else { "," });
        match freeze(line.as_bytes(), &NUMBERED, &Minted { now_ms, random: [0; 16] }) {
            Ok(events) => for event in &events {
                let event = json(event);
                let [input, output, total] = ["inputTokenCount", "outputTokenCount", "totalTokenCount"].map(|name| event[name].as_u64());
                prop_assert_eq!(total, Some(input.unwrap() + output.unwrap()));
            },
            Err(refusal) => prop_assert!(refusal.field.is_some() && !refusal.message.is_empty(), "{}: {}", refusal, line),
        }
    }

    #[test]
    fn pieces_of_streams_say_the_same_in_any_split(bytes in pieces(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10)) {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let split = streamed(places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]), By::Server);
        prop_assert_eq!(said(&split), said(&streamed([&bytes[..]], By::Server)));
    }

    #[test]
    fn a_stream_without_its_stop_is_never_whole(bytes in pieces()) {
        let text = String::from_utf8_lossy(&bytes).replace("message_stop", "message_sto");
        prop_assert!(streamed([text.as_bytes()], By::Server).ended != Ended::Complete);
    }

    #[test]
    fn counts_keep_every_digit(input in 0..=i64::MAX as u64 / 2, output in 0..=i64::MAX as u64 / 2, read in 0..=i64::MAX as u64) {
        let event = frozen(&used(&format!(r#"{{"input_tokens":{input},"output_tokens":{output},"cache_read_input_tokens":{read}}}"#))).swap_remove(0);
        let body = String::from_utf8(event.body).expect("is text");
        for expected in [format!(r#""inputTokenCount":{input},"#), format!(r#""outputTokenCount":{output},"#), format!(r#""totalTokenCount":{},"#, input + output), format!(r#""cacheReadTokenCount":{read},"#)] {
            prop_assert!(body.contains(&expected), "{}", body);
        }
    }
}
