//! Every metric of the agent; nothing else names prometheus.
//!
//! Names are `revenium_agent_<noun>_<unit>[_total]`. All series exist from the start, and labels
//! take values of closed sets only or names from the configuration, so their number is
//! known at start. Live counts are raised by the methods here; what the queue counts itself is
//! filled in by [`Metrics::render`].

mod delivery;
mod family;
mod gateway;
mod labels;
mod process;
mod spool;
mod store;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Encoder, GaugeVec, Histogram, IntCounter, IntGauge, IntGaugeVec, Registry, TextEncoder};

use revenium_event::{Kind, Provider, Tokens};

use crate::admin::SpoolStatus;
use crate::queue::QueueStats;
use delivery::DeliveryMetrics;
use family::{counter_grid, counters, float_gauge_family, gauge, gauge_family, histogram, histograms};
pub use gateway::GatewayMetrics;
use labels::{DEAD_REASONS, OTHER, WARNINGS, dead_reason_index, kind_index, kind_names, label_index};
pub use labels::{Limit, Outcome, Passed, PauseReason, Rejected, TokenType, Via};
use process::ProcessMetrics;
use spool::SpoolMetrics;
use store::StoreMetrics;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label of a pause that holds for every route.
const ALL_ROUTES: &str = "all";

/// The agent's metrics. A handle: cheap to clone, all clones count together.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    accounts: Vec<String>,
    received: Vec<Vec<IntCounter>>,
    rejected: Vec<IntCounter>,
    delivered: Vec<IntCounter>,
    dead_lettered: Vec<IntCounter>,
    warnings: Vec<IntCounter>,
    tokens: Vec<Vec<IntCounter>>,
    limits: Vec<IntCounter>,
    gateway: Vec<IntCounter>,
    delivery: DeliveryMetrics,
    commit_duration: Histogram,
    flush_duration: Histogram,
    delivery_duration: Vec<Histogram>,
    received_to_delivered: Histogram,
    pace: GaugeVec,
    in_flight: IntGaugeVec,
    paused: IntGaugeVec,
    connections: IntGauge,
    effective_guarantee: IntGauge,
    disk_reserve_bytes: IntGauge,
    log_stalled: IntGauge,
    spool: SpoolMetrics,
    store: StoreMetrics,
    process: ProcessMetrics,
}

impl Metrics {
    /// Registers every series: for each of `profiles` and `accounts`, as the configuration names them.
    ///
    /// # Panics
    ///
    /// If two metrics have one name, which any test of this module would have found.
    pub fn new(profiles: &[String], accounts: &[String], version: &str) -> Self {
        let inner = Inner::new(profiles, accounts, version).expect("metric names are valid and differ");
        let metrics = Self { inner: Arc::new(inner) };
        metrics.set_pauses(&[]);
        metrics
    }

    /// `events` of one kind came in; `kind` is the kind's code.
    pub fn received(&self, via: Via, kind: u8, events: u64) {
        self.inner.received[via as usize][kind_index(kind)].inc_by(events);
    }

    /// An event was not taken, and its sender was told why.
    pub fn rejected(&self, reason: Rejected) {
        self.inner.rejected[reason as usize].inc();
    }

    /// The upstream confirmed an event that was received `age` ago.
    pub fn delivered(&self, kind: u8, age: Duration) {
        self.inner.delivered[kind_index(kind)].inc();
        self.inner.received_to_delivered.observe(age.as_secs_f64());
    }

    /// A record became a dead letter; `reason` is the code that the store keeps.
    pub fn dead_lettered(&self, reason: u8) {
        self.inner.dead_lettered[dead_reason_index(reason)].inc();
    }

    /// A field of an event broke a rule; the event was taken. `what` is the guard's label.
    pub fn event_warning(&self, what: &str) {
        self.inner.warnings[label_index(&WARNINGS, what)].inc();
    }

    /// An accepted event reports these tokens.
    pub fn tokens(&self, tokens: &Tokens) {
        // The place of a provider is where `Inner::new` put it: that of its list.
        let Some(provider) = Provider::ALL.iter().position(|known| *known == tokens.provider) else { return };
        let counters = &self.inner.tokens[provider];
        counters[TokenType::Input as usize].inc_by(tokens.input);
        counters[TokenType::Output as usize].inc_by(tokens.output);
        counters[TokenType::CacheRead as usize].inc_by(tokens.cache_read);
        counters[TokenType::CacheCreation as usize].inc_by(tokens.cache_creation);
    }

