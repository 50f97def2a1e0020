//! The line of a terminal that changes, and what is written above it.
//!
//! There is one for the process, at the end of standard error. Whatever else is written there while it
//! shows goes by way of [`say`] or [`Above`], which take it away first and draw it again after. No cursor
//! is hidden and no mode of the terminal is changed, so a process that is killed leaves it in order.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the line shows; empty if there is none.
static SHOWN: Mutex<String> = Mutex::new(String::new());

/// Back to the line's beginning, and away with what is there.
const CLEAR: &str = "\r\x1b[K";

/// What terminals have that do not say.
const COLUMNS: usize = 80;

fn shown() -> MutexGuard<'static, String> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether standard error is a terminal that can change a line, and whose user has nothing against it.
pub fn can_be_shown() -> bool {
    let changes_lines = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    io::stderr().is_terminal() && changes_lines && std::env::var_os("NO_COLOR").is_none()
}

/// So many columns a line may have. The last one is left free, since some terminals go on to the next
/// line as soon as it is written.
pub fn columns() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { COLUMNS } else { columns - 1 }
}

/// Shows `text` on the line, in place of what it showed.
pub fn show(text: String) {
    let mut shown = shown();
    if *shown == text {
        return;
    }
    // Who closed their terminal is not told.
    let _ = io::stderr().lock().write_all(format!("{CLEAR}{text}").as_bytes());
    *shown = text;
}

/// Takes the line away.
pub fn clear() {
    let mut shown = shown();
    if !shown.is_empty() {
        let _ = io::stderr().lock().write_all(CLEAR.as_bytes());
        shown.clear();
    }
}

/// Says `text` on standard error, on a line of its own above the one that changes.
pub fn say(text: &str) {
    let _ = Above.write_all(format!("{text}\n").as_bytes());
}

/// Standard error for whole lines, each in one write, above the one that changes.
#[derive(Debug, Clone, Copy)]
pub struct Above;

impl Write for Above {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let shown = shown();
        if shown.is_empty() {
            return io::stderr().write(lines);
        }
        io::stderr().lock().write_all(&[CLEAR.as_bytes(), lines, shown.as_bytes()].concat())?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
