//! The stand-in over real HTTP on loopback.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use serde_json::Value;

use super::faults::{Act, Extra};
use super::*;

const COMPLETIONS: &str = "/meter/v2/ai/completions";

/// A sandbox and a client for it.
struct Bench {
    sandbox: Sandbox,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body["errors"][0]["code"].as_str().map(str::to_owned)
    }
}

async fn bench(options: Options) -> Bench {
    let sandbox = Sandbox::start(options).await.expect("a sandbox");
    let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client");
    Bench { sandbox, http }
}

/// No limits, a clock that stands still.
fn plain() -> Options {
    Options {
        requests_per_second: 0,
        error_pattern: None,
        clock: Clock::manual(1_795_420_000_000),
        ..Options::default()
    }
}

fn faulty(steps: Vec<Step>) -> Options {
    Options { faults: Script::steps(steps), ..plain() }
}

fn completion(transaction: &str) -> String {
    format!(
        r#"{{"transactionId":"{transaction}","model":"m","provider":"ANTHROPIC","inputTokenCount":25,"outputTokenCount":15,"totalTokenCount":40,"requestTime":"2026-11-23T07:44:07Z","completionStartTime":"2026-11-23T07:44:08Z","responseTime":"2026-11-23T07:44:08Z","requestDuration":1143,"stopReason":"END"}}"#
    )
}

