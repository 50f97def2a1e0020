//! What the gateway is told, and its bounds.

use std::time::Duration;

/// What the gateway needs to know, validated by its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Names by which it may be called, beside `localhost` and addresses; in lower case.
    pub hosts: Vec<String>,
    /// Whether a call that says no credential's name is metered with the fingerprint of its key.
    pub credential_from_key: bool,
    /// The bounds.
    pub limits: Limits,
}

/// Every bound of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. A further one takes the place of the one idle for longest.
    pub connections_max: usize,
    /// Bytes of a request's head, and what is read or written at once.
    pub head_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Requests at a time on one connection of HTTP/2.
    pub streams_max: u32,
    /// How long a connection of HTTP/1.1 may be without a complete head: a slow one, or none at all.
    pub head_time_max: Duration,
    /// When stopping: how long idle connections are still read from, for requests on their way.
    pub stop_linger: Duration,
    /// When stopping: how long answers that are being given may take.
    pub stop_max: Duration,
    /// How long the rest of an answer is read that its client gave up, to know what it cost. Zero: not at all.
    pub read_on_time_max: Duration,
    /// Bytes of such a rest.
    pub read_on_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            // Claude Code sends about 2 KiB; larger bodies are read in pieces of this.
            head_bytes_max: 64 << 10,
            headers_max: 128,
            streams_max: 100,
            // Longer than clients keep connections that they don't use (Go: 90 s), so that they close first.
            head_time_max: Duration::from_secs(100),
            stop_linger: Duration::from_millis(100),
            stop_max: Duration::from_secs(600),
            read_on_time_max: Duration::ZERO,
            read_on_bytes_max: 1 << 20,
        }
    }
}
