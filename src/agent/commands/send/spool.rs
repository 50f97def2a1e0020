//! `send --spool DIR`: hands in a user's spool files, for when only another user's agent runs.
//!
//! One connection a file, with the file's own producer, profile and numbers, so that whatever is sent
//! twice, by us or by an emitter that comes back, is stored once. A file goes when all of its events are
//! durable or refused for good; lines that are no events, and events that were refused, are first
//! kept in `DIR/bad`, under the file's name. Files of others are left alone.

mod hand_in;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{EXIT_DURABLE, EXIT_NO_AGENT, EXIT_REFUSED, EXIT_USAGE, hint};
use crate::client::ClientError;
use crate::spool::{BAD, Folder, Found, Keep, NotOpened, SpoolFile};
use hand_in::{Counts, Ended, hand_in};

/// Most bytes that are kept in `DIR/bad`.
const BAD_BYTES_MAX: u64 = 64 << 20;

/// The pause before a file is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Where to hand in, and how long to wait without anything moving.
pub(super) struct Options {
    pub(super) places: Vec<PathBuf>,
    pub(super) timeout: Duration,
}

/// All files together.
#[derive(Default)]
struct Total {
    counts: Counts,
    files: u64,
    left: u64,
    /// The code for what went wrong last, if something did.
    exit: Option<u8>,
}

/// Hands in what is in `dir`; returns the exit code.
pub(super) fn run(dir: &Path, options: &Options, json: bool, mut out: impl Write, mut err: impl Write) -> u8 {
    let listed = Folder::open(dir).and_then(|folder| folder.list().map(|listing| (folder, listing)));
    let (folder, listing) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let _ = writeln!(err, "error: {error}");
            return EXIT_USAGE;
        }
    };
    let mut total = Total { left: listing.strange_count, ..Total::default() };
    for (name, why) in &listing.strange {
        let _ = writeln!(err, "{name}: left alone: {why}");
    }
    for found in &listing.files {
        if one(&folder, found, options, &mut total, &mut err).is_break() {
            break;
        }
    }
    let Counts { durable, refused, bad, unconfirmed } = total.counts;
    let (files, left) = (total.files, total.left);
    let _ = if json {
        writeln!(
            out,
            "{{\"durable\":{durable},\"refused\":{refused},\"unconfirmed\":{unconfirmed},\"bad\":{bad},\
             \"files\":{files},\"left\":{left}}}"
        )
    } else {
        let (events, of) =
            (if durable == 1 { "event" } else { "events" }, if files == 1 { "file" } else { "files" });
        writeln!(out, "durable: {durable} {events} of {files} {of}")
    };
    total.exit.unwrap_or(if refused + bad == 0 { EXIT_DURABLE } else { EXIT_REFUSED })
}

/// Hands in one file; breaks if there is no use in going on.
fn one(
    folder: &Folder,
    found: &Found,
    options: &Options,
    total: &mut Total,
    err: &mut impl Write,
) -> std::ops::ControlFlow<()> {
    use std::ops::ControlFlow::{Break, Continue};
    let mut left = |why: &dyn std::fmt::Display| {
        total.left += 1;
        let _ = writeln!(err, "{}: left alone: {why}", found.name);
        Continue(())
    };
    let file = match SpoolFile::open(folder, found) {
        Ok(Ok(file)) if file.uid == rustix::process::geteuid().as_raw() => file,
        Ok(Ok(file)) => return left(&format!("it belongs to {}", crate::user::Names::read().user(file.uid))),
        // Whoever has taken it sees to it.
        Ok(Err(NotOpened::Taken)) => return Continue(()),
        Ok(Err(NotOpened::LeftAlone(why))) => return left(&why),
        Err(error) => return left(&error),
    };
    match persist(folder, &file, options, total, err) {
        Ok(()) => {
            total.files += 1;
            Continue(())
        }
        Err(Ended::Stays(why)) => {
            let _ = writeln!(err, "{}: stays: {why}", found.name);
            total.left += 1;
            total.exit = Some(EXIT_REFUSED);
            Continue(())
        }
        Err(Ended::Lost(error)) => {
            let _ = writeln!(err, "error: {}: stays: {error}{}", found.name, hint(&error));
            total.left += 1;
            total.exit = Some(EXIT_NO_AGENT);
            Break(())
        }
        Err(Ended::Busy(why)) => {
            let _ = writeln!(err, "{}: stays: {why}", found.name);
            total.left += 1;
            total.exit = Some(EXIT_REFUSED);
            Break(())
        }
    }
}

/// Tries one file again for as long as something moves.
fn persist(
    folder: &Folder,
    file: &SpoolFile,
    options: &Options,
    total: &mut Total,
    err: &mut impl Write,
) -> Result<(), Ended> {
    let keep = Keep::new(folder.path().join(BAD), BAD_BYTES_MAX);
    let (mut moved_at, mut best, mut told) = (Instant::now(), 0, 0);
    loop {
        let mut report = |line: u64, why: &dyn std::fmt::Display| {
            if line > told {
                told = line;
                let _ = writeln!(err, "{}:{line}: {why}", file.name());
            }
        };
        let (counts, ended) = hand_in(folder, file, &keep, options, &mut report);
        if counts.durable > best {
            (moved_at, best) = (Instant::now(), counts.durable);
        }
        let may_pass = match &ended {
            Ok(()) | Err(Ended::Stays(_)) => false,
            Err(Ended::Busy(_)) => true,
            Err(Ended::Lost(error)) => {
                matches!(error, ClientError::Closed | ClientError::Broken(_))
                    || (best > 0 && matches!(error, ClientError::NotReachable { .. }))
            }
        };
        if may_pass && moved_at.elapsed() < options.timeout {
            thread::sleep(AGAIN_AFTER);
            continue;
        }
        total.counts.add(counts);
        return ended;
    }
}
