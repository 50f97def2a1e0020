//! A durable queue of opaque records: a flushed segment log, indexed by sled.
//!
//! [`Store::append`] returns once the records are flushed to the device. They stay until
//! [`Store::settle`] says how they ended; whatever happens in between, they come back with the
//! same bytes and keys. What a record means is the caller's business.
//!
//! ```text
//! append ─▶ inbox ─▶ committer: dedup, chunk, write, fdatasync, watermark ─▶ acknowledged
//!                        │ durable end
//!                        ▼
//!                    indexer: follows the log, some chunks a sled batch ─▶ claim
//!                        │ applied
//!                        ▼
//!                    maintainer: checkpoints, retires, relocates, restates     preparer: segments in advance
//! ```
//!
//! The log is the truth: `file` (positioned I/O), `segment` (files), `chunk` (what a commit
//! appends), `scan` (walking past damage), `watermark`, `recover` (opening). What we know about
//! it: `index` (sled), `dedup` (resends). It is not a general queue: one process, one drain.

mod checkpoint;
mod chunk;
mod claim;
mod committer;
mod dedup;
mod error;
mod file;
mod index;
mod indexer;
mod maintainer;
mod options;
mod prepare;
mod progress;
mod quarantine;
mod ranges;
mod recover;
mod relocate;
mod repair;
mod restate;
mod retire;
mod scan;
#[cfg(all(test, shuttle))]
mod schedule_tests;
mod segment;
mod shared;
mod space;
mod stats;
mod store;
mod survey;
mod types;
mod watched;
mod watermark;

pub use error::{AppendError, ReadError};
pub use options::{OnFlush, Options, Tap};
pub use progress::{IndexStage, Opening, Progress};
pub use recover::OpenError;
pub use repair::Held;
pub use stats::{LaneStats, Ledger, QueueStats};
pub use store::{STATE_BYTES_MAX, Store};
pub use survey::{
    Books, Damage, Exported, Fate, Inspection, LaneBooks, Place, SurveyError, Traced, Tracing, What, export,
    trace,
};
pub use types::*;
