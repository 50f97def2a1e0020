//! What becomes of a record when nothing goes wrong.

use std::collections::BTreeMap;

use super::*;

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
        key.map_or_else(
            || bench.http.post(&url).body("{}"),
            |key| request.header("x-api-key", key).header("idempotency-key", "key-1"),
        )
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
    let counts = bench.counts();
    assert_eq!(
        (counts.billed, counts.repeated, counts.replayed),
        (2, 0, 0),
        "the same key and transactionId of two accounts are two records"
    );
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
