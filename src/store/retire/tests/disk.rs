//! A disk of which one flush fails, the bytes being there all the same, and which knows whether a life has written
//! to its log yet.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Tap;

#[derive(Default)]
pub(super) struct Disk {
    fails: AtomicBool,
    is_written: AtomicBool,
}

impl Disk {
    /// Another life begins.
    pub(super) fn begin(&self) {
        self.is_written.store(false, Ordering::Relaxed);
    }

    /// Whether this life has written to a segment.
    pub(super) fn is_written(&self) -> bool {
        self.is_written.load(Ordering::Relaxed)
    }

    /// The next flush of a segment fails.
    pub(super) fn fail_once(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.fails.load(Ordering::Relaxed)
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|x| x == "log")
}

impl Tap for Disk {
    fn write(&self, path: &Path, _: u64, _: &[u8]) -> io::Result<()> {
        self.is_written.fetch_or(is_segment(path), Ordering::Relaxed);
        Ok(())
    }

    fn flush(&self, path: &Path) -> io::Result<()> {
        if is_segment(path) && self.fails.swap(false, Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn flushed(&self, _: &Path) {}
    fn renamed(&self, _: &Path, _: &Path) {}
}
