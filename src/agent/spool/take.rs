//! Taking one spool file in: every line durable, or refused and kept, or bad and kept; then it goes.
//!
//! A crash at any point reads the file again, and the lines that the log has already are known by
//! their numbers. Nothing is removed before the log and the quarantine have flushed what was in it.

use std::iter;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Instant;

use revenium_event::line::Code;
use revenium_event::{Identity, RefusalCode, Warning};

use super::file::{Entry, Lines, NotOpened, Place, SpoolFile};
use super::folder::{Folder, Found};
use super::keep::{Draft, Keep, KeepError};
use crate::admin::now_ms;
use crate::intake::{Admission, Admitted, Allow, Door, Mint, Observer, Peer, Seen, Turned};
use crate::queue::{AppendError, Appended, NewRecord, Queue};
use crate::tasks::{Stop, blocking};

/// What taking needs from around it. Cheap to clone.
pub(super) struct Desk<Q> {
    pub(super) queue: Arc<Q>,
    pub(super) door: Door,
    pub(super) allow: Allow,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) keep: Keep,
    /// Lines that are read before they are appended.
    pub(super) batch_lines_max: usize,
    /// Bytes of bodies that are; one event more may fit in.
    pub(super) batch_bytes_max: usize,
}

impl<Q> Clone for Desk<Q> {
    fn clone(&self) -> Self {
        let Self { queue, door, allow, observer, keep, batch_lines_max, batch_bytes_max } = self;
        let (queue, door, allow) = (queue.clone(), door.clone(), allow.clone());
        let (observer, keep) = (observer.clone(), keep.clone());
        Self {
            queue,
            door,
            allow,
            observer,
            keep,
            batch_lines_max: *batch_lines_max,
            batch_bytes_max: *batch_bytes_max,
        }
    }
}

/// What became of a file.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is taken, and gone.
    Taken(Counts),
    /// Somebody else takes it.
    Elsewhere,
    /// It is not what it should be, and stays for good.
    LeftAlone(String),
    /// It is to be tried again later.
    Later(Later),
    /// It is taken, and cannot be removed: it must not be taken again.
    Unremovable(std::io::Error),
    /// We are stopping; the rest of it is taken after the next start.
    Stopped,
}

/// Why a file stays for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Later {
    /// The log takes nothing now.
    #[error("{0}")]
    Append(AppendError),
    /// There is no room for an event.
    #[error("{0}")]
    Room(String),
    /// There is no room for its bad lines.
    #[error("its bad lines cannot be kept: {0}")]
    Keep(KeepError),
    /// It is still written to, although it has the name of a finished one.
    #[error("it is still written to")]
    Growing,
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Io(std::io::Error),
}

/// What was in a file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Whose it was.
    pub(super) uid: u32,
    /// Events that are stored now and were not before.
    pub(super) stored: u64,
    /// Events that the log had already.
    pub(super) known: u64,
    /// Lines that were refused and are dead letters now.
    pub(super) refused: u64,
    /// Lines that are in quarantine.
    pub(super) bad: u64,
}

/// A file on its way in.
struct Taking {
    file: SpoolFile,
    lines: Lines,
    /// That of events which name none.
    profile: Option<String>,
    mint: Mint,
    draft: Option<Draft>,
    counts: Counts,
    /// Up to where it is taken, once that is all of it.
    end: u64,
    is_at_end: bool,
}

/// Records for one profile, events or refused ones, which a queue takes all or none of.
struct Batch {
    records: Vec<NewRecord>,
    items: Vec<Item>,
}

/// What to count of a record once it is stored.
enum Item {
    Event { seen: Seen, warnings: Vec<Warning> },
    Refused(Code),
}

