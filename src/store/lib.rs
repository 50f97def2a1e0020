//! A durable queue of opaque records: a flushed segment log, indexed by sled.

mod error;
mod stats;
mod types;

pub use error::{AppendError, ReadError};
pub use stats::{LaneStats, QueueStats};
pub use types::*;
