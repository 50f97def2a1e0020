//! Lines that come by another way than the socket: on connections of the relay.
//!
//! The kernel says nothing of such a sender. So its events are for the key that it names by its fingerprint, or for
//! `default`, and never for a profile that it names; it is asked for no key, and none is taken. Its connections, and
//! what of its refused events is kept, are bounded for all guests together, as for one user, apart from the socket's.
//! Nothing makes one stop sending, so a connection is ended while it does, and it is given its answers.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, timeout};

use super::connection::{self, BUDGET_UNIT_BYTES, Shared};
use super::door::Door;
use super::observer::Observer;
use super::seat::{Seat, Seats};
use super::settings::Limits;
use crate::queue::Queue;
use crate::tasks::Stop;
use crate::tenant::Tenants;

/// Whose seats they take: nobody's, as the kernel writes it.
const NOBODY: u32 = u32::MAX;

/// How long a guest may take to see that its connection ends.
const PARTING_MAX: Duration = Duration::from_millis(500);

/// All guests of one listener.
pub(crate) struct Guests<Q> {
    shared: Arc<Shared<Q>>,
    seats: Arc<Seats>,
}

impl<Q: Queue> Guests<Q> {
    pub(crate) fn new(
        queue: Arc<Q>,
        tenants: Arc<Tenants>,
        limits: Limits,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let units = (limits.in_flight_bytes_total_max / BUDGET_UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        let (door, seats) = (Door::by_key(tenants), Seats::new(&limits));
        Self {
            shared: Arc::new(Shared { queue, door, observer, budget: Semaphore::new(units), limits }),
            seats,
        }
    }

    /// A seat for one more, if there is one.
    pub(crate) fn seat(&self) -> Option<Seat> {
        self.seats.take(NOBODY, Instant::now()).ok()
    }

    /// Serves a connection to its end. `begun` are bytes that were read from it already.
    pub(crate) async fn serve(&self, stream: TcpStream, begun: &[u8], seat: Seat, mut stop: Stop) {
        let stop = async move { stop.requested().await };
        part(connection::serve(&self.shared, stream, begun, seat, stop).await).await;
    }
}

/// Ends a connection so that its guest has all answers: closed with something unread, TCP throws away what it has
/// not sent yet.
async fn part(mut stream: TcpStream) {
    let to_its_end = async {
        let _ = stream.shutdown().await;
        let mut unread = [0; 4 << 10];
        while stream.read(&mut unread).await.is_ok_and(|count| count > 0) {}
    };
    // One that goes on sending has had its time.
    let _ = timeout(PARTING_MAX, to_its_end).await;
}
