//! What ails a disk that can still be read.
#![allow(dead_code, reason = "tests/sick makes it so")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuser::Errno;

use crate::disk::Disk;
use crate::place::Place;

#[derive(Debug, Clone)]
pub(crate) struct Sick {
    how: How,
    /// Changes of the index that were made all the same, if they are.
    spared: Option<Arc<AtomicU64>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    /// Nothing on it can be changed; each try is answered with this.
    Unchanging(Errno),
    /// It takes writes. Flushes fail, and what they were to keep is gone, as when a page cache gives up.
    Unflushing,
}

impl Sick {
    pub(crate) fn all(how: How) -> Self {
        Self { how, spared: None }
    }

    /// Only the log is on the part of it that is sick. Counts what changes the index.
    pub(crate) fn but_the_index(how: How) -> (Self, Arc<AtomicU64>) {
        let spared = Arc::<AtomicU64>::default();
        (Self { how, spared: Some(Arc::clone(&spared)) }, spared)
    }

    /// What comes of a write, a new name, a length.
    pub(crate) fn change(&self, place: &Place) -> Result<(), Errno> {
        match self.how {
            _ if self.spares(place) => Ok(()),
            How::Unchanging(errno) => Err(errno),
            How::Unflushing => Ok(()),
        }
    }

    /// What comes of a flush of this file or directory.
    pub(crate) fn flush(&self, place: &Place, disk: &mut Disk, ino: u64) -> Result<(), Errno> {
        if self.spares(place) {
            return Ok(());
        }
        match self.how {
            How::Unchanging(errno) => Err(errno),
            How::Unflushing => {
                disk.forget_unflushed(ino);
                Err(Errno::EIO)
            }
        }
    }

    fn spares(&self, place: &Place) -> bool {
        let spared = self.spared.as_ref().filter(|_| place.is_of_index());
        spared.inspect(|spared| _ = spared.fetch_add(1, Ordering::Relaxed)).is_some()
    }
}
