//! A file that is sent, and how much of it has been read.

use std::fs::File;
use std::io::{self, Read};
use std::time::Instant;

use crate::progress::{Progress, Teller, line};

/// Read at once: about as many events as are outstanding, so that what is read is not far ahead of what is
/// durable.
const READ_BYTES_MAX: usize = 16 << 10;

/// Reads a file and shows how far it is. The bar goes with it.
pub(super) struct Counted {
    file: File,
    /// As it was when it was opened; one that grows is read to its end all the same.
    bytes: u64,
    read_bytes: u64,
    began: Instant,
    teller: Teller,
}

impl Counted {
    /// What has no size of its own, such as a pipe, is given back.
    pub(super) fn new(file: File) -> Result<Self, File> {
        match file.metadata() {
            Ok(meta) if meta.is_file() => {
                let (began, teller) = (Instant::now(), Teller::begin());
                Ok(Self { file, bytes: meta.len(), read_bytes: 0, began, teller })
            }
            _ => Err(file),
        }
    }

    fn show(&mut self) {
        let took = self.began.elapsed();
        let progress = Progress { done: self.read_bytes, total: self.bytes.max(self.read_bytes), took };
        let words = progress.of_bytes();
        if self.teller.tell(took, |columns| progress.bar("sending", &words, columns)) {
            line::say(&format!("sending: {words}"));
        }
    }
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes_max = into.len().min(READ_BYTES_MAX);
        let count = self.file.read(&mut into[..bytes_max])?;
        self.read_bytes += count as u64;
        self.show();
        Ok(count)
    }
}
