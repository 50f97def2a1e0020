//! Every fault as a sender meets it.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::sandbox::faults::{Act, Extra};

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
async fn a_reset_is_a_reset_and_not_an_orderly_end() {
    for kind in ["reset-unread", "reset-stored"] {
        let bench = bench(faulty(vec![Step::times(1, kind)])).await;
        let mut stream = tokio::net::TcpStream::connect(bench.sandbox.addr()).await.expect("a connection");
        let body = completion("tx-1");
        let head = format!(
            "POST {COMPLETIONS} HTTP/1.1\r\nhost: x\r\nx-api-key: {SANDBOX_KEY}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("a request");
        let ended = stream.read(&mut [0; 1]).await;
        let kind_of_end = ended.expect_err("no answer").kind();
        assert_eq!(kind_of_end, std::io::ErrorKind::ConnectionReset, "{kind}");
    }
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

#[tokio::test(start_paused = true)]
async fn a_trickle_ends_with_its_answer() {
    let mut slow = Step::times(1, "trickle");
    slow.fault.ms = Some(60_000);
    let bench = bench(faulty(vec![slow])).await;
    let started = tokio::time::Instant::now();
    bench.post("key-1", &completion("tx-1")).await.expect("an answer");
    let slow_ended = tokio::time::Instant::now();
    assert!(slow_ended - started > std::time::Duration::from_secs(3_600), "hundreds of bytes");
    bench.post("key-2", &completion("tx-2")).await.expect("an answer");
    assert!(slow_ended.elapsed() < std::time::Duration::from_secs(60));
    assert_eq!(bench.counts().connections, 1, "the same connection");
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

/// What a crash test relies on: whoever keeps trying with the same bytes and keys gets through,
/// and is billed once, whatever a storm does.
#[tokio::test]
async fn a_patient_sender_is_billed_once_through_a_storm() {
    let mut script = Script::storm(1);
    if let Some(chance) = &mut script.chance {
        (chance.per_mille, chance.delay_ms_max, chance.silence_ms) = (700, 1, 1);
        // Harmless, and seconds long.
        chance.weights.remove("trickle");
    }
    let bench = bench(Options { faults: script, ..plain() }).await;
    for n in 0..200 {
        let (key, body) = (format!("key-{n}"), completion(&format!("tx-{n}")));
        let is_taken = |reply: &Result<Reply, reqwest::Error>| {
            let is_json = |reply: &Reply| serde_json::from_str::<serde_json::Value>(&reply.body).is_ok();
            reply.as_ref().is_ok_and(|reply| (200..300).contains(&reply.status) && is_json(reply))
        };
        while !is_taken(&bench.post(&key, &body).await) {}
    }
    let ledger = bench.sandbox.ledger();
    assert_eq!(ledger.counts.billed, 200, "{:?}", ledger.injected);
    assert!(ledger.transactions.iter().all(|seen| (seen.billed, seen.keys, seen.bodies) == (1, 1, 1)));
    assert_eq!((ledger.keys_reused.len(), ledger.billed_twice.len()), (0, 0));
    assert!(ledger.counts.replayed > 0 && ledger.injected.len() > 20, "{:?}", ledger.injected);
}
