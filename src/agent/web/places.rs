//! Who is connected, and since when without a request.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::intake::Observer;

/// A connection this long without a request may have to make room for another.
const EVICTABLE_AFTER: Duration = Duration::from_millis(200);

/// How long to wait before looking for one again.
const EVICT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The places that there are.
pub(super) struct Places {
    max: usize,
    next: AtomicU64,
    began: Instant,
    taken: Mutex<BTreeMap<u64, Arc<Taken>>>,
}

struct Taken {
    /// Requests that are being answered.
    requests: AtomicUsize,
    /// When the last one was answered, in milliseconds since `began`.
    idle_since_ms: AtomicU64,
    evicted: Notify,
}

/// One connection's place, given back when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    taken: Arc<Taken>,
    observer: Arc<dyn Observer>,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, next: AtomicU64::new(0), began: Instant::now(), taken: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Self>, observer: Arc<dyn Observer>) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let taken = Arc::new(Taken {
            requests: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(self.now_ms()),
            evicted: Notify::new(),
        });
        self.lock().insert(number, taken.clone());
        observer.connection_opened();
        Place { places: self.clone(), number, taken, observer }
    }

    /// Returns once there is a place, having ended the connection that is idle for longest if need be.
    pub(super) async fn make_room(&self, observer: &dyn Observer) {
        while !self.has_room() {
            observer.connection_refused(revenium_event::line::Code::Busy);
            tokio::time::sleep(EVICT_AGAIN_AFTER).await;
        }
    }

    /// How many there are now.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn has_room(&self) -> bool {
        self.lock().len() < self.max || self.evict()
    }

    /// Ends the connection that is idle for longest; false if none is idle.
    pub(super) fn evict(&self) -> bool {
        let mut taken = self.lock();
        let idle_since = |(number, taken): (&u64, &Arc<Taken>)| {
            let since = taken.idle_since_ms.load(Ordering::Relaxed);
            (!taken.is_busy()).then_some((since, *number))
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
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Taken>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }
}

impl Place {
    /// Says that a request is being answered, until it is dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.taken.requests.fetch_add(1, Ordering::Relaxed);
        Busy { places: self.places.clone(), taken: self.taken.clone() }
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.taken.is_busy()
    }

    /// Returns once another connection needs this place.
    pub(super) fn evicted(&self) -> impl Future<Output = ()> + '_ {
        self.taken.evicted.notified()
    }
}

/// A request that is being answered.
pub(crate) struct Busy {
    places: Arc<Places>,
    taken: Arc<Taken>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.taken.idle_since_ms.store(self.places.now_ms(), Ordering::Relaxed);
        self.taken.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.number);
        self.observer.connection_closed();
    }
}
