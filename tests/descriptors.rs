//! Running out of file descriptors: the agent waits and goes on, and nobody is lost.
//!
//! A test program of its own, because the limit is the whole process's.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use revenium_agent::intake::{Allow, Limits, Listener, Observer, Settings, serve};
use revenium_agent::queue::{
    AppendError, Appended, End, Lane, LaneStats, NewRecord, Queue, QueueStats, ReadError, Record, Seq,
    Settlement,
};
use revenium_agent::tenant::Tenants;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Takes everything.
struct Takes;

impl Queue for Takes {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        Ok(records.iter().map(|_| Appended::Stored(Seq(1))).collect())
    }
    async fn claim(&self, _: &Lane, _: End, _: usize, _: u64) -> Result<Vec<Record>, ReadError> {
        Ok(Vec::new())
    }
    fn settle(&self, _: Seq, _: Settlement) {}
    fn lanes(&self) -> Vec<LaneStats> {
        Vec::new()
    }
    async fn changed(&self) {
        std::future::pending().await
    }
    fn stats(&self) -> QueueStats {
        QueueStats::default()
    }
    fn put_state(&self, _: &str, _: &[u8]) {}
    fn state(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
}

#[derive(Default)]
struct Failures(AtomicU64);

impl Observer for Failures {
    fn accept_failed(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn without_descriptors_accepting_rests_and_then_goes_on() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: hard }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        path: dir.path().join("agent.sock"),
        mode: 0o600,
        allow: Allow::default(),
        tenants: Tenants::by_name(["default".into()]),
        limits: Limits::default(),
    };
    let path = settings.path.clone();
    let failures = Arc::new(Failures::default());
    let listener = Listener::bind(&settings.path, settings.mode, settings.limits.backlog).unwrap();
    let never = std::future::pending();
    let observer = Arc::clone(&failures) as Arc<dyn Observer>;
    tokio::spawn(serve(listener, Arc::new(Takes), settings, observer, never, Duration::ZERO));

    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    taken.pop();
    // Gets the last one; the agent has none to accept it with.
    let mut client = BufReader::new(UnixStream::connect(&path).await.unwrap());
    let event = r#"{"model":"m","provider":"p","inputTokenCount":1,"outputTokenCount":1}"#;
    client.get_mut().write_all(format!("{event}\n").as_bytes()).await.unwrap();
    // The clock is paused: a minute in which accepting was tried as often as its pauses allow.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let failed = failures.0.load(Ordering::Relaxed);
    assert!((30..100).contains(&failed), "accepting failed {failed} times in a minute");

    taken.clear();
    let mut answer = String::new();
    client.read_line(&mut answer).await.unwrap();
    assert!(answer.starts_with("{\"ok\":true"), "{answer}");
}
