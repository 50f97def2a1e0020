//! Tests of `tell`: what a service manager hears, phase by phase.

use std::os::unix::net::UnixDatagram;

use tokio::sync::oneshot;

use super::*;
use crate::admin::{DrainView, Facts};
use crate::guarantee::Guarantee;

const WATCHDOG: Duration = Duration::from_secs(60);

struct Manager {
    socket: UnixDatagram,
    _dir: tempfile::TempDir,
}

impl Manager {
    fn new() -> (Self, Arc<Notifier>) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_nonblocking(true).expect("set");
        let notifier = Notifier::new(path.as_os_str()).expect("a path");
        (Self { socket, _dir: dir }, Arc::new(notifier))
    }

    /// All that was said and not heard yet.
    fn heard(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut message = [0; 4096];
        while let Ok(bytes) = self.socket.recv(&mut message) {
            let text = std::str::from_utf8(&message[..bytes]).expect("UTF-8");
            lines.extend(text.lines().map(str::to_owned));
        }
        lines
    }
}

fn board() -> Arc<Board> {
    let facts = Facts {
        version: "1",
        instance: "i".to_owned(),
        guarantee: Guarantee { flushed: true, text: String::new() },
        data_dir: "/data".into(),
        free_reserve_bytes: 0,
        profiles: Vec::new(),
    };
    let board = Board::new(facts, &["log"]);
    board.starting("log", "being read: 37 % of 1.2 GiB");
    Arc::new(board)
}

#[tokio::test(start_paused = true)]
async fn it_says_that_it_starts_then_once_that_it_is_ready_and_in_the_end_that_it_stops() {
    let (manager, notifier) = Manager::new();
    let board = board();
    let mut teller = Teller::new(notifier, Some(WATCHDOG), board.clone());
    assert!(teller.tell(Phase::Starting));
    let starting = "STATUS=starting: log: being read: 37 % of 1.2 GiB";
    assert_eq!(manager.heard(), ["EXTEND_TIMEOUT_USEC=30000000", starting]);
    assert!(teller.tell(Phase::Starting));
    assert_eq!(manager.heard(), ["EXTEND_TIMEOUT_USEC=30000000"], "it takes long, and nothing is new");
    tokio::time::advance(OPENING_MAX).await;
    assert!(teller.tell(Phase::Starting));
    assert!(manager.heard().is_empty(), "so long it does not take: the manager's own limit counts");
    board.ready("log");
    assert!(teller.tell(Phase::Ready));
    let ready = "STATUS=0 waiting; last delivered: not since start";
    assert_eq!(manager.heard(), ["READY=1", "WATCHDOG=1", ready]);
    assert!(teller.tell(Phase::Ready));
    assert_eq!(manager.heard(), ["WATCHDOG=1"]);
    let stopping = Phase::Stopping(Duration::from_secs(30));
    assert!(teller.tell(stopping));
    assert_eq!(manager.heard(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=35000000", "STATUS=stopping: 0 waiting"]);
    assert!(teller.tell(stopping));
    assert!(manager.heard().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_told_again_until_it_is() {
    let (manager, notifier) = Manager::new();
    let board = board();
    board.ready("log");
    // Until the kernel takes no more for a manager that does not read.
    while notifier.send("X=1\n") {}
    let (phase, phases) = watch::channel(Phase::Ready);
    let (stop_sender, stop) = Stop::pair();
    let teller = Teller::new(notifier, None, board);
    let (heard, all) = oneshot::channel();
    let manage = async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        manager.heard();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let _ = heard.send(manager.heard());
        stop_sender.send_replace(true);
    };
    let (ran, ()) = tokio::join!(teller.run(phases, stop), manage);
    ran.expect("ends well");
    let said = ["READY=1", "STATUS=0 waiting; last delivered: not since start"];
    assert_eq!(all.await.expect("sent"), said, "once, and without a watchdog no sign of life");
    drop(phase);
}

#[tokio::test(start_paused = true)]
async fn a_commit_or_a_drain_that_hangs_starves_the_watchdog_and_nothing_else_does() {
    let (manager, notifier) = Manager::new();
    let board = board();
    board.ready("log");
    let overdue = Arc::new(std::sync::Mutex::new(None));
    let shown = overdue.clone();
    board.attach_drain(move || DrainView {
        overdue: *shown.lock().expect("no panic while locked"),
        ..DrainView::default()
    });
    // A real clock tells how long a commit takes, so the wait that it is held against is short.
    let mut teller = Teller::new(notifier, Some(Duration::from_nanos(2)), board.clone());
    let mut is_fed = |phase| {
        assert!(teller.tell(phase));
        manager.heard().iter().any(|line| line == "WATCHDOG=1")
    };
    assert!(is_fed(Phase::Ready), "nothing to do");
    let commit = board.pulse().begin();
    std::thread::yield_now();
    assert!(!is_fed(Phase::Ready), "a commit hangs");
    drop(commit);
    assert!(is_fed(Phase::Ready));
    *overdue.lock().expect("no panic while locked") = Some(Duration::from_nanos(1));
    assert!(!is_fed(Phase::Ready), "the drain hangs");
    *overdue.lock().expect("no panic while locked") = Some(Duration::ZERO);
    assert!(is_fed(Phase::Ready), "half the wait it may");
}
