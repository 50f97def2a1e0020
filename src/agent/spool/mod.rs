//! The way in for what senders wrote down while no agent was there: spool files.
//!
//! Looks into each folder at start and every second, and takes finished files in, the oldest first:
//! each line as the socket would take it, with the producer and number that it has in the file. A
//! file goes once every line of it is durable, a dead letter, or in quarantine; whatever happens
//! before, it stays and is read again, and its numbers make that harmless. No time that a file
//! carries decides anything but the order.
//!
//! Anybody who may send may write here, so nothing is trusted: what is no spool file by its name,
//! type, size or owner is left where it is, never opened, counted, and warned about once. Bounded: one
//! file and one batch of it in memory; names of 4,096 files of a folder; quarantine as [`Settings`] says.
//!
//! For senders see `revenium_event::spool`; `send --spool` uses the same reader from the other side.

mod file;
mod folder;
mod keep;
mod memory;
mod take;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use revenium_event::limits::LINE_BYTES_MAX;
use tracing::{info, warn};

pub(crate) use file::{Entry, Lines, NotOpened, Place, SpoolFile};
pub(crate) use folder::{BAD, Folder, FolderError, Found, Listing, SYSTEM_MODE};
pub(crate) use keep::{Draft, Keep};

use crate::admin::{SpoolStatus, now_ms};
use crate::intake::{Allow, Door, Observer};
use crate::queue::{AppendError, Queue};
use crate::tasks::{Stop, TaskResult, blocking};
use memory::Memory;
use take::{Counts, Desk, Later, Outcome, take};

/// Largest file that is opened. A writer begins another one before `FILE_BYTES_MAX`; the rest is room for
/// its hello and one last line.
pub(crate) const FILE_BYTES_MAX: u64 = revenium_event::spool::FILE_BYTES_MAX + 2 * LINE_BYTES_MAX as u64;

/// How often folders are looked into.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What taking in needs to know.
pub struct Settings {
    /// The folders.
    pub dirs: Vec<PathBuf>,
    /// Where bad lines are kept, made once there is one.
    pub quarantine: PathBuf,
    /// Most bytes that are kept there.
    pub quarantine_bytes_max: u64,
    /// Whose files are taken.
    pub allow: Allow,
    /// Where events come in.
    pub door: Door,
    /// Lines that are appended together.
    pub batch_lines_max: usize,
    /// Bytes of bodies that are; one event more may fit in.
    pub batch_bytes_max: usize,
}

/// What is counted beside what every way in counts.
pub trait Counter: Send + Sync + 'static {
    /// A file was taken in and is gone, with so many bad lines.
    fn taken(&self, bad_lines: u64);
    /// How the folders look now.
    fn looked(&self, standing: &SpoolStatus);
}

/// How the folders looked last; shared with who shows it.
#[derive(Clone, Default)]
pub struct Standing(Arc<Mutex<SpoolStatus>>);

impl Standing {
    /// As it is now.
    pub fn now(&self) -> SpoolStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, status: SpoolStatus) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// Takes spool files in until it is told to stop, then ends after the append that is under way.
