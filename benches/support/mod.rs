//! What the benchmarks share: events, floors, repeats, and the table that each prints.
//!
//! Every figure is printed with its ratio to a floor of the same run: appending the same bytes and
//! flushing once, measured in turns with the thing itself, because disks and neighbours drift by a
//! third within minutes. Ratios carry over to other machines, absolute figures do not.

#![allow(dead_code, reason = "each benchmark uses its part")]

pub(crate) mod event;
pub(crate) mod floor;
pub(crate) mod table;

use std::path::PathBuf;
use std::time::Duration;

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `REVENIUM_BENCH=quick`: seconds, to see that it runs.
    Quick,
    /// Enough repeats for medians that hold.
    Full,
}

impl Mode {
    /// What the environment asks for.
    pub(crate) fn of_environment() -> Self {
        match std::env::var("REVENIUM_BENCH").as_deref() {
            Ok("quick") => Self::Quick,
            Ok("full") | Err(_) => Self::Full,
            Ok(other) => panic!("REVENIUM_BENCH is quick or full, not {other}"),
        }
    }

    /// One of two sizes.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// A new folder on the disk that holds the build, never in memory; removed when dropped.
pub(crate) fn folder(name: &str) -> tempfile::TempDir {
    let at = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&at).expect("the build folder can be written");
    let stat = rustix::fs::statfs(&at).expect("the build folder can be looked at");
    // TMPFS_MAGIC: flushing costs nothing there, so every ratio would be wrong.
    assert_ne!(stat.f_type, 0x0102_1994, "{} is in memory; set CARGO_TARGET_DIR to a disk", at.display());
    tempfile::Builder::new().prefix(name).tempdir_in(at).expect("the build folder can be written")
}

/// The middle one; of an even number the upper.
pub(crate) fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    quantile(values, 0.5)
}

/// The value below which a share of `q` lies.
pub(crate) fn quantile<T: Copy + PartialOrd>(values: &[T], q: f64) -> T {
    assert!(!values.is_empty(), "something was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("no NaN is measured"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = (sorted.len() as f64 * q) as usize;
    sorted[index.min(sorted.len() - 1)]
}

/// So many a second.
#[expect(clippy::cast_precision_loss)]
pub(crate) fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
