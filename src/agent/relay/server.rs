//! The listener: who gets a connection, and how it all ends.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::connection;
use super::handler::Desk;
use super::settings::Settings;
use crate::intake::Observer;
use crate::queue::Queue;
use crate::tasks::{Group, Stop};

/// After a failed accept, such as for want of file descriptors: trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A connection this long without a request may have to make room for another.
const EVICTABLE_AFTER: Duration = Duration::from_millis(200);

/// How long to wait before looking for one again.
const EVICT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Whether connections that wait when we stop are to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Nobody else will.
    Ours,
    /// The socket outlives us: the next process accepts them.
    TheNext,
}

/// Serves `listener` until told to stop, then reads what is on its way, answers, and closes.
///
/// Connections that are not done at `stop_max` are cut off; their requests were not answered.
pub async fn serve<Q: Queue>(
    listener: TcpListener,
    waiting: Waiting,
    queue: Arc<Q>,
    settings: Settings,
    observer: Arc<dyn Observer>,
    mut stop: Stop,
    stop_max: Duration,
) {
    let places = Places::new(settings.limits.connections_max);
    let desk = Arc::new(Desk::new(queue, settings, observer.clone()));
    // The bound is `places`'; the one that makes room may still be on its way out.
    let mut connections = Group::new("relay connection", 2 * places.max);
    let begin = |stream, connections: &mut Group, stop: &Stop| {
        let place = places.take(observer.clone());
        connections.spawn(connection::serve(desk.clone(), stream, place, stop.clone()));
    };
    loop {
        tokio::select! {
            () = stop.requested() => break,
            stream = next(&listener, &places, &mut connections, &*observer) => {
                begin(stream, &mut connections, &stop);
            }
        }
    }
    // Those that the kernel has accepted for us may have sent their request already.
    while waiting == Waiting::Ours
        && let Some(stream) = accept_now(&listener).await
    {
        begin(stream, &mut connections, &stop);
    }
    drop(listener);
    if tokio::time::timeout(stop_max, connections.finish()).await.is_ok() {
        info!("every request of the relay was answered");
    } else {
        warn!("connections of the relay were cut off before they were answered");
    }
}

/// The next connection, once there is room for it. Cancel-safe: accepting is.
async fn next(
    listener: &TcpListener,
    places: &Arc<Places>,
    connections: &mut Group,
    observer: &dyn Observer,
) -> TcpStream {
    loop {
        connections.room().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                places.make_room(observer).await;
                return stream;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                observer.accept_failed();
                warn!(%error, "cannot accept a connection of the relay");
                // Most likely for want of descriptors, and an idle connection has one.
                places.evict();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// A connection that waits already, if there is one.
async fn accept_now(listener: &TcpListener) -> Option<TcpStream> {
    let accepted = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    accepted.ok()?.ok().map(|(stream, _)| stream)
}

/// Who is connected, and since when without a request.
struct Places {
    max: usize,
    next: AtomicU64,
    began: Instant,
    taken: Mutex<BTreeMap<u64, Arc<Taken>>>,
}

struct Taken {
    /// When its last request was answered, in milliseconds since `began`; `BUSY` during one.
    idle_since_ms: AtomicU64,
    evicted: Notify,
}

const BUSY: u64 = u64::MAX;

/// One connection's place, given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    taken: Arc<Taken>,
    observer: Arc<dyn Observer>,
}

impl Places {
    fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, next: AtomicU64::new(0), began: Instant::now(), taken: Mutex::default() })
    }

    fn take(self: &Arc<Self>, observer: Arc<dyn Observer>) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let taken = Arc::new(Taken { idle_since_ms: AtomicU64::new(self.now_ms()), evicted: Notify::new() });
        self.lock().insert(number, taken.clone());
        observer.connection_opened();
        Place { places: self.clone(), number, taken, observer }
    }

    /// Returns once there is a place, having ended the connection that is idle for longest if need be.
    async fn make_room(&self, observer: &dyn Observer) {
        while !self.has_room() {
            observer.connection_refused(revenium_event::line::Code::Busy);
            tokio::time::sleep(EVICT_AGAIN_AFTER).await;
        }
    }

    fn has_room(&self) -> bool {
        self.lock().len() < self.max || self.evict()
    }

    /// Ends the connection that is idle for longest; false if none is idle.
    fn evict(&self) -> bool {
        let mut taken = self.lock();
        let idle_since = |(number, taken): (&u64, &Arc<Taken>)| {
            let since = taken.idle_since_ms.load(Ordering::Relaxed);
            (since != BUSY).then_some((since, *number))
        };
        let longest = taken.iter().filter_map(idle_since).min();
        let evictable_after_ms = u64::try_from(EVICTABLE_AFTER.as_millis()).unwrap_or(u64::MAX);
        match longest {
            Some((since, number)) if since.saturating_add(evictable_after_ms) <= self.now_ms() => {
                if let Some(evicted) = taken.remove(&number) {
                    evicted.evicted.notify_one();
                }
                true
            }
            _ => false,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Taken>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Says that a request is being answered, until it is dropped.
    pub(super) fn busy(&self) -> impl Drop + use<> {
        self.taken.idle_since_ms.store(BUSY, Ordering::Relaxed);
        Busy { places: self.places.clone(), taken: self.taken.clone() }
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.taken.idle_since_ms.load(Ordering::Relaxed) == BUSY
    }

    /// Returns once another connection needs this place.
    pub(super) fn evicted(&self) -> impl Future<Output = ()> + '_ {
        self.taken.evicted.notified()
    }
}

struct Busy {
    places: Arc<Places>,
    taken: Arc<Taken>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.taken.idle_since_ms.store(self.places.now_ms(), Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.number);
        self.observer.connection_closed();
    }
}
