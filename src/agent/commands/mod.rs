//! What the command line can ask for: one module each.

pub mod check;
pub mod run;
pub mod sandbox;
pub mod send;
pub mod status;

use std::io::{self, Write};

use crate::exit::{Exit, Failure, OrExit};

/// Prints to stdout. A reader that went away (`check | head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).or_exit(Exit::Io, "cannot write to stdout")
        }
        _ => Ok(()),
    }
}
