//! The listener and its connections.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::faults::{Faults, Script, ScriptError};
use super::handler::{Stand, handle};
use super::journal::Journal;
use super::ledger::{Counts, Snapshot, Tally};
use super::meter::Meter;
use super::options::Options;
use super::wire::Wire;

/// How long to wait after a failed accept (too many open files, mostly) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Why a stand-in could not start. Nothing is listening then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It must not be reachable from elsewhere.
    #[error("the sandbox listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The address is taken, or may not be had.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The journal can't be opened for appending.
    #[error("cannot open the journal {0}")]
    Journal(PathBuf, #[source] io::Error),
    /// The fault script makes no sense.
    #[error("cannot use the fault script")]
    Script(#[from] ScriptError),
}

/// A running stand-in, started by [`Sandbox::start`] or [`Sandbox::bind`].
///
/// Dropping it stops the server too; [`Sandbox::shutdown`] also waits for its end.
pub struct Sandbox {
    addr: SocketAddr,
    stand: Arc<Stand>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// The part that serves; a future to be run by whoever owns the tasks.
pub struct Server {
    listener: TcpListener,
    stand: Arc<Stand>,
    connections_max: usize,
    stop: watch::Receiver<bool>,
}

impl Sandbox {
    /// Binds and serves in a task of its own.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let (mut sandbox, server) = Self::bind(options).await?;
        sandbox.task = Some(tokio::spawn(server.run()));
        Ok(sandbox)
    }

    /// Binds, and leaves it to the caller to run the server.
    pub async fn bind(options: Options) -> Result<(Self, Server), StartError> {
        if !options.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(options.listen));
        }
        let open = |path: &PathBuf| {
            Journal::open(path, options.journal_has_bodies)
                .map_err(|error| StartError::Journal(path.clone(), error))
        };
        let journal = options.journal.as_ref().map(open).transpose()?;
        let faults = Faults::new(options.faults.clone())?;
        let cannot_listen = |error| StartError::Listen(options.listen, error);
        let listener = TcpListener::bind(options.listen).await.map_err(cannot_listen)?;
        let addr = listener.local_addr().map_err(cannot_listen)?;
        let stand = Arc::new(Stand {
            meter: Meter::new(&options, journal),
            faults,
            latency: options.latency,
            body_bytes_max: options.body_bytes_max,
            port: addr.port(),
            late: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let server = Server {
            listener,
            stand: Arc::clone(&stand),
            connections_max: options.connections_max,
            stop: stopped,
        };
        Ok((Self { addr, stand, stop, task: None }, server))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to configure as the upstream: `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.stand.meter.ledger.tally.counts()
    }

    /// What was received so far, with every key and transaction if the options ask for detail.
    pub fn ledger(&self) -> Snapshot {
        self.stand.snapshot(true)
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, script: Script) -> Result<(), ScriptError> {
        self.stand.faults.replace(script)
    }

    /// Which API keys are accepted from now on, each for its account.
    pub fn set_keys(&self, keys: &std::collections::BTreeMap<String, String>) {
        self.stand.meter.set_keys(keys);
    }

    /// Tells the server to stop; its [`Server::run`] returns. Connections are cut.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops and waits for the end of the task that [`Sandbox::start`] began. Open connections are
    /// cut and late records are not stored, as when an upstream dies.
    pub async fn shutdown(mut self) {
        self.stop();
        if let Some(task) = self.task.take() {
            // A panic of the server has been counted or printed; there is nothing left to stop.
            let _ = task.await;
        }
    }
}

impl Server {
    /// Serves until [`Sandbox::stop`], or until the [`Sandbox`] is dropped.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.take(stream, &mut connections),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(ended) = connections.join_next() => self.ended(&ended),
                _ = stop.changed() => break,
            }
        }
        let mut late = std::mem::take(&mut *self.stand.late.lock().unwrap_or_else(PoisonError::into_inner));
        late.shutdown().await;
        connections.shutdown().await;
    }

    fn take(&self, stream: TcpStream, connections: &mut JoinSet<()>) {
        let tally = &self.stand.meter.ledger.tally;
        if connections.len() >= self.connections_max {
            Tally::add(&tally.connections_refused, 1);
            return;
        }
        Tally::add(&tally.connections, 1);
        connections.spawn(serve(Arc::clone(&self.stand), stream));
    }

    fn ended(&self, ended: &Result<(), tokio::task::JoinError>) {
        let has_panicked = ended.as_ref().is_err_and(tokio::task::JoinError::is_panic);
        Tally::add(&self.stand.meter.ledger.tally.panics, u64::from(has_panicked));
    }
}

async fn serve(stand: Arc<Stand>, stream: TcpStream) {
    // Answers are small and each is waited for. Without it they come later, not wrong.
    let _ = stream.set_nodelay(true);
    let (wire, tap) = Wire::new(stream);
    let service = service_fn(move |request| handle(Arc::clone(&stand), tap.clone(), request));
    // An error is a sender that left or a fault that was injected; the ledger has the rest.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(wire), service).await;
}
