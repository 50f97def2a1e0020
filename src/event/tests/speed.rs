//! What freezing costs. Run in release, alone:
//! `cargo test --release -p revenium-event --test speed -- --ignored --nocapture`

use std::hint::black_box;
use std::time::Instant;

use revenium_event::{Identity, Minted, Producer, freeze, line};

/// A line of a numbered connection, its event complete: 829 bytes without the number.
const COMPLETE: &str = r#"{"n":123456,"completionStartTime":"2026-11-23T07:44:08.010Z","costType":"AI","inputTokenCount":25,"isStreamed":false,"model":"claude-sonnet-4-20250514","outputTokenCount":15,"provider":"ANTHROPIC","requestDuration":1143,"requestTime":"2026-11-23T07:44:07.120Z","responseTime":"2026-11-23T07:44:08.263Z","stopReason":"END","totalTokenCount":40,"transactionId":"msg_01FAKE0001ABCDEFGHJKMN","agent":"support-agent","cacheCreationTokenCount":0,"cacheReadTokenCount":2048,"middlewareSource":"revenium-agent-rust/0.1.0","modelSource":"ANTHROPIC","operationType":"CHAT","organizationName":"acme-corp","productName":"support-bot","subscriber":{"id":"user-1234","email":"user@example.com","credential":{"name":"engineering-api-key"}},"subscriptionId":"pro-plan-Q1","taskType":"customer-support","timeToFirstToken":890,"traceId":"conv-28a7e9d4-51c2-4f5e-9a0e-7b1","environment":"production","region":"us-east-1"}"#;

const SMALLEST: &str =
    r#"{"n":123456,"model":"claude-sonnet-4-20250514","inputTokenCount":25,"outputTokenCount":15}"#;

const METADATA: &str = r#"{"n":123456,"model":"claude-sonnet-4-20250514","input_token_count":25,"output_token_count":15,"stop_reason":"end_turn","usage_metadata":{"organization_name":"acme-corp","product_name":"support-bot","agent":"support-agent","task_type":"customer-support","trace_id":"conv-28a7e9d4","subscriber_id":"user-1234","subscriber_email":"user@example.com"}}"#;

const OFFICIAL: &str = include_str!("../fixtures/01_create_seed_flat_metadata.json");

#[test]
#[ignore = "prints times; run it in release"]
fn freezing_a_line_takes_this_long() {
    let official = OFFICIAL.replacen('{', "{\"n\":123456,", 1);
    let minted = Minted { now_ms: 1_795_419_848_263, random: [7; 16] };
    let lines =
        [("complete", COMPLETE), ("smallest", SMALLEST), ("metadata", METADATA), ("official", &official)];
    for (name, line) in lines {
        for identity in ["numbered", "body"] {
            let mut best_ns = u128::MAX;
            for _ in 0..20 {
                const EVENTS: u64 = 20_000;
                let began = Instant::now();
                for n in 0..EVENTS {
                    let Ok(line::Line::Event { event, .. }) = line::parse(black_box(line.as_bytes())) else {
                        panic!()
                    };
                    let numbered = Identity::Numbered { producer: Producer::from_bytes([1; 16]), n };
                    let identity = if identity == "body" { Identity::Body } else { numbered };
                    black_box(freeze(&event, &identity, &minted).expect("the event is good"));
                }
                best_ns = best_ns.min(began.elapsed().as_nanos() / u128::from(EVENTS));
            }
            println!("{name} ({} bytes), {identity}: {best_ns} ns/event", line.len());
        }
    }
}
