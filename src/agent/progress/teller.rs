//! Whether and when to tell of long work: a bar on a terminal, else a line each few seconds.

use std::time::Duration;

use super::line;

/// Between two lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What takes less has no bar: it would only flicker.
const BAR_AFTER: Duration = Duration::from_millis(200);

/// Tells of one piece of work. The bar goes with it.
#[derive(Debug)]
pub struct Teller {
    has_bar: bool,
    /// When the next line is due, after the work's beginning.
    due_at: Duration,
}

impl Teller {
    /// One for work that begins now; asks what standard error is.
    pub fn begin() -> Self {
        Self { has_bar: line::can_be_shown(), due_at: LINE_EVERY }
    }

    /// Draws what `bar` gives for so many columns, if there is a terminal; else true if a line is due.
    /// The work has taken so long by now.
    pub fn tell(&mut self, took: Duration, bar: impl FnOnce(usize) -> String) -> bool {
        if self.has_bar {
            if took >= BAR_AFTER {
                line::show(bar(line::columns()));
            }
            return false;
        }
        let is_due = took >= self.due_at;
        if is_due {
            self.due_at = took + LINE_EVERY;
        }
        is_due
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        line::clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_a_line_is_due_each_five_seconds() {
        let mut teller = Teller { has_bar: false, due_at: LINE_EVERY };
        let mut told = Vec::new();
        for ms in [0, 200, 4999, 5000, 5001, 9999, 17_000, 21_999, 22_000] {
            if teller.tell(Duration::from_millis(ms), |_| panic!("there is no terminal")) {
                told.push(ms);
            }
        }
        assert_eq!(told, [5000, 17_000, 22_000]);
    }
}
