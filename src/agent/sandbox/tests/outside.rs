//! What others see of the stand-in: oracles, terminals, benchmarks, the machine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;

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

#[tokio::test(start_paused = true)]
async fn every_answer_takes_its_latency_and_the_record_does_not() {
    let hour = Duration::from_secs(3_600);
    for options in [Options::bench(hour), Options { latency: hour, ..plain() }] {
        let bench = bench(options).await;
        let started = tokio::time::Instant::now();
        let waiting = tokio::spawn(bench.request(COMPLETIONS, Some("k"), completion("tx")).send());
        while bench.counts().billed == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        assert_eq!(waiting.await.expect("a task").expect("an answer").status(), 201);
        assert!(started.elapsed() >= hour);
    }
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
