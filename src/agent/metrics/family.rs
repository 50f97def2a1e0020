//! Families of series, registered with every value of their labels, so that each is there from the
//! start: an alert on a series that is not there yet never fires.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result,
};

pub(super) const PREFIX: &str = "revenium_agent_";

fn opts(name: &str, help: &str) -> Opts {
    // The kernel's numbers go by the names that every exporter uses.
    let prefix = if name.starts_with("process_") { "" } else { PREFIX };
    Opts::new(format!("{prefix}{name}"), help)
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    let counter = IntCounter::with_opts(opts(name, help))?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

/// One counter for each of `values`, in their order.
pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: &[&str],
) -> Result<Vec<IntCounter>> {
    let family = IntCounterVec::new(opts(name, help), &[label])?;
    registry.register(Box::new(family.clone()))?;
    values.iter().map(|value| family.get_metric_with_label_values(&[value])).collect()
}

/// One counter for each pair, in order.
pub(super) fn counter_grid(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: [&str; 2],
    values: [&[&str]; 2],
) -> Result<Vec<Vec<IntCounter>>> {
    let family = IntCounterVec::new(opts(name, help), &labels)?;
    registry.register(Box::new(family.clone()))?;
    let row = |first: &&str| {
        values[1].iter().map(|second| family.get_metric_with_label_values(&[*first, *second])).collect()
    };
    values[0].iter().map(row).collect()
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge> {
    let gauge = IntGauge::with_opts(opts(name, help))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

pub(super) fn float_gauge(registry: &Registry, name: &str, help: &str) -> Result<Gauge> {
    let gauge = Gauge::with_opts(opts(name, help))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// A family of whole numbers; the caller sets each series once to make it appear.
pub(super) fn gauge_family(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec> {
    let family = IntGaugeVec::new(opts(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn float_gauge_family(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: &[String],
) -> Result<GaugeVec> {
    let family = GaugeVec::new(opts(name, help), &[label])?;
    registry.register(Box::new(family.clone()))?;
    for value in values {
        family.get_metric_with_label_values(&[value.as_str()])?.set(0.0);
    }
    Ok(family)
}

/// A histogram whose buckets double from `first` seconds.
pub(super) fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    first: f64,
    buckets: usize,
) -> Result<Histogram> {
    let opts =
        HistogramOpts::from(opts(name, help)).buckets(prometheus::exponential_buckets(first, 2.0, buckets)?);
    let histogram = Histogram::with_opts(opts)?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

/// Histograms by outcome, in the order of `values`.
pub(super) fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    (first, buckets): (f64, usize),
    label: &str,
    values: &[&str],
) -> Result<Vec<Histogram>> {
    let opts =
        HistogramOpts::from(opts(name, help)).buckets(prometheus::exponential_buckets(first, 2.0, buckets)?);
    let family = HistogramVec::new(opts, &[label])?;
    registry.register(Box::new(family.clone()))?;
    values.iter().map(|value| family.get_metric_with_label_values(&[value])).collect()
}