/// Takes `found` in. Stopping ends it after the append that is under way.
pub(super) async fn take<Q: Queue>(
    desk: &Desk<Q>,
    folder: &Arc<Folder>,
    found: Found,
    stop: &Stop,
) -> Outcome {
    let (at, for_open) = (folder.clone(), desk.clone());
    let opened = blocking(move || open(&for_open, &at, &found)).await;
    let mut taking = match opened {
        Some(Ok(taking)) => taking,
        Some(Err(outcome)) => return outcome,
        None => return Outcome::Stopped,
    };
    while !taking.is_at_end {
        let for_read = desk.clone();
        let read = blocking(move || {
            let batches = taking.read(&for_read);
            (taking, batches)
        });
        let Some((back, batches)) = read.await else { return Outcome::Stopped };
        taking = back;
        let batches = match batches {
            Ok(batches) => batches,
            Err(later) => return Outcome::Later(later),
        };
        for batch in batches {
            if stop.is_requested() {
                return Outcome::Stopped;
            }
            match append(desk, batch, &mut taking.counts).await {
                Ok(()) => {}
                Err(AppendError::Closing) => return Outcome::Stopped,
                Err(error) => return Outcome::Later(Later::Append(error)),
            }
        }
    }
    let at = folder.clone();
    blocking(move || taking.finish(&at)).await.unwrap_or(Outcome::Stopped)
}

fn open<Q>(desk: &Desk<Q>, folder: &Folder, found: &Found) -> Result<Taking, Outcome> {
    let file = match SpoolFile::open(folder, found) {
        Ok(Ok(file)) => file,
        Ok(Err(NotOpened::Taken)) => return Err(Outcome::Elsewhere),
        Ok(Err(NotOpened::LeftAlone(why))) => return Err(Outcome::LeftAlone(why)),
        Err(error) => return Err(Outcome::Later(Later::Io(error))),
    };
    // As if it had come over the socket.
    let owner = Peer { uid: file.uid, gids: folder.gids_of(file.gid), pid: None };
    if let Err(denied) = desk.allow.check(&owner) {
        return Err(Outcome::LeftAlone(denied.to_string()));
    }
    let counts = Counts { uid: file.uid, ..Counts::default() };
    Ok(Taking {
        file,
        lines: Lines::new(),
        profile: None,
        mint: Mint::new(),
        draft: None,
        counts,
        end: 0,
        is_at_end: false,
    })
}

impl Taking {
    /// Reads on, until there is enough to append or the file ends.
    fn read<Q>(&mut self, desk: &Desk<Q>) -> Result<Vec<Batch>, Later> {
        let mut reading = Reading {
            desk,
            file: &self.file,
            profile: &mut self.profile,
            mint: &mut self.mint,
            draft: &mut self.draft,
            bad: &mut self.counts.bad,
            now_ms: now_ms(),
            batches: Vec::new(),
            lines: 0,
            bytes: 0,
            unusable_to: None,
            failed: None,
        };
        let ended = self.lines.read(&self.file, &mut |place, entry| reading.entry(place, entry));
        let Reading { batches, unusable_to, failed, .. } = reading;
        if let Some(later) = failed {
            return Err(later);
        }
        self.is_at_end = ended.map_err(Later::Io)? || unusable_to.is_some();
        self.end = unusable_to.unwrap_or(self.lines.read_to());
        Ok(batches)
    }

    /// Makes what was kept durable, and removes the file.
    fn finish(mut self, folder: &Folder) -> Outcome {
        if let Some(draft) = self.draft.take()
            && let Err(error) = draft.finish()
        {
            return Outcome::Later(Later::Keep(error));
        }
        match self.file.remove(folder, self.end) {
            Ok(true) => Outcome::Taken(self.counts),
            Ok(false) => Outcome::Later(Later::Growing),
            Err(error) => Outcome::Unremovable(error),
        }
    }
}

/// One turn of reading.
struct Reading<'a, Q> {
    desk: &'a Desk<Q>,
    file: &'a SpoolFile,
    profile: &'a mut Option<String>,
    mint: &'a mut Mint,
    draft: &'a mut Option<Draft>,
    bad: &'a mut u64,
    now_ms: u64,
    batches: Vec<Batch>,
    lines: usize,
    bytes: usize,
    /// The whole file, so far, is of no use.
    unusable_to: Option<u64>,
    failed: Option<Later>,
}

