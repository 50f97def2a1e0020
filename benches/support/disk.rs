//! One event appended to a prewritten file and flushed: what durable costs here, now.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::path::Path;
use std::time::Duration;

use super::support::event::events;
use super::support::floor::Floor;

/// Takes of `count` flushes, beside `dir`.
pub(crate) fn flushes(dir: &Path, count: usize) -> Vec<Duration> {
    let mut floor = Floor::new(dir).expect("the floor's files can be written");
    floor.prewritten(&events(3, count)).expect("the disk takes it")
}

/// Flushes a second.
pub(crate) fn flushes_per_second(took: &[Duration]) -> f64 {
    super::support::rate(took.len(), took.iter().sum())
}