    /// A bound of intake held somebody back.
    pub fn limit_reached(&self, limit: Limit) {
        self.inner.limits[limit as usize].inc();
    }

    /// A request to the gateway, or a result of a batch that passed it, came to this.
    pub fn gateway(&self, passed: Passed) {
        self.inner.gateway[passed as usize].inc();
    }

    /// A record was sent, for whatever attempt, after the upstream had forgotten its Idempotency-Key.
    pub fn sent_after_key_expiry(&self) {
        self.inner.delivery.sent_after_key_expiry.inc();
    }

    /// So many deliveries left no receipt.
    pub fn receipts_missed(&self, receipts: u64) {
        self.inner.delivery.receipts_missed.inc_by(receipts);
    }

    /// A group waited so long from its hand-over to its acknowledgement.
    pub fn committed_in(&self, duration: Duration) {
        self.inner.commit_duration.observe(duration.as_secs_f64());
    }

    /// A flush to the device took so long.
    pub fn flushed_in(&self, duration: Duration) {
        self.inner.flush_duration.observe(duration.as_secs_f64());
    }

    /// One request to the upstream took so long and came to `outcome`.
    pub fn requested(&self, outcome: Outcome, duration: Duration) {
        self.inner.delivery_duration[outcome as usize].observe(duration.as_secs_f64());
    }

    /// The pace of a configured account, 0 if it is held to none, and its requests in flight.
    pub fn set_pace(&self, account: &str, requests_per_second: f64, in_flight: u64) {
        if self.inner.accounts.iter().any(|known| known == account) {
            self.inner.pace.with_label_values(&[account]).set(requests_per_second);
            let in_flight = i64::try_from(in_flight).unwrap_or(i64::MAX);
            self.inner.in_flight.with_label_values(&[account]).set(in_flight);
        }
    }

    /// All pauses there are, each as profile, route (a kind's code, `None` for the whole profile) and
    /// reason. Profiles that aren't configured are left out.
    pub fn set_pauses(&self, pauses: &[(&str, Option<u8>, PauseReason)]) {
        for profile in self.inner.store.configured() {
            for route in routes() {
                for reason in PauseReason::ALL {
                    let is_paused = pauses
                        .iter()
                        .any(|(of, code, why)| of == profile && why == reason && route_name(*code) == route);
                    let labels = [profile.as_str(), route, reason.name()];
                    self.inner.paused.with_label_values(&labels).set(i64::from(is_paused));
                }
            }
        }
    }

    /// A connection to the socket was opened.
    pub fn connection_opened(&self) {
        self.inner.connections.inc();
    }

    /// It ended, however.
    pub fn connection_closed(&self) {
        self.inner.connections.dec();
    }

    /// Connections that are open now.
    pub fn connections(&self) -> i64 {
        self.inner.connections.get()
    }

    /// A spool file was taken in, but for so many bad lines.
    pub fn spool_taken(&self, bad_lines: u64) {
        self.inner.spool.taken(bad_lines);
    }

    /// What lies in the spool folders.
    pub fn set_spool(&self, spool: &SpoolStatus) {
        self.inner.spool.set(spool);
    }

    /// Whether a flush reaches a device here.
    pub fn set_guarantee(&self, flushed: bool) {
        self.inner.effective_guarantee.set(i64::from(flushed));
    }

    /// How many free bytes of the log's file system are left to others.
    pub fn set_disk_reserve(&self, bytes: u64) {
        self.inner.disk_reserve_bytes.set(store::signed(bytes));
    }

    /// Whether the log does not move although events wait on it.
    pub fn set_stalled(&self, is_stalled: bool) {
        self.inner.log_stalled.set(i64::from(is_stalled));
    }

    /// Everything in Prometheus's text format. `stats` are the queue's counts now; without them
    /// (the log isn't open yet) its series keep their last values.
    pub fn render(&self, stats: Option<&QueueStats>, now_ms: u64) -> String {
        if let Some(stats) = stats {
            self.inner.store.fill(stats, now_ms);
        }
        self.inner.process.fill();
        text_of(&self.inner.registry)
    }
}

