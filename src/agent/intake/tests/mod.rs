//! The intake against real Unix sockets and a queue whose durability the test decides.
//!
//! Where time matters the clock is paused: it moves only when every task waits, so a time-out
//! takes no time and no test sleeps.

mod answers;
mod binding;
mod bounds;
pub(crate) mod fake;
mod guests;
mod keys;
mod lifecycle;
mod patient;
mod profiles;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use revenium_event::Producer;
use revenium_event::line::{Answer, Hello};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Allow, Limits, Listener, Served, Settings, serve};
use crate::tenant::Tenants;
use fake::{FakeQueue, Tally};

/// How long a stop may take in tests; with a paused clock, however long it is, it is no time.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// An intake that runs, with the queue behind it.
pub(crate) struct Rig {
    dir: tempfile::TempDir,
    pub(crate) queue: Arc<FakeQueue>,
    pub(crate) tally: Arc<Tally>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Served>,
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::with(Limits::default(), Allow::default())
    }

    pub(crate) fn with(limits: Limits, allow: Allow) -> Self {
        Self::at(tempfile::tempdir().unwrap(), Arc::default(), limits, allow)
    }

    /// An intake at a socket and before a queue that were there before it, as after a restart.
    pub(crate) fn at(dir: tempfile::TempDir, queue: Arc<FakeQueue>, limits: Limits, allow: Allow) -> Self {
        Self::of(dir, queue, limits, allow, Tenants::by_name(["default".into(), "team-a".into()]))
    }

    fn of(
        dir: tempfile::TempDir,
        queue: Arc<FakeQueue>,
        limits: Limits,
        allow: Allow,
        tenants: Arc<Tenants>,
    ) -> Self {
        let settings = Settings { path: dir.path().join("agent.sock"), mode: 0o600, allow, tenants, limits };
        let tally = Arc::new(Tally::default());
        let listener = Listener::bind(&settings.path, settings.mode, settings.limits.backlog).unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let serving =
            serve(listener, Arc::clone(&queue), settings, Arc::clone(&tally) as _, stopped, STOP_WITHIN);
        Self { dir, queue, tally, stop: Some(stop), served: tokio::spawn(serving) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    async fn connect(&self) -> Client {
        Client::new(UnixStream::connect(self.path()).await.unwrap())
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn stopped(mut self) -> Served {
        if self.stop.is_some() {
            self.stop();
        }
        self.served.await.unwrap()
    }

    /// Stops, and gives back what the next agent needs.
    pub(crate) async fn given_back(mut self) -> (tempfile::TempDir, Arc<FakeQueue>) {
        self.stop();
        self.served.await.unwrap();
        (self.dir, self.queue)
    }
}

/// A sender under the test's hand.
struct Client {
    lines: BufReader<OwnedReadHalf>,
    out: OwnedWriteHalf,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        let (read, out) = stream.into_split();
        Self { lines: BufReader::new(read), out }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.out.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn hello(&mut self) {
        let mut line = Vec::new();
        Hello { v: 1, producer: Some(PRODUCER), ..Hello::default() }.write(&mut line);
        self.send(line).await;
    }

    /// The next answer, shortened; panics at the end.
    async fn answer(&mut self) -> Said {
        self.next().await.expect("an answer before the end")
    }

    async fn answers(&mut self, count: usize) -> Vec<Said> {
        let mut said = Vec::new();
        for _ in 0..count {
            said.push(self.answer().await);
        }
        said
    }

    async fn next(&mut self) -> Option<Said> {
        let mut line = String::new();
        match self.lines.read_line(&mut line).await {
            Ok(0) => None,
            // The agent closed while something of ours was unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            result => {
                result.unwrap();
                Some(Said::of(&line))
            }
        }
    }

    /// Everything that is still said, after shutting our side down.
    async fn rest(mut self) -> Vec<Said> {
        self.out.shutdown().await.unwrap();
        drop(self.out);
        let mut text = String::new();
        self.lines.read_to_string(&mut text).await.unwrap();
        text.lines().map(Said::of).collect()
    }
}

/// An answer, as short as a test wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Ok,
    Upto(u64),
    WantKey,
    Refused { n: Option<u64>, code: String, field: String },
}

impl Said {
    fn of(line: &str) -> Self {
        match Answer::parse(line.as_bytes()).unwrap() {
            Answer::Ok { .. } => Self::Ok,
            Answer::Durable { upto } => Self::Upto(upto),
            Answer::WantKey => Self::WantKey,
            Answer::Refused { n, code, field, .. } => Self::Refused {
                n,
                code: serde_json::to_value(code).unwrap().as_str().unwrap().to_owned(),
                field: field.unwrap_or_default().into_owned(),
            },
        }
    }
}

fn refused(n: impl Into<Option<u64>>, code: &str, field: &str) -> Said {
    Said::Refused { n: n.into(), code: code.to_owned(), field: field.to_owned() }
}

const PRODUCER: Producer = Producer::from_bytes([0xab; 16]);

/// An event that needs nothing changed, told apart by `id`.
pub(crate) fn event(id: u64) -> String {
    format!(
        r#"{{"model":"m","provider":"Anthropic","inputTokenCount":1,"outputTokenCount":2,"transactionId":"t{id}"}}"#
    )
}

pub(crate) fn line(id: u64) -> String {
    event(id) + "\n"
}

fn numbered(n: u64, id: u64) -> String {
    format!("{{\"n\":{n},{}\n", &event(id)[1..])
}
