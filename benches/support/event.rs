//! Events as Revenium's Python SDK sends them, 829 bytes each, from a fixed seed.
//!
//! Of 44 members about half have a value and half of those vary, so that they compress as real
//! ones do: many alike, none the same.

use std::fmt::Write;

/// Bytes of every event.
pub(crate) const EVENT_BYTES: usize = 829;

/// A small generator (xorshift64*): the same events every time, on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator that starts at `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// One of these.
    pub(crate) fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        let index = self.below(all.len() as u64);
        all[usize::try_from(index).expect("a slice is that long")]
    }
}

/// `count` events, each with a `transactionId` of its own.
pub(crate) fn events(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    (0..count).map(|_| event(&mut random)).collect()
}

fn event(r: &mut Random) -> Vec<u8> {
    let model = r.of(&["claude-3-haiku-20240307", "claude-sonnet-4-20250514", "claude-opus-4-1-20250805"]);
    let (input, output) = (r.below(20_000), r.below(4_000));
    let (second, took) = (r.below(50), r.below(9_000));
    let first = took.min(r.below(2_000));
    let time = |s: u64| format!("2026-11-23T07:{:02}:{:02}Z", r_minute(input), s);
    let agent = r.of(&["support-agent", "planner", "code-review", "summariser", "triage"]);
    let organisation = r.of(&["acme-corp", "globex", "initech", "umbrella", "hooli", "stark-industries"]);
    let product = r.of(&["support-bot", "ide", "search", "reports"]);
    let task = r.of(&["customer-support", "classification", "extraction", "chat"]);
    let (user, trace, message) = (r.below(5_000), r.bits() >> 32, r.bits());
    let (begun, ended) = (time(second), time(second + took / 1_000));
    let mut body = format!(
        r#"{{"completionStartTime":"{begun}","costType":"AI","inputTokenCount":{input},"isStreamed":{},"model":"{model}","outputTokenCount":{output},"provider":"ANTHROPIC","requestDuration":{took},"requestTime":"{begun}","responseTime":"{ended}","stopReason":"END","totalTokenCount":{},"transactionId":"msg_01{message:016x}","agent":"{agent}","cacheReadTokenCount":{},"inputTokenCost":null,"middlewareSource":"PYTHON","modelSource":"ANTHROPIC","operationType":"CHAT","organizationName":"{organisation}","productName":"{product}","subscriber":{{"id":"user-{user}","email":"u{user}@example.com"}},"taskType":"{task}","timeToFirstToken":{first},"totalCost":null,"traceId":"conv-{trace:08x}","environment":null,"region":null,"retryNumber":0,"#,
        r.below(2) == 0,
        input + output,
        r.below(2) * r.below(10_000),
    );
    // A name that a person gave, as long as is needed for the size.
    body.push_str(r#""traceName":""#);
    while body.len() + 2 < EVENT_BYTES {
        let _ =
            write!(body, "{} ", r.of(&["nightly", "import", "of", "tickets", "retry", "batch", "eu", "us"]));
    }
    body.truncate(EVENT_BYTES - 2);
    body.push_str("\"}");
    assert_eq!(body.len(), EVENT_BYTES);
    body.into_bytes()
}

fn r_minute(of: u64) -> u64 {
    of % 60
}
