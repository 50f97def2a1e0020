//! Questions to a person at a terminal, and a line that is typed and not shown.
//!
//! The echo is off before the question is asked, so that nothing typed in a hurry is seen; Ctrl-C comes as a
//! byte, so that the terminal is as it was unless another process ends this one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

/// What came of asking.
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C, or Ctrl-D on nothing.
    Cancelled,
}

/// Asks on the terminal of this process for a line of at most `bytes_max`; what is beyond is dropped.
pub(super) fn hidden(question: &str, bytes_max: usize) -> io::Result<Typed> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let typed = terminal.write_all(question.as_bytes()).and_then(|()| read(&terminal, bytes_max));
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    terminal.write_all(b"\n")?;
    typed
}

/// Whether a person says yes, which Enter alone is; `false` where nobody can be asked.
pub(super) fn agrees(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Ok(false);
    }
    print!("{question} [Y/n] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer)?;
    Ok(read > 0 && matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes"))
}

/// Reads a line as a terminal without editing of its own gives them.
fn read(from: impl Read, bytes_max: usize) -> io::Result<Typed> {
    let mut line = Vec::new();
    for byte in BufReader::new(from).bytes() {
        match byte? {
            b'\r' | b'\n' => break,
            0x03 => return Ok(Typed::Cancelled),
            0x04 if line.is_empty() => return Ok(Typed::Cancelled),
            0x04 => break,
            0x08 | 0x7f => _ = line.pop(),
            0x15 => line.clear(),
            byte if line.len() < bytes_max => line.push(byte),
            _ => {}
        }
    }
    Ok(Typed::Line(String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_line_can_be_mended_ended_and_cancelled() {
        for (typed, line) in [
            (&b"key\rmore"[..], Some("key")),
            (b"key\n", Some("key")),
            (b"kex\x7fy\n", Some("key")),
            (b"\x7fother\x15key\x04", Some("key")),
            (b"key and what is too long\n", Some("key and ")),
            (b"key\x03", None),
            (b"\x04", None),
        ] {
            let line = line.map(str::to_owned);
            match read(typed, 8).expect("bytes are read") {
                Typed::Line(read) => assert_eq!(Some(read), line),
                Typed::Cancelled => assert_eq!(None, line),
            }
        }
    }
}