///
/// Never fails: what is wrong with a folder or file is counted, warned about once and shown.
pub async fn run<Q: Queue>(
    settings: Settings,
    queue: Arc<Q>,
    observer: Arc<dyn Observer>,
    counter: Arc<dyn Counter>,
    standing: Standing,
    mut stop: Stop,
) -> TaskResult {
    let Settings { dirs, quarantine, quarantine_bytes_max, allow, door, batch_lines_max, batch_bytes_max } =
        settings;
    let keep = Keep::new(quarantine, quarantine_bytes_max);
    let desk = Desk { queue, door, allow, observer, keep, batch_lines_max, batch_bytes_max };
    let mut places: Vec<Spot> = dirs.into_iter().map(Spot::new).collect();
    let mut runner = Runner { desk, counter, standing };
    loop {
        for place in &mut places {
            runner.visit(place, &stop).await;
        }
        runner.show(&places).await;
        tokio::select! {
            () = stop.requested() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// A folder that is configured.
struct Spot {
    path: PathBuf,
    memory: Memory,
    /// What was left after the last visit.
    left: SpoolStatus,
}

impl Spot {
    fn new(path: PathBuf) -> Self {
        Self { path, memory: Memory::default(), left: SpoolStatus::default() }
    }
}

struct Runner<Q> {
    desk: Desk<Q>,
    counter: Arc<dyn Counter>,
    standing: Standing,
}

impl<Q: Queue> Runner<Q> {
    /// Takes in what is due in one folder.
    async fn visit(&mut self, place: &mut Spot, stop: &Stop) {
        let Some((folder, listing)) = look(place).await else { return };
        warn_of_strange(place, &listing);
        let due = place.memory.due(&listing, Instant::now());
        let (mut gone, mut is_held_up) = (Vec::new(), false);
        for found in due {
            if stop.is_requested() {
                break;
            }
            if !place.memory.may_take(&found) {
                is_held_up = true;
                continue;
            }
            let outcome = take(&self.desk, &folder, found.clone(), stop).await;
            // What somebody else is at waits all the same: whoever has it may hang.
            if matches!(outcome, Outcome::Taken(_)) {
                gone.push(found.name.clone());
            }
            if self.settle(place, &folder, &found, outcome).is_break() {
                break;
            }
        }
        let why = "too many files stay in it; no others are taken until some of these are gone";
        let why = is_held_up.then(|| format!("{}: {why}", place.path.display()));
        if place.memory.trouble(why.clone()) {
            warn!("{}", why.unwrap_or_default());
        }
        place.left = standing(&listing, &gone, &place.memory);
    }

    /// Remembers and tells what became of a file; breaks if others would fare no better.
    fn settle(
        &self,
        place: &mut Spot,
        folder: &Folder,
        found: &Found,
        outcome: Outcome,
    ) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let (memory, file) = (&mut place.memory, folder.path().join(&found.name));
        let file = file.display();
        match outcome {
            Outcome::Taken(Counts { uid, stored, known, refused, bad }) => {
                info!(%file, uid, stored, known, refused, bad, "a spool file was taken in");
                if bad > 0 {
                    warn!(%file, uid, bad, "bad lines of a spool file are in quarantine");
                }
                self.counter.taken(bad);
                memory.forget(found);
            }
            Outcome::Elsewhere => memory.forget(found),
            Outcome::LeftAlone(why) => {
                if memory.left_alone(found, &why) {
                    warn!(%file, why, "a spool file is left alone");
                }
            }
            Outcome::Later(later) => {
                let why = later.to_string();
                if memory.later(found, &why, Instant::now()) {
                    warn!(%file, why, "a spool file stays, and is tried again");
                }
                if concerns_all(&later) {
                    return Break(());
                }
            }
            Outcome::Unremovable(error) => {
                let why = format!("it is taken and cannot be removed ({error}): {}", how_to_remove(folder));
                if memory.unremovable(found, &why) {
                    warn!(%file, why, "a spool file cannot be removed, and is not taken again");
                }
            }
            Outcome::Stopped => return Break(()),
        }
        Continue(())
    }

    /// Shows how all folders look.
    async fn show(&self, places: &[Spot]) {
        let mut all = SpoolStatus::default();
        for place in places {
            all.add(&place.left);
        }
        let keep = self.desk.keep.clone();
        all.quarantine_bytes = blocking(move || keep.bytes()).await.unwrap_or_default();
        self.counter.looked(&all);
        self.standing.set(all);
    }
}

/// Whether another file would meet the same.
fn concerns_all(later: &Later) -> bool {
    match later {
        Later::Append(AppendError::Full { budget, .. }) => !budget.starts_with("profile "),
        Later::Append(AppendError::Disk(_) | AppendError::Closing) => true,
        _ => false,
    }
}

fn how_to_remove(folder: &Folder) -> String {
    let own = crate::user::Names::read().user(rustix::process::geteuid().as_raw());
    format!("in a sticky folder only its owner may, so {folder} has to belong to {own}; then remove the file")
}

/// Opens and lists a folder; says once what is in the way.
async fn look(place: &mut Spot) -> Option<(Arc<Folder>, Listing)> {
    let path = place.path.clone();
    let looked = blocking(move || {
        let folder = Folder::open_or_make(&path)?;
        let listing = folder.list()?;
        Ok::<_, FolderError>((Arc::new(folder), listing))
    });
    match looked.await? {
        Ok(looked) => Some(looked),
        Err(error) => {
            let why = error.to_string();
            // Whoever has no spool there yet needs no warning, nor a status that is not well.
            let is_absent = matches!(&error, FolderError::Io { what: "make", .. });
            place.left = SpoolStatus::default();
            if !is_absent {
                place.left.problems.push(why.clone());
            }
            if place.memory.trouble(Some(why.clone())) {
                if is_absent {
                    info!("no spool files are taken in: {why}");
                } else {
                    warn!("no spool files are taken in: {why}");
                }
            }
            None
        }
    }
}

fn warn_of_strange(place: &mut Spot, listing: &Listing) {
    for (name, why) in &listing.strange {
        if place.memory.is_new(name) {
            warn!(folder = %place.path.display(), name, why, "not a spool file: left alone, never opened");
        }
    }
}

/// What is left of a listing, now that some files are gone.
fn standing(listing: &Listing, gone: &[String], memory: &Memory) -> SpoolStatus {
    let gone: std::collections::HashSet<&str> = gone.iter().map(String::as_str).collect();
    let left: Vec<&Found> =
        listing.files.iter().filter(|found| !gone.contains(found.name.as_str())).collect();
    let waiting = || left.iter().filter(|found| memory.waits(found));
    let now_s = i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX);
    let age = |found: &&&Found| u64::try_from(now_s.saturating_sub(found.modified_s)).unwrap_or(0);
    SpoolStatus {
        waiting_files: waiting().count() as u64,
        waiting_bytes: waiting().map(|found| found.bytes).sum(),
        oldest_age_s: waiting().map(|found| age(&found)).max(),
        left_alone: listing.strange_count + (left.len() - waiting().count()) as u64,
        quarantine_bytes: 0,
        problems: memory.first_reason(listing).into_iter().collect(),
    }
}
