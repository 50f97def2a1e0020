//! Accepting connections, for as long as the agent runs, and ending them well.
//!
//! Stopping leaves nothing behind: the path goes first, then nobody can connect, then what waits
//! to be accepted is, and every connection reads what was sent to it, has it appended, answers
//! and closes; at a socket that outlives us, what waits is left to the next. Only the deadline cuts this short, and then senders who got no answer send again.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use revenium_event::line::{Answer, Code};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tracing::{debug, error, info, warn};

use super::bucket::Bucket;
use super::connection::{self, BUDGET_UNIT_BYTES, Shared};
use super::door::Door;
use super::listener::{BindError, Listener, close_to_new};
use super::moderated::Moderated;
use super::observer::Observer;
use super::peer::{Allow, Peer};
use super::seat::Seats;
use super::settings::Settings;
use crate::queue::Queue;

/// The pause after a failed accept doubles from the first to the last of these.
const ACCEPT_PAUSE_FIRST: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Connections that the deadline cut off before they were answered.
    pub cut_off: usize,
}

/// Serves `listener` until `stop`, then ends every connection within `stop_within`.
///
/// Never fails: what can go wrong with one connection or one accept is counted, logged, and
/// leaves the others alone. Dropping the future cuts all connections off.
pub async fn serve<Q: Queue>(
    listener: Listener,
    queue: Arc<Q>,
    settings: Settings,
    observer: Arc<dyn Observer>,
    stop: impl Future<Output = ()> + Send,
    stop_within: Duration,
) -> Served {
    let mut server = Server::new(listener, queue, settings, observer);
    server.run(stop).await;
    server.stop(Instant::now() + stop_within).await
}

struct Server<Q> {
    listener: Listener,
    allow: Allow,
    seats: Arc<Seats>,
    shared: Arc<Shared<Q>>,
    connections: JoinSet<()>,
    stopping: watch::Sender<bool>,
    accept_pause: Option<Pause>,
    /// Warnings that a stranger can cause, so many and no more.
    warnings: Bucket,
}

