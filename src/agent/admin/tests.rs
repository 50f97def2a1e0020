//! Tests of `admin`: what each path answers, and the doors themselves.

mod scrape;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::guarantee::Guarantee;
use crate::metrics::{Metrics, PauseReason};
use crate::queue::{Lane, LaneStats, QueueStats};
use crate::secret::Secret;
use crate::tasks::Stop;

const KEY: &str = "rev_mk_0123456789abcdefghij";

/// A status without anything to object to.
pub(crate) fn healthy() -> Status {
    Status {
        version: "1.2.3".to_owned(),
        instance: "0123".to_owned(),
        uptime_s: 3661,
        health: Health::Ok,
        reasons: Vec::new(),
        guarantee: flushed(),
        data_dir: "/var/lib/revenium-agent".to_owned(),
        profiles: Vec::new(),
        pace: Vec::new(),
        last_delivered_at_ms: None,
        oldest_age_s: None,
        log_bytes: 100,
        log_capacity_bytes: 1000,
        disk_free_bytes: 1536 << 10,
        free_reserve_bytes: 100,
        imbalance: 0,
        damaged_regions: 0,
        lost: 0,
        quarantine_bytes: 0,
        disk_errors: 0,
        waiting_for: Vec::new(),
        stalled: None,
        refusing: None,
        spool: SpoolStatus::default(),
    }
}

fn flushed() -> Guarantee {
    Guarantee { flushed: true, text: "flushed to the device (ext4)".to_owned() }
}

fn board() -> Board {
    let profile = ProfileFacts {
        name: "default".to_owned(),
        url: "https://api.revenium.ai".to_owned(),
        account: "api.revenium.ai".to_owned(),
        key: watch::channel(Some(Secret::new(KEY))).1,
        key_source: Some("/etc/key".to_owned()),
    };
    let facts = Facts {
        version: "1.2.3",
        instance: "0123".to_owned(),
        guarantee: flushed(),
        data_dir: PathBuf::from("/var/lib/revenium-agent"),
        free_reserve_bytes: 100,
        profiles: vec![profile],
    };
    Board::new(facts, &["log", "socket"])
}

fn stats() -> QueueStats {
    let lane = |profile: &str, route, waiting, oldest_received_at_ms| {
        let lane = Lane { profile: Arc::from(profile), route };
        let mut stats =
            LaneStats { lane, waiting, claimed: 0, oldest_received_at_ms, ledger: Default::default() };
        (stats.ledger.delivered, stats.ledger.dead) = (9, 1);
        stats
    };
    QueueStats {
        lanes: vec![lane("default", 0, 3, 5_000), lane("default", 1, 2, 8_000), lane("gone", 0, 1, 0)],
        log_bytes: 10,
        log_bytes_max: 100,
        disk_free_bytes: 1000,
        ..QueueStats::default()
    }
}

fn pace() -> Pace {
    Pace { account: "api.revenium.ai".to_owned(), requests_per_second: Some(20.0), in_flight: 2, note: None }
}

fn metrics() -> Metrics {
    Metrics::new(&["default".to_owned()], &["api.revenium.ai".to_owned()], "1.2.3")
}

fn get(door: Door, path: &str, board: &Board) -> u16 {
    route::answer(door, &Method::GET, path, board, &metrics(), 10_000).status().as_u16()
}

#[test]
fn each_path_has_its_answer_and_only_get_has_any() {
    let board = board();
    for (path, admin, control) in [
        ("/", 200, 200),
        ("/metrics", 200, 200),
        ("/healthz", 200, 200),
        ("/readyz", 503, 503),
        ("/status", 404, 200),
        ("/metrics/", 404, 404),
        ("/../etc/passwd", 404, 404),
        ("", 404, 404),
    ] {
        assert_eq!(
            (get(Door::Admin, path, &board), get(Door::Control, path, &board)),
            (admin, control),
            "{path}"
        );
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        let answer = route::answer(Door::Control, &method, "/status", &board, &metrics(), 0);
        assert_eq!(answer.status().as_u16(), 405, "{method}");
    }
}

