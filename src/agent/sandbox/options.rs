//! How a stand-in behaves.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::dedup::Window;
use super::faults::Script;
use super::ledger::Detail;
use super::pace::ErrorPattern;
use super::show::Received;

/// The API key that a stand-in accepts unless told otherwise.
pub const SANDBOX_KEY: &str = "hak_sandbox";

/// How a [`Sandbox`](super::Sandbox) behaves. Start from [`Options::default`] (as Revenium is
/// known to behave) or [`Options::bench`] (as fast as it can answer).
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; a loopback address. Port 0 picks one.
    pub listen: SocketAddr,
    /// API keys and the account each belongs to. Limits and windows are per account.
    pub keys: BTreeMap<String, String>,
    /// Whether bodies are validated. Without it any body is stored.
    pub has_rules: bool,
    /// How long every answer takes. The record is stored at once.
    pub latency: Duration,
    /// Requests an account may make in one second; 0: no limit, and no X-RateLimit headers.
    pub requests_per_second: u32,
    /// When broken requests block an account.
    pub error_pattern: Option<ErrorPattern>,
    /// How long an Idempotency-Key is remembered.
    pub idempotency_window: Window,
    /// How long a `transactionId` is remembered. Revenium doesn't say.
    pub transaction_window: Window,
    /// What goes wrong.
    pub faults: Script,
    /// Told of every attempt that got an answer of the stand-in's own (not of injected ones).
    pub on_received: Option<OnReceived>,
    /// How much the ledger knows.
    pub detail: Detail,
    /// The most keys, and the most transactions, that the ledger and the windows hold.
    pub records_max: usize,
    /// A file to append to, see [`Entry`](super::Entry).
    pub journal: Option<PathBuf>,
    /// Whether the journal's billed lines carry the body.
    pub journal_has_bodies: bool,
    /// Connections beyond this are closed at once.
    pub connections_max: usize,
    /// Bodies beyond this get 413.
    pub body_bytes_max: usize,
    /// The time for windows and timestamps.
    pub clock: Clock,
}

impl Default for Options {
    /// Validates, deduplicates and limits as Revenium is known to; nothing goes wrong.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            keys: BTreeMap::from([(SANDBOX_KEY.to_owned(), "sandbox".to_owned())]),
            has_rules: true,
            latency: Duration::ZERO,
            requests_per_second: 1_000,
            error_pattern: Some(ErrorPattern::default()),
            idempotency_window: Window::For(Duration::from_secs(24 * 3_600)),
            transaction_window: Window::Unlimited,
            faults: Script::default(),
            on_received: None,
            detail: Detail::Full,
            records_max: 1_000_000,
            journal: None,
            journal_has_bodies: false,
            connections_max: 4_096,
            // Revenium's own limit isn't documented; ours for a body is 1 MiB.
            body_bytes_max: 2 << 20,
            clock: Clock::system(),
        }
    }
}

impl Options {
    /// Takes everything, counts it and answers after `latency`: no rules, windows or limits.
    pub fn bench(latency: Duration) -> Self {
        Self {
            has_rules: false,
            latency,
            requests_per_second: 0,
            error_pattern: None,
            idempotency_window: Window::Off,
            transaction_window: Window::Off,
            detail: Detail::Counts,
            ..Self::default()
        }
    }

    /// For a crash test: rules and windows, no limits, and the faults of [`Script::storm`].
    pub fn storm(seed: u64) -> Self {
        Self { requests_per_second: 0, error_pattern: None, faults: Script::storm(seed), ..Self::default() }
    }
}

/// A function that is called for every received event, in the task that answers it: it must not block.
#[derive(Clone)]
pub struct OnReceived(Arc<dyn Fn(&Received) + Send + Sync>);

impl OnReceived {
    /// Calls `hear` for every received event.
    pub fn new(hear: impl Fn(&Received) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    pub(super) fn call(&self, received: &Received) {
        (self.0)(received);
    }
}

impl fmt::Debug for OnReceived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnReceived")
    }
}
