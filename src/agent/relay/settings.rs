//! What the relay is told: whom it serves, and every bound.

use std::sync::Arc;
use std::time::Duration;

use crate::intake;
use crate::secret::Secret;
use crate::tenant::Tenants;

/// What the relay needs to know, validated by its caller.
#[derive(Debug)]
pub struct Settings {
    /// Whose key is whose.
    pub tenants: Arc<Tenants>,
    /// Whether a key that no profile has is refused, and no key as well.
    pub is_strict: bool,
    /// What clients must show, if anything.
    pub token: Option<Secret>,
    /// Names by which it may be called, beside `localhost` and addresses; in lower case.
    pub hosts: Vec<String>,
    /// This process, by its random id: a request that carries it came from our own drain.
    pub instance: Arc<str>,
    /// The bounds.
    pub limits: Limits,
    /// Those of connections that become ones of lines.
    pub lines: intake::Limits,
}

/// Every bound of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. A further one takes the place of the one idle for longest.
    pub connections_max: usize,
    /// Bytes of a request's head, and headers in it.
    pub head_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// How long a connection may be without a complete head: a slow one, or none at all.
    pub head_time_max: Duration,
    /// How long a body may take.
    pub body_time_max: Duration,
    /// Bytes of bodies of all requests together, read and not yet answered; those of bodies that are no
    /// larger than a head may be come with the connection, as heads do.
    pub bodies_bytes_max: usize,
    /// Bytes of a body that is too large and is read and thrown away, so that its sender sees the answer.
    pub discarded_bytes_max: usize,
    /// Refused events that are kept as dead letters, a second.
    pub kept_refusals_per_second_max: u32,
    /// Refused events that are kept at once.
    pub kept_refusals_burst: u32,
    /// When stopping: how long idle connections are still read from, for requests on their way.
    pub stop_linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            // hyper's least; SDKs send about 1 KiB.
            head_bytes_max: 32 << 10,
            headers_max: 100,
            // Longer than clients keep connections that they don't use (Go: 90 s), so that they close first.
            head_time_max: Duration::from_secs(100),
            body_time_max: Duration::from_secs(30),
            bodies_bytes_max: 64 << 20,
            discarded_bytes_max: 8 << 20,
            kept_refusals_per_second_max: 10,
            kept_refusals_burst: 1_000,
            stop_linger: Duration::from_millis(100),
        }
    }
}