#[test]
fn the_agent_is_ready_once_every_part_is() {
    let board = board();
    assert_eq!(board.waiting_for(), ["log: not started", "socket: not started"]);
    board.starting("log", "reading segment 3 of 90");
    board.ready("socket");
    assert_eq!(board.waiting_for(), ["log: reading segment 3 of 90"]);
    assert_eq!(get(Door::Admin, "/readyz", &board), 503);
    board.ready("log");
    assert_eq!(get(Door::Admin, "/readyz", &board), 200);
}

#[test]
fn a_status_gathers_what_the_parts_report() {
    let board = board();
    board.ready("log");
    board.ready("socket");
    board.attach_queue(stats);
    board.attach_drain(|| DrainView {
        handed_over: Vec::new(),
        claims: [("gone".into(), "default".into()), ("key-1".into(), "gone".into())].into(),
        pauses: vec![PauseView {
            profile: "default".to_owned(),
            route: Some(4),
            reason: PauseReason::Route,
            words: "404".to_owned(),
            since_ms: 7_000,
            next_probe_ms: Some(12_000),
        }],
        pace: vec![pace()],
        last_delivered_at_ms: Some(9_000),
        overdue: None,
    });
    let status = board.status(10_000);
    let expected = Status {
        uptime_s: 0,
        health: Health::Degraded,
        reasons: vec![
            "default: tool is paused: 404".to_owned(),
            "3 dead letters wait for a person".to_owned(),
        ],
        profiles: vec![
            ProfileStatus {
                name: "default".to_owned(),
                url: Some("https://api.revenium.ai".to_owned()),
                account: Some("api.revenium.ai".to_owned()),
                key: Some("rev_mk_…ghij".to_owned()),
                key_source: Some("/etc/key".to_owned()),
                claimed_as: None,
                waiting: 5,
                dead: 2,
                delivered: 18,
                oldest_age_s: Some(5),
                paused: vec![Pause {
                    route: Some("tool".to_owned()),
                    reason: "route".to_owned(),
                    words: "404".to_owned(),
                    since_ms: 7_000,
                    next_probe_ms: Some(12_000),
                }],
            },
            ProfileStatus {
                name: "gone".to_owned(),
                url: Some("https://api.revenium.ai".to_owned()),
                account: Some("api.revenium.ai".to_owned()),
                key: Some("rev_mk_…ghij".to_owned()),
                key_source: Some("/etc/key".to_owned()),
                claimed_as: Some("default".to_owned()),
                waiting: 1,
                dead: 1,
                delivered: 9,
                ..ProfileStatus::default()
            },
            // Claimed for one that is not configured.
            ProfileStatus {
                name: "key-1".to_owned(),
                claimed_as: Some("gone".to_owned()),
                ..ProfileStatus::default()
            },
        ],
        pace: vec![pace()],
        last_delivered_at_ms: Some(9_000),
        oldest_age_s: Some(5),
        log_bytes: 10,
        log_capacity_bytes: 100,
        disk_free_bytes: 1000,
        ..healthy()
    };
    assert_eq!(status, expected);
    let json = serde_json::to_string(&status).expect("serializes");
    assert!(!json.contains(KEY), "{json}");
    assert_eq!(serde_json::from_str::<Status>(&json).expect("reads back"), status);
}

/// Serves `board` on a free port while `client` runs.
async fn with_door<T>(board: Board, client: impl AsyncFnOnce(String) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("has one").to_string();
    let (stop, stopped) = Stop::pair();
    let serving =
        serve(Listener::Tcp(listener), Shown::Agent(Door::Admin, Arc::new(board), metrics()), stopped);
    let client = async {
        let result = client(address).await;
        stop.send_replace(true);
        result
    };
    let (served, result) = tokio::join!(serving, client);
    served.expect("stops when told to");
    result
}

