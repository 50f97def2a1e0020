//! Bytes in, lines out: what one connection has read and not yet handled.
//!
//! Memory is bounded: the buffer starts small, doubles while a line doesn't fit or reads fill it,
//! and never exceeds one line of the longest length and its newline. A longer line is reported
//! once, as soon as it is known to be too long, and skipped up to its newline without being kept.
//! Pure: reading is the caller's part.

use std::io::BufRead;

/// What a buffer starts with: a few dozen events.
const BYTES_FIRST: usize = 16 * 1024;

/// Up to this size the buffer grows because reads fill it; beyond only because a line is longer.
/// More than the kernel queues for a Unix socket by default, so one read can empty it.
const BYTES_READ_MAX: usize = 256 * 1024;

/// One step through the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A line, without its newline.
    Line(&'a [u8]),
    /// A line longer than the bound; this is how it begins. It is skipped to its newline.
    TooLong(&'a [u8]),
}

/// The bytes of a connection between reading and handling.
#[derive(Debug)]
pub(crate) struct LineBuffer {
    /// Storage; `start..end` holds bytes not yet handled.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// `start..scanned` is known to hold no newline.
    scanned: usize,
    /// Inside a line that was reported as too long.
    is_skipping: bool,
    /// The last read left no room: the next one gets more.
    was_filled: bool,
    line_bytes_max: usize,
}

impl LineBuffer {
    /// An empty buffer for lines of up to `line_bytes_max` bytes.
    pub(crate) fn new(line_bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            scanned: 0,
            is_skipping: false,
            was_filled: false,
            line_bytes_max,
        }
    }

    /// Where the next read goes. Never empty; call it when [`Self::next`] has nothing more.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            // At most one unfinished line is left to move.
            self.bytes.copy_within(self.start..self.end, 0);
            self.scanned -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.is_empty() {
            self.bytes.resize(BYTES_FIRST, 0);
        }
        if std::mem::take(&mut self.was_filled) && self.bytes.len() < BYTES_READ_MAX {
            self.bytes.resize(self.bytes.len() * 4, 0);
        }
        if self.end == self.bytes.len() {
            let grown = self.bytes.len().saturating_mul(2).min(self.line_bytes_max + 1);
            self.bytes.resize(grown.max(self.end + 1), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes that `count` bytes of [`Self::room`] were filled.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        self.was_filled = self.end == self.bytes.len();
        debug_assert!(self.end <= self.bytes.len());
    }

    /// The next complete line.
    pub(crate) fn next(&mut self) -> Option<Step<'_>> {
        loop {
            let unseen = &self.bytes[self.scanned..self.end];
            let (seen, found) = through_newline(unseen);
            let line = self.start..self.scanned + seen - usize::from(found);
            self.scanned += seen;
            if !found && line.len() <= self.line_bytes_max {
                if self.is_skipping {
                    self.start = self.scanned;
                }
                return None;
            }
            self.start = self.scanned;
            if std::mem::replace(&mut self.is_skipping, !found) {
                if found {
                    continue;
                }
                return None;
            }
            return if line.len() > self.line_bytes_max {
                Some(Step::TooLong(&self.bytes[line]))
            } else {
                Some(Step::Line(&self.bytes[line]))
            };
        }
    }

    /// What follows the last newline, when nothing more will come. Empty if nothing does.
    pub(crate) fn take_rest(&mut self) -> &[u8] {
        let rest = self.start..self.end;
        self.start = self.end;
        self.scanned = self.end;
        if self.is_skipping { &[] } else { &self.bytes[rest] }
    }

    /// Whether a line has begun and not ended.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.start < self.end || self.is_skipping
    }

    /// Bytes of memory held.
    pub(crate) fn bytes_held(&self) -> usize {
        self.bytes.len()
    }

    /// Gives the memory back if nothing is in it; `all` of it, or what a long line needed.
    pub(crate) fn shrink(&mut self, all: bool) {
        if self.start < self.end || (!all && self.bytes.len() <= BYTES_READ_MAX) {
            return;
        }
        self.bytes = Vec::new();
        (self.start, self.end, self.scanned) = (0, 0, 0);
    }
}

/// How many bytes there are up to and with the first newline, and whether there is one.
fn through_newline(bytes: &[u8]) -> (usize, bool) {
    // The standard library's own search, many bytes at a time; reading a slice cannot fail.
    let count = (&mut &*bytes).skip_until(b'\n').unwrap_or(bytes.len());
    (count, count > 0 && bytes[count - 1] == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(buffer: &mut LineBuffer, mut bytes: &[u8], out: &mut Vec<String>) {
        while !bytes.is_empty() {
            let room = buffer.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            buffer.filled(count);
            bytes = &bytes[count..];
            take(buffer, out);
        }
    }

    fn take(buffer: &mut LineBuffer, out: &mut Vec<String>) {
        while let Some(step) = buffer.next() {
            out.push(match step {
                Step::Line(line) => String::from_utf8_lossy(line).into_owned(),
                Step::TooLong(start) => {
                    format!("too long: {}", String::from_utf8_lossy(&start[..start.len().min(3)]))
                }
            });
        }
    }

    #[test]
    fn lines_come_out_whole_however_they_were_cut() {
        let text = "one\n\ntwo and a half\nthree\nrest";
        for cut in 1..text.len() {
            let mut buffer = LineBuffer::new(20);
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(cut) {
                feed(&mut buffer, piece, &mut out);
            }
            assert_eq!(out, ["one", "", "two and a half", "three"], "cut every {cut}");
            assert!(buffer.is_unfinished());
            assert_eq!(buffer.take_rest(), b"rest");
            assert!(!buffer.is_unfinished());
        }
    }

    #[test]
    fn a_line_of_exactly_the_bound_passes_and_one_byte_more_is_skipped() {
        for cut in [1, 7, 1000] {
            let mut buffer = LineBuffer::new(10);
            let mut out = Vec::new();
            for piece in b"0123456789\n0123456789x\nabcdefghijklmnopqrstuvwxyz\nlast\n".chunks(cut) {
                feed(&mut buffer, piece, &mut out);
            }
            assert_eq!(out, ["0123456789", "too long: 012", "too long: abc", "last"], "cut every {cut}");
        }
    }

    #[test]
    fn an_endless_line_is_reported_once_and_takes_no_more_memory_than_one_line() {
        let mut buffer = LineBuffer::new(250_000);
        let mut out = Vec::new();
        for _ in 0..100 {
            feed(&mut buffer, &[b'x'; 50_000], &mut out);
            assert!(buffer.bytes_held() <= 262_144, "{} bytes held", buffer.bytes_held());
        }
        assert_eq!(out, ["too long: xxx"]);
        assert!(buffer.is_unfinished());
        assert_eq!(buffer.take_rest(), b"");
        feed(&mut buffer, b"xx\nnext\n", &mut out);
        assert_eq!(out, ["too long: xxx", "next"]);
    }

    #[test]
    fn memory_of_a_long_line_is_given_back() {
        let mut buffer = LineBuffer::new(1 << 20);
        let mut out = Vec::new();
        let mut line = vec![b'y'; 600_000];
        line.push(b'\n');
        feed(&mut buffer, &line, &mut out);
        assert!(buffer.bytes_held() > 600_000);
        buffer.shrink(false);
        assert_eq!(buffer.bytes_held(), 0);
        feed(&mut buffer, b"half", &mut out);
        buffer.shrink(true);
        assert_eq!(buffer.take_rest(), b"half");
    }
}