/// Accepting rests until `until`.
#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl<Q: Queue> Server<Q> {
    fn new(listener: Listener, queue: Arc<Q>, settings: Settings, observer: Arc<dyn Observer>) -> Self {
        let Settings { allow, tenants, limits, .. } = settings;
        let units = (limits.in_flight_bytes_total_max / BUDGET_UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            listener,
            allow,
            seats: Seats::new(&limits),
            shared: Arc::new(Shared {
                queue,
                door: Door::new(tenants),
                observer,
                budget: Semaphore::new(units),
                limits,
            }),
            connections: JoinSet::new(),
            stopping: watch::Sender::new(false),
            accept_pause: None,
            warnings: Bucket::new(1, 10, Instant::now()),
        }
    }

    async fn run(&mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut path_check = interval(self.shared.limits.path_check_every);
        path_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let resting = self.accept_pause.map(|pause| pause.until);
            tokio::select! {
                () = &mut stop => return,
                accepted = accept(&self.listener.socket, resting) => self.accepted(accepted),
                Some(ended) = self.connections.join_next() => report(ended),
                _ = path_check.tick() => self.check_path(),
            }
        }
    }

    fn accepted(&mut self, accepted: io::Result<UnixStream>) {
        match accepted {
            Ok(stream) => {
                self.accept_pause = None;
                self.admit(stream);
            }
            // The connection is gone already, or a signal came: the next one may be well.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                self.shared.observer.accept_failed();
                let now = Instant::now();
                let last = self.accept_pause.map_or(Duration::ZERO, |pause| pause.length);
                let length = (last * 2).clamp(ACCEPT_PAUSE_FIRST, ACCEPT_PAUSE_MAX);
                self.accept_pause = Some(Pause { until: now + length, length });
                if self.warnings.try_take(now) {
                    warn!(%error, pause_ms = length.as_millis(), "cannot accept connections");
                }
            }
        }
    }

    fn admit(&mut self, stream: UnixStream) {
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => return debug!(%error, "cannot tell who connected"),
        };
        if let Err(denied) = self.allow.check(&peer) {
            return self.turn_away(&stream, &peer, Code::Denied, &denied.to_string());
        }
        match self.seats.take(peer.uid, Instant::now()) {
            Err(none) => self.turn_away(&stream, &peer, Code::Busy, &none.to_string()),
            Ok(seat) => {
                let counted = Counted::new(&self.shared.observer);
                let shared = Arc::clone(&self.shared);
                let mut stopping = self.stopping.subscribe();
                // A stop without a sender is a stop.
                let stop = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
                self.connections.spawn(async move {
                    drop(connection::serve(&shared, Moderated::Watched(stream), &[], seat, stop).await);
                    drop(counted);
                });
            }
        }
    }

    fn turn_away(&mut self, stream: &UnixStream, peer: &Peer, code: Code, message: &str) {
        self.shared.observer.connection_refused(code);
        if self.warnings.try_take(Instant::now()) {
            warn!(uid = peer.uid, pid = peer.pid, "connection refused: {message}");
        }
        let mut line = Vec::new();
        Answer::Refused { n: None, code, field: None, message: message.into() }.write(&mut line);
        // A new socket has room for one line; a sender that is gone needs none.
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        let _ = rustix::net::send(stream, &line, flags);
    }

    fn check_path(&mut self) {
        if self.listener.is_in_place() {
            return;
        }
        match self.listener.rebind() {
            Ok(None) => {}
            Ok(Some(old)) => {
                self.shared.observer.rebound();
                warn!(path = %self.listener.path().display(), "the socket's path had vanished; bound again");
                close_to_new(&old);
                self.accept_waiting(Some(&old));
            }
            Err(error) => {
                if self.warnings.try_take(Instant::now()) {
                    log_rebind_error(&error);
                }
            }
        }
    }

    /// Accepts what waits at our socket, or at an `old` one; false if something may be left.
    fn accept_waiting(&mut self, old: Option<&UnixListener>) -> bool {
        loop {
            match accept_now(old.unwrap_or(&self.listener.socket)) {
                Ok(Some(stream)) => self.admit(stream),
                Ok(None) => return true,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!(%error, "cannot accept connections that wait");
                    return false;
                }
            }
        }
    }

    async fn stop(mut self, deadline: Instant) -> Served {
        self.listener.close_to_new();
        // Before accepting the rest: those that end make room for those that wait.
        self.stopping.send_replace(true);
        // Those that wait at a socket that outlives us are served by the next agent.
        while self.listener.is_own() && !self.accept_waiting(None) {
            match timeout_at(deadline, self.connections.join_next()).await {
                Ok(Some(ended)) => report(ended),
                Ok(None) | Err(_) => break,
            }
        }
        loop {
            match timeout_at(deadline, self.connections.join_next()).await {
                Ok(Some(ended)) => report(ended),
                Ok(None) => break,
                Err(_) => {
                    let cut_off = self.connections.len();
                    warn!(connections = cut_off, "connections cut off before they were answered");
                    self.connections.shutdown().await;
                    return Served { cut_off };
                }
            }
        }
        info!("every connection was answered and closed");
        Served { cut_off: 0 }
    }
}

/// A connection that counts as open for as long as it is held.
struct Counted(Arc<dyn Observer>);

impl Counted {
    fn new(observer: &Arc<dyn Observer>) -> Self {
        observer.connection_opened();
        Self(Arc::clone(observer))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

async fn accept(socket: &UnixListener, resting_until: Option<Instant>) -> io::Result<UnixStream> {
    if let Some(until) = resting_until {
        sleep_until(until).await;
    }
    socket.accept().await.map(|(stream, _)| stream)
}

/// Accepts without waiting, and without relying on what the runtime knows of the socket.
fn accept_now(socket: &UnixListener) -> io::Result<Option<UnixStream>> {
    let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
    match rustix::net::accept_with(socket, flags) {
        Ok(stream) => UnixStream::from_std(stream.into()).map(Some),
        // Closed to new connections and none left (it says EINVAL), or none there now.
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // Its sender got no answer and sends again; the others never notice.
        error!(%error, "a connection ended by a bug");
    }
}

fn log_rebind_error(error: &BindError) {
    let error = crate::chain(error);
    warn!(error, "the socket's path no longer leads here and cannot be bound again");
}
