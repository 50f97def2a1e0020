//! What ails a disk that can still be read.
#![allow(dead_code, reason = "tests/sick makes it so")]

use fuser::Errno;

use crate::disk::Disk;
use crate::place::Place;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sick {
    pub(crate) how: How,
    /// Only the log is on the part of it that is.
    pub(crate) spares_index: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    /// Nothing on it can be changed; each try is answered with this.
    Unchanging(Errno),
    /// It takes writes. Flushes fail, and what they were to keep is gone, as when a page cache gives up.
    Unflushing,
}

impl Sick {
    /// What comes of a write, a new name, a length.
    pub(crate) fn change(self, place: &Place) -> Result<(), Errno> {
        match self.how {
            How::Unchanging(errno) if !self.spares(place) => Err(errno),
            How::Unchanging(_) | How::Unflushing => Ok(()),
        }
    }

    /// What comes of a flush of this file or directory.
    pub(crate) fn flush(self, place: &Place, disk: &mut Disk, ino: u64) -> Result<(), Errno> {
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

    fn spares(self, place: &Place) -> bool {
        self.spares_index && place.is_of_index()
    }
}