impl<Q> Reading<'_, Q> {
    fn entry(&mut self, place: Place, entry: Entry<'_>) -> ControlFlow<()> {
        let done = match entry {
            Entry::Hello(hello) => {
                *self.profile = hello.profile;
                Ok(())
            }
            Entry::Event { n, event, .. } => self.event(n, &event, place.bytes),
            Entry::Bad { .. } => self.keep(place.bytes),
            Entry::Unusable { .. } => self.keep_all(),
        };
        if let Err(later) = done {
            self.failed = Some(later);
            return ControlFlow::Break(());
        }
        self.lines += 1;
        let is_enough = self.lines >= self.desk.batch_lines_max || self.bytes >= self.desk.batch_bytes_max;
        if is_enough || self.unusable_to.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn event(&mut self, n: u64, event: &[u8], place: Range<u64>) -> Result<(), Later> {
        let identity = Identity::Numbered { producer: self.file.producer(), n };
        let minted = self.mint.next(self.now_ms);
        match self.desk.door.admit(event, &identity, self.profile.as_deref(), &minted) {
            Ok(Admission { event, parts }) => {
                for Admitted { record, seen, warnings } in iter::once(event).chain(parts) {
                    self.add(record, Item::Event { seen, warnings });
                }
            }
            Err(Turned { refusal, letter: Some(letter) }) => {
                self.add(*letter, Item::Refused(refusal.code.into()));
            }
            Err(Turned { refusal, letter: None }) if refusal.code == RefusalCode::Full => {
                return Err(Later::Room(refusal.message));
            }
            // Not JSON, or too large for the log: no dead letter can hold it.
            Err(Turned { letter: None, .. }) => return self.keep(place),
        }
        Ok(())
    }

    /// Adds a record to the batch of its profile: their budgets are their own.
    fn add(&mut self, record: NewRecord, item: Item) {
        self.bytes += record.body.len();
        let is_its = |batch: &&mut Batch| {
            batch.records.last().is_some_and(|last| {
                last.lane.profile == record.lane.profile && last.dead.is_some() == record.dead.is_some()
            })
        };
        match self.batches.iter_mut().find(is_its) {
            Some(batch) => {
                batch.records.push(record);
                batch.items.push(item);
            }
            None => self.batches.push(Batch { records: vec![record], items: vec![item] }),
        }
    }

    fn keep(&mut self, place: Range<u64>) -> Result<(), Later> {
        let draft = match self.draft {
            Some(draft) => draft,
            None => self.draft.insert(self.desk.keep.begin(self.file.name()).map_err(Later::Keep)?),
        };
        draft.copy(self.file.file(), place).map_err(Later::Keep)?;
        *self.bad += 1;
        Ok(())
    }

    fn keep_all(&mut self) -> Result<(), Later> {
        let end = self.file.bytes().map_err(Later::Io)?;
        self.keep(0..end)?;
        self.unusable_to = Some(end);
        Ok(())
    }
}

/// Appends a batch and counts what came of it.
async fn append<Q: Queue>(desk: &Desk<Q>, batch: Batch, counts: &mut Counts) -> Result<(), AppendError> {
    let (begun, records) = (Instant::now(), batch.records.len());
    let appended = desk.queue.append(batch.records).await?;
    desk.observer.appended(records, begun.elapsed());
    for (item, appended) in batch.items.into_iter().zip(appended) {
        match (item, appended) {
            (_, Appended::Duplicate) => counts.known += 1,
            (Item::Event { seen, warnings }, Appended::Stored(_)) => {
                counts.stored += 1;
                desk.observer.stored(&seen);
                warnings.iter().for_each(|warning| desk.observer.warned(seen.kind, warning));
            }
            (Item::Event { .. }, Appended::Conflict(_)) => {
                counts.refused += 1;
                desk.observer.refused(Code::Conflict);
            }
            (Item::Refused(code), Appended::Stored(_) | Appended::Conflict(_)) => {
                counts.refused += 1;
                desk.observer.refused(code);
                desk.observer.refusal_kept();
            }
        }
    }
    Ok(())
}