#[tokio::test]
async fn a_page_whose_name_was_made_to_point_here_reads_nothing() {
    with_door(board(), async |address| {
        for (host, status) in [("evil.example", 421), ("localhost:8792", 200), ("127.0.0.1", 200)] {
            let request =
                reqwest::Client::new().get(format!("http://{address}/metrics")).header("host", host);
            assert_eq!(request.send().await.expect("answered").status(), status, "{host}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_door_speaks_real_http() {
    with_door(board(), async |address| {
        let get = async |path: &str| reqwest::get(format!("http://{address}{path}")).await.expect("answered");
        let metrics = get("/metrics").await;
        assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        assert!(
            metrics.text().await.expect("a body").contains("revenium_agent_build_info{version=\"1.2.3\"} 1")
        );

        let page = get("/").await;
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert!(
            page.headers()["content-security-policy"]
                .to_str()
                .expect("text")
                .starts_with("default-src 'none'")
        );
        let html = page.text().await.expect("a body");
        assert!(html.contains("rev_mk_…ghij") && !html.contains(KEY), "{html}");

        let ready = get("/readyz").await;
        assert_eq!(ready.status(), 503);
        assert_eq!(ready.text().await.expect("a body"), "log: not started\nsocket: not started\n");
        assert_eq!(get("/healthz").await.text().await.expect("a body"), "ok\n");

        for path in ["/metrics", "/letters", "/claims", "/flush"] {
            let posted =
                reqwest::Client::new().post(format!("http://{address}{path}")).body("{}").send().await;
            let posted = posted.expect("answered");
            assert_eq!(
                (posted.status().as_u16(), &posted.headers()["allow"]),
                (405, &"GET, HEAD".parse().expect("a value")),
                "{path}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_with_too_large_a_head_is_refused() {
    with_door(board(), async |address| {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
        // The door may hang up before it has read all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_keep_others_out_or_the_door_from_stopping() {
    with_door(board(), async |address| {
        let mut silent = Vec::new();
        for _ in 0..10 {
            silent.push(TcpStream::connect(&address).await.expect("connected"));
        }
        assert_eq!(reqwest::get(format!("http://{address}/healthz")).await.expect("answered").status(), 200);
        drop(silent);
    })
    .await;
}

#[tokio::test]
async fn the_control_socket_is_its_users_alone_and_tells_the_status() {
    let dir = tempfile::tempdir().expect("a folder");
    let (listener, file) = ControlSocket::bind(dir.path()).expect("bound");
    let mode = std::fs::metadata(file.path()).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let (stop, stopped) = Stop::pair();
    let shown = Shown::Agent(Door::Control, Arc::new(board()), metrics());
    let serving = tokio::spawn(serve(Listener::Unix(listener), shown, stopped));
    let asked = dir.path().to_owned();
    let status =
        tokio::task::spawn_blocking(move || ask(&asked, "/status")).await.expect("joined").expect("answered");
    assert_eq!(serde_json::from_str::<Status>(&status).expect("a status").version, "1.2.3");

    let asked = dir.path().to_owned();
    let error =
        tokio::task::spawn_blocking(move || ask(&asked, "/nothing")).await.expect("joined").expect_err("404");
    assert!(error.to_string().starts_with("it answered \"HTTP/1.0 404"), "{error}");

    let asked = dir.path().to_owned();
    let posted = move || post::<Status>(&asked, "/flush", &serde_json::json!({}));
    let posted = tokio::task::spawn_blocking(posted).await.expect("joined");
    match posted.expect_err("the log is not open") {
        AskError::Refused(trouble) => assert_eq!(trouble.code, "not_ready"),
        AskError::Io(error) => panic!("{error}"),
    }

    let second = ControlSocket::bind(dir.path()).map(|_| ()).expect_err("an agent answers there");
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);

    stop.send_replace(true);
    serving.await.expect("joined").expect("stopped");
    drop(file);
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0, "it cleans up");
}

#[tokio::test]
async fn a_control_socket_that_was_left_behind_is_replaced() {
    let dir = tempfile::tempdir().expect("a folder");
    // As kill -9 leaves it: the file without a listener.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).expect("bound"));
    let (_listener, file) = ControlSocket::bind(dir.path()).expect("replaced");
    assert!(std::os::unix::net::UnixStream::connect(file.path()).is_ok());
}

#[test]
fn parts_attach_once() {
    let board = board();
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    board.attach_queue(move || {
        *counted.lock().expect("whole") += 1;
        stats()
    });
    board.attach_queue(QueueStats::default);
    assert_eq!(board.queue_stats(), Some(stats()));
    assert_eq!(*calls.lock().expect("whole"), 1);
}
