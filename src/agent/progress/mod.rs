//! How far long work has come: in words, and as a bar.
//!
//! Pure but for [`line`](mod@line), the line of a terminal that changes, and [`Teller`], which knows whether there
//! is one. The same words go to the bar, into a log line, to `status` and to the service manager.

pub mod line;
mod teller;

use std::time::Duration;

pub use self::teller::Teller;
use crate::commands::status::{age, bytes};

/// What took less says nothing of how long the rest takes.
const ESTIMATE_AFTER: Duration = Duration::from_secs(1);

/// Cells of a bar. With fewer it would say nothing that the percentage doesn't.
const CELLS_MIN: usize = 10;
const CELLS_MAX: usize = 40;

/// A piece of work under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is done, in whatever unit.
    pub done: u64,
    /// What there is to do in all. It may grow meanwhile.
    pub total: u64,
    /// Since it began.
    pub took: Duration,
}

impl Progress {
    /// Rounded down, so that 100 is the end. Of nothing all is done.
    pub fn percent(self) -> u64 {
        let Self { done, total, .. } = self;
        let hundred_times = u128::from(done.min(total)) * 100;
        hundred_times
            .checked_div(u128::from(total))
            .map_or(100, |percent| u64::try_from(percent).unwrap_or(100))
    }

    /// How long the rest takes if it goes on as it did.
    pub fn left(self) -> Option<Duration> {
        let left = u128::from(self.total.saturating_sub(self.done));
        let ms = (self.took.as_millis() * left).checked_div(u128::from(self.done))?;
        (self.took >= ESTIMATE_AFTER).then(|| Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
    }

    /// What was done in a second.
    pub fn per_second(self) -> Option<u64> {
        let each = (u128::from(self.done) * 1000).checked_div(self.took.as_millis())?;
        (self.took >= ESTIMATE_AFTER).then(|| u64::try_from(each).unwrap_or(u64::MAX))
    }

    /// `41 % of 1.2 GiB, 12s to go`.
    pub fn of_bytes(self) -> String {
        format!("{} % of {}{}", self.percent(), bytes(self.total), self.to_go())
    }

    /// `120 of 300 events, 40 %, 50/s, 4s to go`.
    pub fn of(self, what: &str) -> String {
        let Self { done, total, .. } = self;
        let pace = self.per_second().map_or_else(String::new, |each| format!(", {each}/s"));
        format!("{done} of {total} {what}, {} %{pace}{}", self.percent(), self.to_go())
    }

    fn to_go(self) -> String {
        self.left().map_or_else(String::new, |left| format!(", {} to go", age(left.as_secs())))
    }

    /// The bar with `name` before and `words` behind it, in so many columns at most.
    pub fn bar(self, name: &str, words: &str, columns: usize) -> String {
        // Brackets and spaces.
        let taken = name.chars().count() + words.chars().count() + 4;
        let cells = columns.saturating_sub(taken).min(CELLS_MAX);
        let text = if cells < CELLS_MIN {
            format!("{name}: {words}")
        } else {
            let full = cells * usize::try_from(self.percent()).unwrap_or(100) / 100;
            format!("{name} [{}{}] {words}", "#".repeat(full), ".".repeat(cells - full))
        };
        text.chars().take(columns).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(took_ms: u64, done: u64, total: u64) -> Progress {
        Progress { done, total, took: Duration::from_millis(took_ms) }
    }

    #[test]
    fn a_percentage_is_100_only_at_the_end() {
        for (done, total, percent) in [
            (0, 0, 100),
            (5, 0, 100),
            (0, 3, 0),
            (999, 1000, 99),
            (u64::MAX - 1, u64::MAX, 99),
            (u64::MAX, u64::MAX, 100),
            (7, 3, 100),
        ] {
            assert_eq!(after(0, done, total).percent(), percent, "{done} of {total}");
        }
    }

    #[test]
    fn the_rest_takes_as_long_as_what_is_done_did() {
        let s = |s| Some(Duration::from_secs(s));
        for (took_ms, done, total, left) in [
            (2000, 1, 4, s(6)),
            (2000, 4, 4, s(0)),
            (2000, 5, 4, s(0)),
            (2000, 0, 4, None),
            (999, 1, 4, None),
            (u64::MAX, 1, u64::MAX, Some(Duration::from_millis(u64::MAX))),
        ] {
            assert_eq!(after(took_ms, done, total).left(), left, "{took_ms} ms, {done} of {total}");
        }
        assert_eq!(after(2000, 5, 9).per_second(), Some(2));
        assert_eq!(after(0, 5, 9).per_second(), None);
        assert_eq!(after(u64::MAX, u64::MAX, 9).per_second(), Some(1000));
    }

    #[test]
    fn words_say_how_far_how_fast_and_how_long() {
        assert_eq!(after(500, 0, 0).of_bytes(), "100 % of 0 B");
        assert_eq!(after(4100, 41, 100).of_bytes(), "41 % of 100 B, 5s to go");
        assert_eq!(after(500, 120, 300).of("events"), "120 of 300 events, 40 %");
        assert_eq!(after(2400, 120, 300).of("events"), "120 of 300 events, 40 %, 50/s, 3s to go");
        assert_eq!(after(100_000, 1, 300).of("events"), "1 of 300 events, 0 %, 0/s, 8h 18m to go");
    }

    #[test]
    fn a_bar_fits_into_its_columns() {
        let half = after(0, 50, 100);
        let whole = "log [####################....................] 50 %";
        for (columns, bar) in [
            (0, ""),
            (5, "log: "),
            (20, "log: 50 %"),
            (21, "log [#####.....] 50 %"),
            (
                80,
                &whole
                    .replace("####################....................", &("#".repeat(20) + &".".repeat(20))),
            ),
        ] {
            assert_eq!(half.bar("log", "50 %", columns), bar);
        }
        assert_eq!(after(0, 0, 0).bar("log", "", 17), "log [##########] ");
    }
}
