//! The listener: accepts, hands each connection to its server, and ends it all.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::{info, warn};

use super::places::{Place, Places};
use crate::intake::Observer;
use crate::tasks::{Group, Stop};

/// After a failed accept, such as for want of file descriptors: trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long a client may read what is left of an answer that was given, once its connection is to end.
const LAST_BYTES_MAX: Duration = Duration::from_secs(5);

/// Whether connections that wait when we stop are to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Nobody else will.
    Ours,
    /// The socket outlives us: the next process accepts them.
    TheNext,
}

/// What a listener is, and its bounds.
pub(crate) struct Listening {
    pub(crate) listener: TcpListener,
    pub(crate) waiting: Waiting,
    /// Whose it is, for the log: `relay`.
    pub(crate) name: &'static str,
    /// Connections at a time. A further one takes the place of the one idle for longest.
    pub(crate) connections_max: usize,
    /// How long connections may take to end once told to stop; what is late is cut off.
    pub(crate) stop_max: Duration,
}

/// Accepts until told to stop, then gives what is on its way its time, and closes.
///
/// `connection` serves one to its end, as [`until_ended`] says. Returns how many were cut off.
pub(crate) async fn serve<F>(
    listening: Listening,
    observer: Arc<dyn Observer>,
    mut stop: Stop,
    connection: impl Fn(TcpStream, Place, Stop) -> F,
) -> usize
where
    F: Future<Output = ()> + Send + 'static,
{
    let Listening { listener, waiting, name, connections_max, stop_max } = listening;
    let places = Places::new(connections_max);
    // The bound is `places`'; the one that makes room may still be on its way out.
    let mut connections = Group::new(name, 2 * connections_max);
    let begin = |stream, connections: &mut Group, stop: &Stop| {
        connections.spawn(connection(stream, places.take(observer.clone()), stop.clone()));
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
        info!(listener = name, "every request was answered");
        return 0;
    }
    let cut = places.count();
    warn!(listener = name, connections = cut, "connections were cut off before they were answered");
    cut
}

/// Drives a connection to its end: its client's, an eviction's, or a stop's.
///
/// Stopping, it goes on for `linger`, since requests may be on their way; then `graceful` tells it to end, which it
/// does at once if it is idle, or after the answers that are being given. `None`: it was ended here.
pub(crate) async fn until_ended<C: Future>(
    connection: C,
    place: &Place,
    mut stop: Stop,
    linger: Duration,
    graceful: impl FnOnce(Pin<&mut C>),
) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let asked_to_end = async {
        tokio::select! {
            () = place.evicted() => {}
            () = stop.requested() => sleep(linger).await,
        }
    };
    tokio::select! {
        ended = connection.as_mut() => return Some(ended),
        () = asked_to_end => {}
    }
    let is_busy = place.is_busy();
    graceful(connection.as_mut());
    if is_busy {
        return Some(connection.await);
    }
    // An idle one ends at once. One whose client still reads its last answer may do so, and half a head may not.
    tokio::time::timeout(LAST_BYTES_MAX, connection).await.ok()
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
                warn!(%error, "cannot accept a connection");
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
