//! The key that `setup` is given: from a file, standard input, the environment, or typed unseen.
//!
//! Not from the command line, which every user of the machine can read while the command runs.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use super::prompt::{self, Typed};
use crate::exit::{Exit, Failure, OrExit};
use crate::keys::{self, KEY_BYTES_MAX};
use crate::secret::Secret;

/// The variable that the agent and Revenium's SDKs read it from.
const VARIABLE: &str = "REVENIUM_METERING_API_KEY";

/// How often a person may mistype it.
const TRIES_MAX: u32 = 3;

/// The key in `file` (`-` is standard input), else the environment's, if there is one.
pub(super) fn given(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let Some(file) = file else {
        let key = std::env::var_os(VARIABLE).filter(|key| !key.is_empty());
        let text = key.map(|key| key.to_string_lossy().into_owned());
        let check = |text: String| keys::check(&text).or_exit(Exit::Failure, format_args!("${VARIABLE}"));
        return text.map(check).transpose();
    };
    let (text, name) = if file == Path::new("-") {
        (read(io::stdin().lock()), "standard input".to_owned())
    } else {
        (File::open(file).and_then(read), file.display().to_string())
    };
    let text = text.or_exit(Exit::Io, format_args!("cannot read the key from {name}"))?;
    keys::check(&text).map(Some).or_exit(Exit::Failure, format_args!("the key from {name} cannot be used"))
}

/// The key as a person types it.
pub(super) fn asked() -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format_args!(
                "there is no key: give --key-file FILE (- is standard input), set {VARIABLE}, or run this in a \
                 terminal to be asked for it"
            ),
        ));
    }
    for tries_left in (0..TRIES_MAX).rev() {
        let typed = prompt::hidden("Revenium API key (it is not shown): ", 2 * KEY_BYTES_MAX)
            .or_exit(Exit::Io, "cannot ask for the key")?;
        let Typed::Line(text) = typed else {
            return Err(Failure::new(Exit::Interrupted, "cancelled; nothing was written"));
        };
        match keys::check(&text) {
            Ok(key) => return Ok(key),
            Err(error) if tries_left > 0 => eprintln!("{error}; try again"),
            Err(error) => return Err(error).or_exit(Exit::Failure, "nothing was written"),
        }
    }
    Err(Failure::new(Exit::Bug, "no try was left"))
}

fn read(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    // Room for space around the key; more than that is cut and then refused as too long.
    from.take(2 * KEY_BYTES_MAX as u64).read_to_string(&mut text)?;
    Ok(text)
}
