//! Findings on a terminal: one line each, and what to do below those that are not well.

use std::fmt::Write;

use super::{Finding, Id, Level};
use crate::commands::plain;

/// Renders them all, with a line that counts them.
pub(super) fn render(findings: &[Finding], offline: bool) -> String {
    let width = Id::ALL.iter().map(|(_, name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { id, level, subject, cause, next } in findings {
        let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
        let cause = plain(&format!("{subject}{cause}"));
        let _ = writeln!(text, "{:<8} {:<width$} {cause}", level.name(), id.name());
        if let Some(next) = next {
            let _ = writeln!(text, "{:<8} {:<width$} -> {}", "", "", plain(next));
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    let unknown = match count(Level::Unknown) {
        0 => String::new(),
        unknown => format!(", {unknown} unknown"),
    };
    let asked = if offline { "; no upstream was asked (--offline)" } else { "" };
    let _ = writeln!(
        text,
        "\nproblems: {problems}, warnings: {warnings}{unknown}, ok: {}{asked}",
        count(Level::Ok)
    );
    text
}
