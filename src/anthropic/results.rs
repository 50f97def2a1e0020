//! The results of a batch as they pass by: each line is a call of its own.
//!
//! A line is metered when all of it has passed, so whoever breaks the download off has metered what came.

use crate::batch::{self, Outcome};

/// Longest line that is read, in bytes: a message's longest answer, many times over.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Results that one piece of a body may bring: as many as a batch has calls at most. Compressed, a few bytes could be
/// any number.
const READ_MAX: usize = 100_000;

/// Gathers lines.
#[derive(Debug, Default)]
pub(crate) struct Results {
    line: Vec<u8>,
    is_too_long: bool,
    read: Vec<Outcome>,
    /// Lines that are no result, or could not be read, or are too many.
    odd: u64,
}

impl Results {
    /// The next piece.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.gather(&rest[..end]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        self.gather(rest);
    }

    /// The body has come to its end; its last line needs no newline.
    pub(crate) fn finish(&mut self) {
        self.end_line();
    }

    /// What was read since the last call: calls that were made, and how many lines could not be read.
    pub(crate) fn take(&mut self) -> (Vec<Outcome>, u64) {
        (std::mem::take(&mut self.read), std::mem::take(&mut self.odd))
    }

    fn gather(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            self.is_too_long = true;
            self.line = Vec::new();
        }
        if !self.is_too_long {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.is_too_long) {
            self.odd += 1;
        } else if !self.line.trim_ascii().is_empty() {
            match batch::read(&self.line) {
                Some(outcome) if self.read.len() < READ_MAX => self.read.push(outcome),
                _ => self.odd += 1,
            }
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> String {
        format!(
            "{{\"custom_id\":\"{name}\",\"result\":{{\"type\":\"succeeded\",\"message\":{{\"id\":\"msg_{name}\",\"type\":\"message\",\"usage\":{{\"input_tokens\":1,\"output_tokens\":2}}}}}}}}"
        )
    }

    fn names(results: &mut Results) -> (Vec<String>, u64) {
        let (read, odd) = results.take();
        (read.into_iter().map(|outcome| outcome.custom_id).collect(), odd)
    }

    #[test]
    fn every_line_is_read_wherever_the_bytes_are_split() {
        let body = format!("{}\n\n{}\r\nnonsense\n{}", line("a"), line("b"), line("c"));
        for at in 0..=body.len() {
            let mut results = Results::default();
            results.push(&body.as_bytes()[..at]);
            results.push(&body.as_bytes()[at..]);
            assert_eq!(names(&mut results), (vec!["a".to_owned(), "b".to_owned()], 1), "split at {at}");
            results.finish();
            assert_eq!(names(&mut results), (vec!["c".to_owned()], 0), "split at {at}");
        }
    }

    #[test]
    fn more_results_in_a_piece_than_a_batch_has_are_counted_and_not_kept() {
        let mut results = Results::default();
        let body = "{\"custom_id\":\"a\",\"result\":{\"type\":\"expired\"}}\n".repeat(READ_MAX + 2);
        results.push(body.as_bytes());
        let (read, odd) = results.take();
        assert_eq!((read.len(), odd), (READ_MAX, 2));
        results.push(line("b").as_bytes());
        results.finish();
        assert_eq!(names(&mut results), (vec!["b".to_owned()], 0));
    }

    #[test]
    fn a_line_without_end_is_not_gathered_and_the_next_is_read() {
        let mut results = Results::default();
        for _ in 0..40 {
            results.push(&vec![b'x'; 1 << 20]);
            assert!(results.line.capacity() <= 2 * LINE_BYTES_MAX);
        }
        results.push(format!("\n{}\n", line("a")).as_bytes());
        assert_eq!(names(&mut results), (vec!["a".to_owned()], 1));
    }
}
