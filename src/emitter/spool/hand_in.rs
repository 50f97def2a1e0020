//! Handing in the files of a spool to the agent that the spool belongs to.
//!
//! Each file has a connection of its own, since it has a producer of its own. It is removed after every line
//! of it was answered: durable, or refused for good, which the agent keeps as a dead letter. What the agent
//! cannot keep is put aside in `bad/` first. A file that cannot be finished stays, and nothing of it counts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use revenium_event::line::Code;
use rustix::fd::OwnedFd;

use super::bad::Bad;
use super::file::{self, Entry, Skip, SpoolFile};
use super::talk::{Leave, Settled, Talk};

/// Refused events of one call that the agent is trusted to keep; it keeps a thousand of a user's at once.
const KEPT_REFUSALS_MAX: u64 = 500;

/// What handing in a spool came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Files that were handed in and removed.
    pub files: u64,
    /// Events that are durable with the agent.
    pub events: u64,
    /// Events that the agent refused for good. It keeps them as dead letters.
    pub refused: u64,
    /// Lines that no agent can keep, now in `bad/` in the spool.
    pub bad: u64,
    /// Files that are still there and belong to this user: another process hands them in, or there was no
    /// time or room.
    pub left: u64,
    /// Files that are not for this user to hand in, and what only has the name of a spool file.
    pub skipped: u64,
    /// Why files are left, if there is one reason that was met last.
    pub trouble: Option<String>,
}

/// Hands in the spool files in `dir` that belong to this process's user, to the first of `sockets` where an
/// agent listens. Blocks for `deadline` at most, disk operations apart.
///
/// Any number of processes may call it at the same time, also while the agent takes the same files in: each
/// event is stored once. Fails only if `dir` cannot be listed; a folder that is not there is an empty one.
///
/// ```no_run
/// use std::time::Duration;
/// use revenium_emitter::{place, spool};
///
/// let sockets = place::sockets();
/// let dir = place::spool(&sockets[0]);
/// let report = spool::hand_in(&dir, &sockets, Duration::from_secs(30))?;
/// println!("{} events are durable, {} files are left", report.events, report.left);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn hand_in(dir: &Path, sockets: &[PathBuf], deadline: Duration) -> io::Result<Report> {
    // A deadline beyond what the clock can hold is a day.
    let now = Instant::now();
    let until = now.checked_add(deadline).unwrap_or(now + Duration::from_secs(24 * 3600));
    HandIn { dir, sockets, until, stop: &AtomicBool::new(false) }.run()
}

/// One run over a spool's files.
pub(crate) struct HandIn<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) sockets: &'a [PathBuf],
    pub(crate) until: Instant,
    /// Set by somebody who wants it to end soon.
    pub(crate) stop: &'a AtomicBool,
}

/// Lines of one file.
#[derive(Default)]
struct Counts {
    events: u64,
    refused: u64,
    bad: u64,
}

impl HandIn<'_> {
    pub(crate) fn run(&self) -> io::Result<Report> {
        let mut report = Report::default();
        let dir = match file::open_dir(self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(report),
            dir => dir?,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for name in file::names(&dir, now.as_secs())? {
            match self.file(&dir, &name, report.refused) {
                Ok(Ok(counts)) => {
                    report.files += 1;
                    report.events += counts.events;
                    report.refused += counts.refused;
                    report.bad += counts.bad;
                }
                Ok(Err(Skip::Gone)) => {}
                Ok(Err(Skip::Taken)) => report.left += 1,
                Ok(Err(Skip::Odd)) => report.skipped += 1,
                Err(error) => {
                    report.left += 1;
                    report.trouble = Some(error.to_string());
                }
            }
        }
        Ok(report)
    }

    fn file(&self, dir: &OwnedFd, name: &str, refused_before: u64) -> io::Result<Result<Counts, Skip>> {
        let mut file = match SpoolFile::open(dir, name)? {
            Ok(file) => file,
            Err(skip) => return Ok(Err(skip)),
        };
        let leave = Leave { until: self.until, stop: self.stop };
        leave.check()?;
        let mut counts = Counts::default();
        let mut bad = Bad::of(name);
        let mut refused_room = KEPT_REFUSALS_MAX.saturating_sub(refused_before);
        let Some(hello) = file.hello()? else {
            // Whose events these are is not known: all of it is for a person.
            while !file.last().is_empty() {
                bad.put(dir, file.last())?;
                counts.bad += 1;
                file.skip()?;
            }
            bad.finish()?;
            file.remove(dir, name)?;
            return Ok(Ok(counts));
        };
        let mut talk = Talk::connect(self.sockets, &hello, leave)?;
        let mut last = 0;
        while let Some(entry) = file.next(last)? {
            match entry {
                Entry::Event { n, line } => {
                    last = n;
                    talk.send(n, line)?;
                }
                Entry::Bad(line) => {
                    bad.put(dir, line)?;
                    counts.bad += 1;
                }
            }
            settle(talk.settled(), &mut counts, &mut bad, &mut refused_room, dir)?;
        }
        talk.finish()?;
        settle(talk.settled(), &mut counts, &mut bad, &mut refused_room, dir)?;
        bad.finish()?;
        file.remove(dir, name)?;
        Ok(Ok(counts))
    }
}

fn settle(
    settled: Vec<Settled>,
    counts: &mut Counts,
    bad: &mut Bad,
    refused_room: &mut u64,
    dir: &OwnedFd,
) -> io::Result<()> {
    for settled in settled {
        match settled {
            Settled::Durable => counts.events += 1,
            Settled::Refused { code, line } => {
                counts.refused += 1;
                *refused_room = refused_room.saturating_sub(1);
                if code == Code::TooLarge || *refused_room == 0 {
                    bad.put(dir, &line)?;
                    counts.bad += 1;
                }
            }
        }
    }
    Ok(())
}
