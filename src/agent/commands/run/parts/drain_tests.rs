//! Records of an unknown key, from before the claim to after it, with a real log and a stand-in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::admin::{Board, Facts};
use crate::config::{Config, Flags, Surroundings};
use crate::desk::{ClaimRequest, Claims, Desk};
use crate::guarantee::Guarantee;
use crate::metrics::Metrics;
use crate::queue::{Lane, NewRecord};
use crate::sandbox::{Detail, Options as SandboxOptions, SANDBOX_KEY, Sandbox};
use crate::secret::Secret;
use crate::tasks::Deadlines;

const LONG: Duration = Duration::from_secs(60);
/// Nor can there be one, so receipts go nowhere.
const NO_FOLDER: &str = "/dev/null/home";

fn shell(url: &str) -> Shell {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("config.toml");
    let toml = format!("drain.requests_per_second_max = 1000\nprofiles.default.url = \"{url}\"\n");
    std::fs::write(&path, toml).expect("written");
    let flags = Flags { config: Some(path), ..Flags::default() };
    let config = Config::load(&flags, &Surroundings::new(1000, [("HOME", NO_FOLDER)])).expect("is right");
    let facts = Facts {
        version: "1",
        instance: "i".to_owned(),
        guarantee: Guarantee { flushed: true, text: String::new() },
        data_dir: NO_FOLDER.into(),
        free_reserve_bytes: 0,
        profiles: Vec::new(),
    };
    let (_, key) = watch::channel(Some(Secret::new(SANDBOX_KEY)));
    Shell {
        config: Arc::new(config),
        metrics: Metrics::new(&["default".to_owned()], &["a".to_owned()], "1"),
        board: Arc::new(Board::new(facts, &[])),
        keys: Arc::new(HashMap::from([("default".to_owned(), key)])),
        instance: "i".into(),
        admin: None,
    }
}

fn record(profile: &str, n: usize) -> NewRecord {
    let body = format!(
        r#"{{"transactionId":"{profile}-{n}","model":"m","provider":"ANTHROPIC","costType":"AI","isStreamed":false,"inputTokenCount":25,"outputTokenCount":15,"totalTokenCount":40,"requestTime":"2026-11-23T07:44:07Z","completionStartTime":"2026-11-23T07:44:08Z","responseTime":"2026-11-23T07:44:08Z","requestDuration":1143,"stopReason":"END"}}"#
    );
    NewRecord {
        lane: Lane { profile: profile.into(), route: 0 },
        key: uuid::Uuid::new_v4().to_string().into(),
        number: None,
        key_is_identity: false,
        fingerprint: 1,
        received_at_ms: 1,
        body: body.into(),
        dead: None,
        replaces: None,
        is_part: false,
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_sends_what_waited_and_cuts_no_request_off() {
    let options = SandboxOptions {
        requests_per_second: 0,
        latency: Duration::from_millis(300),
        detail: Detail::Full,
        ..SandboxOptions::default()
    };
    let sandbox = Sandbox::start(options).await.expect("a sandbox");
    let dir = tempfile::tempdir().expect("a folder");
    let options = revenium_store::Options {
        segment_bytes: 16 << 20,
        free_reserve_bytes: 0,
        ..revenium_store::Options::new(dir.path())
    };
    let store = Arc::new(Store::open(options).expect("opens"));
    store.append((0..7).map(|n| record("key-0abc", n)).collect()).await.expect("durable");
    let shell = shell(&sandbox.url());
    let mut tasks = Tasks::default();
    let claims = Arc::new(Claims::open(&store, vec!["default".into()]));
    start(&shell, &store, claims.follow(), None, &mut tasks).expect("starts");
    let desk = Desk::new(store.clone(), vec!["default".into()], claims);
    let view = || shell.board.drain_view().expect("attached");
    until("the index follows", || store.is_ready() && !view().pauses.is_empty()).await;
    assert_eq!(view().pauses[0].words, "unknown API key: revenium-agent profile claim key-0abc --as NAME");
    assert_eq!(sandbox.counts().attempts, 0);

    // Requests of the profile itself are on their way when the claim is made.
    store.append((0..3).map(|n| record("default", n)).collect()).await.expect("durable");
    until("requests in flight", || view().pace.iter().any(|pace| pace.in_flight > 0)).await;
    let request =
        ClaimRequest { profile: "key-0abc".to_owned(), claim_as: "default".to_owned(), force: false };
    desk.claim(request).await.expect("claimed");
    until("all is billed", || sandbox.counts().billed == 10).await;
    until("all is settled", || store.lanes().iter().all(|lane| lane.waiting == 0)).await;
    assert_eq!(view().pauses.len(), 0, "{:?}", view().pauses);
    assert_eq!(sandbox.counts().attempts, 10, "what was on its way was not sent again");
    let stop = Deadlines { gateway: LONG, intake: LONG, drain: LONG, store: LONG, admin: LONG };
    assert_eq!(tasks.stop_all(stop, async {}).await, Vec::<&str>::new());
}