impl Bench {
    fn request(
        &self,
        path: &str,
        key: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.sandbox.url())).body(body);
        let request = request.header("x-api-key", SANDBOX_KEY).header("content-type", "application/json");
        match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, body: response.text().await? })
    }

    async fn post(&self, key: &str, body: &str) -> Result<Reply, reqwest::Error> {
        self.send(self.request(COMPLETIONS, Some(key), body.to_owned())).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(self.http.get(format!("{}{path}", self.sandbox.url()))).await.expect("an answer")
    }

    fn counts(&self) -> Counts {
        self.sandbox.ledger().counts
    }

    /// Returns once `is_so`; the other tasks run meanwhile.
    async fn until(&self, is_so: impl Fn(&Counts) -> bool) {
        while !is_so(&self.counts()) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_record_is_billed_once_however_often_it_is_sent() {
    let bench = bench(plain()).await;
    let first = bench.post("key-1", &completion("tx-1")).await.expect("an answer");
    assert_eq!((first.status, first.header("content-type")), (201, Some("application/json")));
    assert!(first.body.contains(r#""resourceType":"metering""#), "{}", first.body);
    for _ in 0..3 {
        let again = bench.post("key-1", &completion("tx-1")).await.expect("an answer");
        assert_eq!((again.status, &again.body), (201, &first.body), "the same answer, byte for byte");
    }
    let ledger = bench.sandbox.ledger();
    assert_eq!((ledger.counts.attempts, ledger.counts.billed, ledger.counts.replayed), (4, 1, 3));
    let key = KeySeen { account: "sandbox".to_owned(), key: "key-1".to_owned(), attempts: 4, bodies: 1 };
    assert_eq!(ledger.keys, [key]);
    assert_eq!(ledger.billed_by_kind, BTreeMap::from([("completion".to_owned(), 1)]));
    assert_eq!(ledger.statuses, BTreeMap::from([(201, 4)]));
    bench.sandbox.shutdown().await;
}

#[tokio::test]
async fn other_bytes_under_a_key_are_a_mismatch_and_are_listed() {
    let bench = bench(plain()).await;
    bench.post("key-1", &completion("tx-1")).await.expect("an answer");
    let other = bench.post("key-1", &completion("tx-2")).await.expect("an answer");
    assert_eq!((other.status, other.code().as_deref()), (409, Some("idempotency_key_mismatch")));
    assert_eq!(other.header("retry-after"), None);
    let ledger = bench.sandbox.ledger();
    assert_eq!((ledger.counts.billed, ledger.counts.mismatched), (1, 1));
    assert_eq!(ledger.keys_reused.len(), 1);
}

#[tokio::test]
async fn a_malformed_key_is_refused() {
    let bench = bench(plain()).await;
    for key in ["a b".to_owned(), "k".repeat(256), String::new()] {
        let reply = bench.post(&key, &completion("tx-1")).await.expect("an answer");
        assert_eq!(
            (reply.status, reply.code().as_deref()),
            (400, Some("invalid_idempotency_key")),
            "{key:?}"
        );
    }
    assert_eq!((bench.counts().billed, bench.counts().refused), (0, 3));
}

#[tokio::test]
async fn a_transaction_id_is_acknowledged_and_dropped_the_second_time() {
    let bench = bench(plain()).await;
    for key in ["key-1", "key-2"] {
        assert_eq!(bench.post(key, &completion("tx-1")).await.expect("an answer").status, 201);
    }
    let ledger = bench.sandbox.ledger();
    assert_eq!((ledger.counts.billed, ledger.counts.repeated), (1, 1));
    assert_eq!((ledger.transactions[0].keys, ledger.transactions[0].bodies), (2, 1));
}

#[tokio::test]
async fn after_a_day_only_the_transaction_id_protects() {
    for (window, billed) in [(Window::Unlimited, 1), (Window::Off, 2)] {
        let bench = bench(Options { transaction_window: window, ..plain() }).await;
        bench.post("key-1", &completion("tx-1")).await.expect("an answer");
        let day = format!("{{\"advance_ms\":{}}}", 24 * 3_600 * 1_000);
        let moved = bench.send(bench.request("/sandbox/clock", None, day)).await.expect("an answer");
        assert_eq!(moved.status, 200);
        assert_eq!(bench.post("key-1", &completion("tx-1")).await.expect("an answer").status, 201);
        let ledger = bench.sandbox.ledger();
        assert_eq!((ledger.counts.billed, ledger.counts.replayed), (billed, 0), "{window:?}");
        assert_eq!(ledger.billed_twice.len(), usize::from(billed == 2));
    }
}

#[tokio::test]
async fn an_anonymous_record_is_billed_as_often_as_it_is_sent() {
    let bench = bench(plain()).await;
    let body = completion("tx").replace(r#""transactionId":"tx","#, "");
    for _ in 0..3 {
        let request = bench.request(COMPLETIONS, None, body.clone());
        assert_eq!(bench.send(request).await.expect("an answer").status, 201);
    }
    let counts = bench.counts();
    assert_eq!((counts.billed, counts.without_key, counts.without_transaction_id), (3, 3, 3));
}

#[tokio::test]
async fn keys_open_their_account_and_nothing_else() {
    let bench = bench(plain()).await;
    let url = format!("{}{COMPLETIONS}", bench.sandbox.url());
    let request = |key: Option<&str>| {
        let request = bench.http.post(&url).header("content-type", "application/json").body(completion("tx"));
        key.map_or_else(|| bench.http.post(&url).body("{}"), |key| request.header("x-api-key", key))
    };
    let table = [(None, 401), (Some("hak_other"), 401), (Some("rev_rk_read"), 403), (Some(SANDBOX_KEY), 201)];
    for (key, status) in table {
        assert_eq!(bench.send(request(key)).await.expect("an answer").status, status, "{key:?}");
    }
    let bearer = request(None).header("authorization", "Bearer hak_sandbox");
    assert_eq!(bench.send(bearer).await.expect("an answer").status, 403);
    assert_eq!((bench.counts().unauthorized, bench.counts().billed), (4, 1));

    let replace = bench.request("/sandbox/keys", None, r#"{"hak_other":"other"}"#);
    assert_eq!(bench.send(replace).await.expect("an answer").status, 200);
    assert_eq!(bench.send(request(Some(SANDBOX_KEY))).await.expect("an answer").status, 401);
    assert_eq!(bench.send(request(Some("hak_other"))).await.expect("an answer").status, 201);
    let accounts: Vec<_> = bench.sandbox.ledger().transactions.into_iter().map(|seen| seen.account).collect();
    assert_eq!(accounts.len(), 2, "the same transactionId of two accounts is two records: {accounts:?}");
}

#[tokio::test]
async fn what_is_no_metering_request_is_turned_away() {
    let bench = bench(Options { body_bytes_max: 2_000, ..plain() }).await;
    let table = [
        (bench.request("/meter/v2/ai/completions/batch", None, "{}"), 404),
        (bench.request("/", None, "{}"), 404),
        (bench.request("/sandbox/nothing", None, "{}"), 404),
        (bench.http.get(format!("{}{COMPLETIONS}", bench.sandbox.url())), 405),
        (bench.request(COMPLETIONS, None, "x".repeat(2_000)), 400),
        (bench.request(COMPLETIONS, None, "x".repeat(2_001)), 413),
        (bench.request(COMPLETIONS, None, ""), 400),
        (bench.request(COMPLETIONS, None, format!("[{}]", completion("tx"))), 400),
        (bench.request(COMPLETIONS, None, completion("tx").replace("25", "NaN")), 400),
    ];
    for (request, status) in table {
        let reply = bench.send(request).await.expect("an answer");
        assert_eq!(reply.status, status, "{reply:?}");
    }
    let url = format!("{}{COMPLETIONS}", bench.sandbox.url());
    let no_type = bench.http.post(url).header("x-api-key", SANDBOX_KEY).body(completion("tx"));
    assert_eq!(bench.send(no_type).await.expect("an answer").status, 415);
    let not_json = bench.send(bench.request(COMPLETIONS, None, "{")).await.expect("an answer");
    assert!(not_json.body.contains("Invalid JSON format"), "{}", not_json.body);
    assert_eq!(bench.counts().billed, 0);
}

#[tokio::test]
async fn a_refusal_sticks_to_its_key_and_names_the_field() {
    let bench = bench(plain()).await;
    let bad = completion("tx-1").replace("\"END\"", "\"end_turn\"");
    for _ in 0..2 {
        let reply = bench.post("key-1", &bad).await.expect("an answer");
        let body: Value = serde_json::from_str(&reply.body).expect("JSON");
        assert_eq!((reply.status, &body["errors"][0]["field"]), (400, &"stopReason".into()));
        assert!(body["details"]["stopReason"].as_str().is_some_and(|text| text.contains("END_SEQUENCE")));
    }
    let counts = bench.counts();
    assert_eq!((counts.refused, counts.replayed, counts.billed), (1, 1, 0));
}

#[tokio::test]
async fn a_text_too_long_is_answered_201_and_never_stored() {
    let bench = bench(plain()).await;
    let long = completion("tx-1").replace("{", &format!("{{\"productName\":\"{}\",", "p".repeat(225)));
    assert_eq!(bench.post("key-1", &long).await.expect("an answer").status, 201);
    assert_eq!((bench.counts().vanished, bench.counts().billed), (1, 0));
    assert_eq!(bench.sandbox.ledger().transactions[0].vanished, 1);
}

#[tokio::test]
async fn an_account_has_its_requests_per_second() {
    let bench = bench(Options { requests_per_second: 2, ..plain() }).await;
    let mut replies = Vec::new();
    for n in 0..3 {
        replies
            .push(bench.post(&format!("key-{n}"), &completion(&format!("tx-{n}"))).await.expect("an answer"));
    }
    let told: Vec<_> = replies.iter().map(|r| (r.status, r.header("x-ratelimit-remaining"))).collect();
    assert_eq!(told, [(201, Some("1")), (201, Some("0")), (429, Some("0"))]);
    let limited = &replies[2];
    assert_eq!(limited.header("x-ratelimit-limit"), Some("2"));
    assert_eq!(limited.header("x-ratelimit-reset"), Some("1795420001"));
    assert_eq!(limited.header("x-ratelimit-bucket"), Some("metering"));
    assert_eq!(limited.header("x-ratelimit-limited-reason"), Some("bucket-rate"));
    assert_eq!(limited.header("retry-after"), Some("1"));
    let ledger = bench.sandbox.ledger();
    assert_eq!(ledger.per_second_peaks, BTreeMap::from([("sandbox".to_owned(), 3)]));
    assert_eq!((ledger.counts.billed, ledger.counts.rate_limited), (2, 1));
}

#[tokio::test]
async fn broken_requests_block_the_account() {
    let pattern = ErrorPattern { errors: 2, ..ErrorPattern::default() };
    let bench = bench(Options { error_pattern: Some(pattern), ..plain() }).await;
    for n in 0..2 {
        assert_eq!(bench.post(&format!("key-{n}"), "{}").await.expect("an answer").status, 400);
    }
    let blocked = bench.post("key-3", &completion("tx")).await.expect("an answer");
    assert_eq!((blocked.status, blocked.header("retry-after")), (429, Some("30")));
    assert_eq!(blocked.header("x-ratelimit-limited-reason"), Some("error-pattern"));
    assert_eq!(bench.counts().pattern_limited, 1);
}

#[tokio::test]
async fn every_injected_answer_is_what_it_says_and_stores_nothing() {
    let bench = bench(plain()).await;
    for kind in &KINDS {
        let Act::Answer(status, extra) = kind.act else { continue };
        let fault = Fault { kind: kind.name.to_owned(), retry_after_s: Some(2), ms: None };
        let step = Step { fault, times: Some(1), ..Step::default() };
        bench.sandbox.set_faults(Script::steps(vec![step])).expect("a script");
        let reply = bench.post("key-1", &completion("tx-1")).await.expect("an answer");
        assert_eq!(reply.status, status, "{}", kind.name);
        let retry_after = match extra {
            Extra::RetryAfter | Extra::Limited(_) | Extra::CodeRetryAfter(_) => Some("2"),
            _ => None,
        };
        assert_eq!(reply.header("retry-after"), retry_after, "{}", kind.name);
        let is_html = reply.header("content-type").is_some_and(|text| text.starts_with("text/html"));
        assert_eq!(is_html, extra == Extra::Html, "{}", kind.name);
        match extra {
            Extra::Code(code) | Extra::CodeRetryAfter(code) => {
                assert_eq!(reply.code().as_deref(), Some(code))
            }
            Extra::Limited(why) => assert_eq!(reply.header("x-ratelimit-limited-reason"), Some(why)),
            Extra::ShouldRetry(is_so) => {
                assert_eq!(reply.header("x-should-retry"), Some(is_so.to_string().as_str()));
            }
            Extra::Elsewhere => {
                assert!(reply.header("location").is_some_and(|url| url.contains("//localhost:")))
            }
            _ => {}
        }
    }
    let ledger = bench.sandbox.ledger();
    assert_eq!((ledger.counts.billed, ledger.counts.followed_redirects), (0, 0));
    assert_eq!(ledger.counts.attempts, ledger.injected.values().sum::<u64>());
    assert!(ledger.injected.values().all(|count| *count == 1), "{:?}", ledger.injected);
    assert_eq!(bench.post("key-1", &completion("tx-1")).await.expect("an answer").status, 201);
}

#[tokio::test]
async fn a_followed_redirect_is_found_out() {
    let bench = bench(faulty(vec![Step::times(1, "307")])).await;
    let following = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = following.post(format!("{}{COMPLETIONS}", bench.sandbox.url())).body("{}");
    assert_eq!(request.send().await.expect("an answer").status(), 201);
    assert_eq!((bench.counts().followed_redirects, bench.counts().billed), (1, 0));
}

/// The case that bills twice: it was done, and nobody heard.
#[tokio::test]
async fn a_lost_answer_was_stored_and_its_retry_is_replayed() {
    for kind in ["reset-stored", "cut-head", "cut-body"] {
        let bench = bench(faulty(vec![Step::times(1, kind)])).await;
        let lost = bench.post("key-1", &completion("tx-1")).await;
        assert!(lost.is_err(), "{kind}: {lost:?}");
        assert_eq!(bench.counts().billed, 1, "{kind}: stored before the answer was lost");
        let again = bench.post("key-1", &completion("tx-1")).await.expect("an answer");
        assert_eq!(again.status, 201, "{kind}");
        let ledger = bench.sandbox.ledger();
        assert_eq!((ledger.counts.billed, ledger.counts.replayed), (1, 1), "{kind}");
        assert_eq!(ledger.injected, BTreeMap::from([(kind.to_owned(), 1)]));
    }
}

#[tokio::test]
async fn the_head_of_an_answer_cut_in_its_body_was_heard() {
    let bench = bench(faulty(vec![Step::times(1, "cut-body")])).await;
    let response = bench.request(COMPLETIONS, Some("k"), completion("tx")).send().await.expect("a head");
    assert_eq!(response.status(), 201);
    assert!(response.bytes().await.is_err());
}

#[tokio::test]
async fn a_reset_before_the_body_was_read_stores_nothing() {
    let bench = bench(faulty(vec![Step::times(2, "reset-unread")])).await;
    for body in [completion("tx-1"), "x".repeat(1 << 20)] {
        assert!(bench.post("key-1", &body).await.is_err());
    }
    assert_eq!((bench.counts().attempts, bench.counts().billed), (0, 0), "never read to its end");
    assert_eq!(bench.post("key-1", &completion("tx-1")).await.expect("an answer").status, 201);
    assert_eq!(bench.counts().billed, 1);
}

#[tokio::test]
async fn silence_ends_in_a_reset() {
    let silent = |kind: &str| {
        let fault = Fault { kind: kind.to_owned(), retry_after_s: None, ms: Some(0) };
        Step { fault, times: Some(1), ..Step::default() }
    };
    let bench = bench(faulty(vec![silent("silence"), silent("silence-stored")])).await;
    assert!(bench.post("key-1", &completion("tx-1")).await.is_err());
    assert_eq!(bench.counts().billed, 0);
    assert!(bench.post("key-1", &completion("tx-1")).await.is_err());
    assert_eq!(bench.counts().billed, 1);
}

#[tokio::test]
async fn a_stored_record_may_be_answered_with_another_status() {
    let kinds = [("200", 200), ("202", 202), ("500-stored", 500), ("502-stored", 502), ("504-stored", 504)];
    let bench = bench(faulty(kinds.iter().map(|(kind, _)| Step::times(1, kind)).collect())).await;
    for (n, (kind, status)) in (1_u64..).zip(kinds) {
        let reply = bench.post(kind, &completion(kind)).await.expect("an answer");
        assert_eq!((reply.status, bench.counts().billed), (status, n), "{kind}");
    }
    let again = bench.post("500-stored", &completion("500-stored")).await.expect("an answer");
    assert_eq!((again.status, bench.counts().billed), (201, 5), "its key has the answer that was lost");
}

#[tokio::test]
async fn a_trickled_answer_comes_whole_and_a_broken_one_does_not_parse() {
    let mut slow = Step::times(1, "trickle");
    slow.fault.ms = Some(1);
    let bench = bench(faulty(vec![slow, Step::times(1, "broken-json")])).await;
    let reply = bench.post("key-1", &completion("tx-1")).await.expect("an answer");
    assert!(serde_json::from_str::<Value>(&reply.body).is_ok(), "{}", reply.body);
    let reply = bench.post("key-2", &completion("tx-2")).await.expect("an answer");
    assert_eq!(reply.status, 201);
    assert!(serde_json::from_str::<Value>(&reply.body).is_err(), "{}", reply.body);
    assert_eq!(bench.counts().billed, 2);
}

#[tokio::test]
async fn a_key_is_in_progress_until_its_record_is_stored() {
    let mut late = Step::times(1, "store-late");
    late.fault.ms = Some(3_600_000);
    let bench = bench(faulty(vec![late])).await;
    let first = bench.request(COMPLETIONS, Some("key-1"), completion("tx-1"));
    let first = tokio::spawn(first.send());
    bench.until(|counts| counts.attempts == 1).await;
    let beside = bench.post("key-1", &completion("tx-1")).await.expect("an answer");
    assert_eq!((beside.status, beside.code().as_deref()), (409, Some("idempotency_key_in_progress")));
    assert_eq!(beside.header("retry-after"), Some("1"));
    assert_eq!((bench.counts().billed, bench.counts().in_progress), (0, 1));
    bench.sandbox.shutdown().await;
    assert!(first.await.expect("a task").is_err(), "an upstream that dies answers nobody");
}

#[tokio::test]
async fn a_late_record_is_stored_after_its_sender_left() {
    let mut late = Step::times(1, "store-late");
    late.fault.ms = Some(50);
    let bench = bench(faulty(vec![late])).await;
    let first = tokio::spawn(bench.request(COMPLETIONS, Some("key-1"), completion("tx-1")).send());
    bench.until(|counts| counts.attempts == 1).await;
    first.abort();
    bench.until(|counts| counts.billed == 1).await;
    let again = bench.post("key-1", &completion("tx-1")).await.expect("an answer");
    assert_eq!((again.status, bench.counts().billed, bench.counts().replayed), (201, 1, 1));
}

#[tokio::test]
async fn a_poison_record_is_refused_while_others_pass() {
    let poison = Step { transaction: Some("bad".to_owned()), times: None, ..Step::times(0, "422") };
    let bench = bench(faulty(vec![poison])).await;
    for (transaction, status) in [("good-1", 201), ("bad-1", 422), ("good-2", 201), ("bad-1", 422)] {
        assert_eq!(
            bench.post(transaction, &completion(transaction)).await.expect("an answer").status,
            status
        );
    }
}

#[tokio::test]
async fn the_ledger_and_the_faults_are_there_for_another_process() {
    let bench = bench(plain()).await;
    let script = r#"{"steps":[{"fault":{"kind":"503"},"times":1}]}"#;
    assert_eq!(
        bench.send(bench.request("/sandbox/faults", None, script)).await.expect("an answer").status,
        200
    );
    let bad =
        bench.send(bench.request("/sandbox/faults", None, r#"{"steps":[{"fault":{"kind":"x"}}]}"#)).await;
    let bad = bad.expect("an answer");
    assert!(bad.status == 400 && bad.body.contains("no fault is called `x`"), "{bad:?}");
    assert_eq!(bench.post("key-1", &completion("tx-1")).await.expect("an answer").status, 503);
    assert_eq!(bench.post("key-1", &completion("tx-1")).await.expect("an answer").status, 201);
    let brief: Snapshot = serde_json::from_str(&bench.get("/sandbox/ledger").await.body).expect("a snapshot");
    assert_eq!((brief.counts.billed, brief.injected["503"]), (1, 1));
    assert!(brief.transactions.is_empty() && brief.keys.is_empty());
    let all: Snapshot =
        serde_json::from_str(&bench.get("/sandbox/ledger?all").await.body).expect("a snapshot");
    assert_eq!((all.transactions.len(), all.keys[0].attempts), (1, 2));
}

#[tokio::test]
async fn the_journal_has_every_attempt_and_every_outcome() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = dir.path().join("journal");
    let options = Options {
        journal: Some(journal.clone()),
        journal_has_bodies: true,
        ..faulty(vec![Step::times(1, "503"), Step::times(1, "reset-stored")])
    };
    let bench = bench(options).await;
    let body = completion("tx-1");
    assert_eq!(bench.post("key-1", &body).await.expect("an answer").status, 503);
    assert!(bench.post("key-1", &body).await.is_err());
    assert_eq!(bench.post("key-1", &body).await.expect("an answer").status, 201);
    let entries = read_journal(&journal).expect("a journal");
    let told: Vec<_> = entries.iter().map(|entry| (entry.what, entry.fault.as_deref())).collect();
    let wanted = [
        (What::Attempt, Some("503")),
        (What::Attempt, Some("reset-stored")),
        (What::Billed, None),
        (What::Attempt, None),
    ];
    assert_eq!(told, wanted);
    for entry in &entries {
        assert_eq!(entry.body_hash, entries[0].body_hash);
        assert_eq!((entry.key.as_deref(), entry.transaction.as_deref()), (Some("key-1"), Some("tx-1")));
        assert_eq!((entry.account.as_deref(), entry.body_bytes), (Some("sandbox"), body.len()));
    }
    assert_eq!(entries[2].body.as_deref(), Some(body.as_str()));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_billed() {
    let full = std::path::PathBuf::from("/dev/full");
    let bench = bench(Options { journal: Some(full), ..plain() }).await;
    assert_eq!(bench.post("key-1", &completion("tx-1")).await.expect("an answer").status, 500);
    assert_eq!((bench.counts().journal_errors, bench.counts().billed), (1, 0));
}

#[tokio::test]
async fn a_listener_hears_of_every_event() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let on_received = {
        let heard = Arc::clone(&heard);
        OnReceived::new(move |received| heard.lock().expect("no panic").push(received.clone()))
    };
    let bench = bench(Options { on_received: Some(on_received), ..plain() }).await;
    let good = completion("tx-1");
    for (key, body) in [("k1", good.as_str()), ("k1", &good), ("k2", &good), ("k3", "{}"), ("k1", "{}")] {
        bench.post(key, body).await.expect("an answer");
    }
    let heard = heard.lock().expect("no panic");
    let fates: Vec<_> = heard.iter().map(|received| &received.fate).collect();
    assert_eq!(fates[..3], [&Fate::Billed, &Fate::Replayed, &Fate::Repeated]);
    assert!(matches!(fates[3], Fate::Refused(400, why) if why.contains("model is required")));
    assert!(matches!(fates[4], Fate::Refused(409, _)));
    assert!(heard[0].line().contains("25 in 15 out  tx-1  billed"), "{}", heard[0].line());
}

#[tokio::test]
async fn a_benchmark_s_upstream_only_counts() {
    let bench = bench(Options::bench(Duration::ZERO)).await;
    for _ in 0..3 {
        let reply = bench.post("key-1", "not even JSON").await.expect("an answer");
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (201, None));
    }
    let ledger = bench.sandbox.ledger();
    assert_eq!((ledger.counts.billed, ledger.counts.body_bytes), (3, 39));
    assert!(ledger.keys.is_empty() && ledger.transactions.is_empty());
}

#[tokio::test]
async fn too_many_connections_are_closed_at_once() {
    let bench = bench(Options { connections_max: 1, ..plain() }).await;
    bench.post("key-1", &completion("tx-1")).await.expect("the client's pool keeps the connection");
    let second = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/sandbox/ledger", bench.sandbox.url());
    assert!(second.get(url).send().await.is_err());
    assert_eq!((bench.counts().connections, bench.counts().connections_refused), (1, 1));
}

#[tokio::test]
async fn it_does_not_leave_this_machine() {
    let listen = "0.0.0.0:0".parse().expect("an address");
    let refused = Sandbox::start(Options { listen, ..plain() }).await;
    assert!(matches!(refused, Err(StartError::NotLoopback(_))));
}

#[tokio::test]
async fn after_a_shutdown_nobody_listens() {
    let bench = bench(plain()).await;
    bench.post("key-1", &completion("tx-1")).await.expect("an answer");
    let addr = bench.sandbox.addr();
    bench.sandbox.shutdown().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}
