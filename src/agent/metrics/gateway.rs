//! What a gateway in a process of its own counts, under the names that the agent has for one which it hosts.

use std::sync::Arc;

use prometheus::{IntCounter, IntGauge, Registry, Result};

use super::family::{counters, gauge, gauge_family};
use super::labels::Passed;
use super::process::ProcessMetrics;
use super::{names, text_of};
use crate::gateway::CameTo;

/// A gateway's metrics. A handle: cheap to clone, all clones count together.
#[derive(Clone)]
pub struct GatewayMetrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    requests: Vec<IntCounter>,
    connections: IntGauge,
    process: ProcessMetrics,
}

impl GatewayMetrics {
    /// Registers every series.
    ///
    /// # Panics
    ///
    /// If two metrics have one name, which any test of this module would have found.
    pub fn new(version: &str) -> Self {
        Self { inner: Arc::new(Inner::new(version).expect("metric names are valid and differ")) }
    }

    /// A request, or a result of a batch that passed, came to this.
    pub fn came_to(&self, what: CameTo) {
        self.inner.requests[Passed::from(what) as usize].inc();
    }

    /// A connection was opened.
    pub fn connection_opened(&self) {
        self.inner.connections.inc();
    }

    /// It ended, however.
    pub fn connection_closed(&self) {
        self.inner.connections.dec();
    }

    /// Everything in Prometheus's text format.
    pub fn render(&self) -> String {
        self.inner.process.fill();
        text_of(&self.inner.registry)
    }
}

impl Inner {
    fn new(version: &str) -> Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        build(r, version)?;
        Ok(Self {
            requests: requests(r)?,
            connections: connections(r)?,
            process: ProcessMetrics::new(r)?,
            registry,
        })
    }
}

pub(super) fn build(r: &Registry, version: &str) -> Result<()> {
    let build = gauge_family(r, "build_info", "Always 1; the version is a label.", &["version"])?;
    build.with_label_values(&[version]).set(1);
    Ok(())
}

pub(super) fn requests(r: &Registry) -> Result<Vec<IntCounter>> {
    counters(
        r,
        "gateway_requests_total",
        "Requests to the gateway, results of batches among them, by what they came to.",
        "result",
        &names(Passed::ALL, Passed::name),
    )
}

pub(super) fn connections(r: &Registry) -> Result<IntGauge> {
    gauge(r, "connections", "Open connections to the socket, the relay and the gateway.")
}

impl From<CameTo> for Passed {
    fn from(what: CameTo) -> Self {
        match what {
            CameTo::Metered => Self::Metered,
            CameTo::Left => Self::Left,
            CameTo::Lost => Self::Lost,
            CameTo::Passed => Self::Other,
        }
    }
}