fn text_of(registry: &Registry) -> String {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        // Writing to memory doesn't fail; a family without series would.
        Err(error) => format!("# {error}\n"),
    }
}

impl Inner {
    fn new(profiles: &[String], accounts: &[String], version: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let kinds = &kind_names()[..];
        gateway::build(r, version)?;
        let metrics = Self {
            received: counter_grid(
                r,
                "events_received_total",
                "Events that came in, by way and kind.",
                ["via", "kind"],
                [&names(Via::ALL, Via::name), kinds],
            )?,
            rejected: counters(
                r,
                "events_rejected_total",
                "Events that were not taken; their senders were told.",
                "reason",
                &names(Rejected::ALL, Rejected::name),
            )?,
            delivered: counters(
                r,
                "events_delivered_total",
                "Events that the upstream confirmed.",
                "kind",
                kinds,
            )?,
            dead_lettered: counters(
                r,
                "events_dead_lettered_total",
                "Records that became dead letters.",
                "reason",
                &DEAD_REASONS,
            )?,
            warnings: counters(
                r,
                "event_warnings_total",
                "Fields that broke a rule, by what was done; their events were taken.",
                "what",
                &WARNINGS,
            )?,
            tokens: counter_grid(
                r,
                "tokens_total",
                "Tokens that accepted events report.",
                ["provider", "type"],
                [&Provider::ALL.map(Provider::label), &names(TokenType::ALL, TokenType::name)],
            )?,
            limits: counters(
                r,
                "limit_reached_total",
                "Times that a bound of intake held somebody back.",
                "limit",
                &names(Limit::ALL, Limit::name),
            )?,
            gateway: gateway::requests(r)?,
            delivery: DeliveryMetrics::new(r)?,
            // 50 µs to 1.6 s: from a cache that lies to a disk that struggles.
            commit_duration: histogram(
                r,
                "commit_duration_seconds",
                "From an event's hand-over to the log to its acknowledgement.",
                0.000_05,
                16,
            )?,
            flush_duration: histogram(
                r,
                "flush_duration_seconds",
                "Flushes of the log to the device.",
                0.000_05,
                16,
            )?,
            // 1 ms to 65 s, past the longest timeout of a request.
            delivery_duration: histograms(
                r,
                "delivery_duration_seconds",
                "Requests to the upstream, by what they came to.",
                (0.001, 17),
                "outcome",
                &names(Outcome::ALL, Outcome::name),
            )?,
            // 1 ms to 37 h: an outage of a day is still told apart.
            received_to_delivered: histogram(
                r,
                "received_to_delivered_seconds",
                "From an event's arrival to its confirmation.",
                0.001,
                28,
            )?,
            pace: float_gauge_family(
                r,
                "pace_requests_per_second",
                "Requests a second that the account is held to; 0 if to none.",
                "account",
                accounts,
            )?,
            in_flight: gauge_family(
                r,
                "requests_in_flight",
                "Requests that await their answer.",
                &["account"],
            )?,
            paused: gauge_family(
                r,
                "paused",
                "Whether delivery is paused, for a route or for all of a profile's.",
                &["profile", "route", "reason"],
            )?,
            connections: gateway::connections(r)?,
            effective_guarantee: gauge(
                r,
                "effective_guarantee",
                "1 if a flush reaches a device, 0 if the data directory's file system promises less.",
            )?,
            disk_reserve_bytes: gauge(
                r,
                "disk_reserve_bytes",
                "Free bytes of the log's file system that are left to others.",
            )?,
            log_stalled: gauge(
                r,
                "log_stalled",
                "1 if the log has not moved for half a minute although events wait on it.",
            )?,
            spool: SpoolMetrics::new(r)?,
            store: StoreMetrics::new(r, profiles)?,
            process: ProcessMetrics::new(r)?,
            accounts: accounts.to_vec(),
            registry,
        };
        for account in accounts {
            metrics.in_flight.get_metric_with_label_values(&[account.as_str()])?.set(0);
        }
        Ok(metrics)
    }
}

/// The routes that can be paused: each kind's, and all at once.
fn routes() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().map(Kind::name).chain([ALL_ROUTES])
}

fn route_name(code: Option<u8>) -> &'static str {
    code.map_or(ALL_ROUTES, |code| Kind::from_code(code).map_or(OTHER, Kind::name))
}

fn names<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|value| name(*value)).collect()
}
