//! Answers as they come in: bytes to lines, bounded.

/// Longest answer that is understood, in bytes. The agent's are below 2 KiB.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What is read at a time.
const READ_BYTES: usize = 8 << 10;

/// Bytes that were read and not yet looked at.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// A line that is too long to be an agent's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Inbox {
    /// Where the next read goes; never empty.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.bytes.len() < self.end + READ_BYTES {
            self.bytes.resize(self.end + READ_BYTES, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes that so many bytes of [`Self::room`] were filled.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// The next complete line, without its newline.
    pub(crate) fn next(&mut self) -> Option<Result<&[u8], TooLong>> {
        let unseen = &self.bytes[self.start..self.end];
        let Some(length) = unseen.iter().position(|byte| *byte == b'\n') else {
            return (unseen.len() > ANSWER_BYTES_MAX).then_some(Err(TooLong));
        };
        let line = self.start..self.start + length;
        self.start = line.end + 1;
        Some(Ok(&self.bytes[line]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_were_cut_and_an_endless_one_is_noticed() {
        for cut in 1..12 {
            let mut inbox = Inbox::default();
            let mut out = Vec::new();
            for piece in b"one\n\nthree and more\nrest".chunks(cut) {
                inbox.room()[..piece.len()].copy_from_slice(piece);
                inbox.filled(piece.len());
                while let Some(line) = inbox.next() {
                    out.push(String::from_utf8(line.unwrap().to_vec()).unwrap());
                }
            }
            assert_eq!(out, ["one", "", "three and more"], "cut every {cut}");
        }
        let mut inbox = Inbox::default();
        let mut reads = 0;
        while inbox.next().is_none() {
            let count = inbox.room().len();
            inbox.filled(count);
            reads += 1;
            assert!(reads < 20, "bounded");
        }
        assert_eq!(inbox.next(), Some(Err(TooLong)));
    }
}
