//! What the store's threads share, and the two queues between them.
//!
//! ```text
//! callers ─ inbox ─▶ committer ─ durable end ─▶ indexer ─ applied ─▶ maintainer
//!                        ▲▲                                             │
//! preparer ── segments ──┘└───────────────────── jobs ───────────────────┘
//! ```
//!
//! Locks are held for a few lines, in the order `index`, `claims`, `cursors`, then any one of the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use revenium_migrations::log_v1::{Checkpoint, Gone, LaneName, Note, Notes, Relocation};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::claim::Cursor;
use crate::committer::NOTES_MAX;
use crate::error::AppendError;
use crate::index::Index;
use crate::options::Options;
use crate::progress::Way;
use crate::scan::Until;
use crate::segment::{Pos, Segment};
use crate::stats::LaneStats;
use crate::types::{Appended, NewRecord};
use crate::watched::Watched;

/// Bytes of records that may wait for the committer, in units of 1 KiB permits.
pub(crate) const INBOX_PERMITS: usize = 32 << 10;

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) inbox: Watched<Inbox>,
    pub(crate) inbox_permits: Arc<Semaphore>,
    pub(crate) table: Mutex<Table>,
    /// Everything before this place is flushed and acknowledged.
    pub(crate) durable: Watched<Pos>,
    pub(crate) index: Mutex<Option<Index>>,
    pub(crate) followed: Watched<Followed>,
    /// Records given out, and those whose end is on its way to the index.
    pub(crate) claims: Mutex<HashMap<u64, LaneName>>,
    /// Records and dead letters whose loss is noted and on its way to the index: nobody is to meet the damage again, and
    /// look for all that lay there. As many as there are such notes.
    pub(crate) losses: Mutex<HashSet<u64>>,
    /// Per lane; cleared whenever a claim is given back.
    pub(crate) cursors: Mutex<HashMap<LaneName, Cursor>>,
    pub(crate) states: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(crate) space: Watched<Space>,
    pub(crate) profile_bytes: Mutex<HashMap<String, u64>>,
    pub(crate) lanes: Mutex<Vec<LaneStats>>,
    pub(crate) changed: Notify,
    pub(crate) counters: Counters,
    /// The name of the first thread that panicked.
    pub(crate) broken: watch::Sender<Option<&'static str>>,
    pub(crate) closing: AtomicBool,
    /// Damage was met that may have taken notes of ends.
    pub(crate) is_damaged: AtomicBool,
    /// What damage took is being said again.
    pub(crate) is_restating: AtomicBool,
    /// The last write or flush of the log failed.
    pub(crate) is_refused: AtomicBool,
    /// The committer has written its last chunk.
    pub(crate) log_ended: AtomicBool,
}

/// A lock whose holder panicked is taken all the same: the panic is reported by the thread's
/// own end, and what these locks guard is changed in single steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What waits for the committer.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) appends: VecDeque<Submission>,
    pub(crate) notes: VecDeque<Pending>,
    /// Notes of the commit that is under way: if it fails, they come back.
    pub(crate) notes_in_commit: usize,
    /// The last commit failed, and gave its notes back.
    pub(crate) notes_came_back: bool,
    /// Notes that ever came.
    pub(crate) noted: u64,
    pub(crate) oldest_note: Option<Instant>,
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) closing: bool,
    /// The committer is gone: nothing is taken any more.
    pub(crate) ended: bool,
}

impl Inbox {
    /// Notes that may wait to become durable.
    pub(crate) fn notes_waiting(&self) -> usize {
        self.notes.len() + self.notes_in_commit
    }

    /// Whether there are enough of them for a commit, or one for long enough. How many they are does not count once
    /// they came back: a disk that fails is not to be asked again at once.
    pub(crate) fn notes_are_due(&self, settle_within: Duration) -> bool {
        (self.notes.len() >= NOTES_MAX && !self.notes_came_back)
            || self.oldest_note.is_some_and(|at| self.closing || at.elapsed() >= settle_within)
    }

    /// Notes that were taken and not given back.
    pub(crate) fn notes_taken(&self) -> u64 {
        self.noted - self.notes.len() as u64
    }
}

/// Where a caller waits to hear what became of its records.
pub(crate) type Answer = oneshot::Sender<Result<Vec<Appended>, AppendError>>;

/// Records that one caller wants stored together.
pub(crate) struct Submission {
    pub(crate) records: Vec<NewRecord>,
    pub(crate) bytes: u64,
    pub(crate) done: Answer,
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// A note on its way to the log.
pub(crate) enum Pending {
    Gone(Gone, LaneName, u64),
    Note(Note),
}

/// Chunks that the maintainer wants appended together.
pub(crate) struct Job {
    pub(crate) chunks: Vec<JobChunk>,
    /// Told where the job's last chunk ends, once it is durable.
    pub(crate) done: mpsc::Sender<Result<Pos, AppendError>>,
}

pub(crate) enum JobChunk {
    Notes(Notes),
    Relocation {
        base: u64,
        moved: Relocation,
        bodies: Vec<Bytes>,
    },
    /// The committer adds what it knows: producers and states.
    Checkpoint(Checkpoint),
}

/// The segments that exist, prepared ones apart.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) segments: BTreeMap<u64, Listed>,
    /// Those that should be there and are not.
    pub(crate) vanished: BTreeSet<u64>,
    pub(crate) active: u64,
}

#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) segment: Arc<Segment>,
    /// Of the active one: up to where it was certain at the start.
    pub(crate) until: Until,
    /// A flush of it failed: its survivors move at once, and its file is never used again.
    pub(crate) suspect: bool,
}

/// How far the index has followed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Followed {
    pub(crate) at: Pos,
    /// False while the index is opened or rebuilt.
    pub(crate) ready: bool,
    /// Unknown until it is open.
    pub(crate) way: Option<Way>,
}

/// Segments written in advance, and why there are no more.
#[derive(Default)]
pub(crate) struct Space {
    pub(crate) prepared: VecDeque<Segment>,
    /// Why no further segment can be made; `None` while one can.
    pub(crate) exhausted: Option<AppendError>,
    /// Other users of the disk left too little: nothing is taken in, delivering goes on.
    pub(crate) disk_low: Option<AppendError>,
    /// Of all segments that were ever prepared.
    pub(crate) highest_ordinal: u64,
    /// Something happened that the preparer should look at.
    pub(crate) wake_preparer: bool,
    /// Something happened that the maintainer should look at.
    pub(crate) wake_maintainer: bool,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) commit_records: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) disk_errors: AtomicU64,
    pub(crate) index_rebuilds: AtomicU64,
    pub(crate) quarantine_bytes: AtomicU64,
    pub(crate) disk_free_bytes: AtomicU64,
    pub(crate) imbalance: AtomicU64,
    pub(crate) damaged_regions: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Shared {
    /// Leaves records for the committer; what comes back is ready once they are durable or refused.
    ///
    /// # Errors
    /// [`AppendError::Closing`].
    pub(crate) fn submit(
        &self,
        records: Vec<NewRecord>,
        bytes: u64,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<oneshot::Receiver<Result<Vec<Appended>, AppendError>>, AppendError> {
        let (done, answer) = oneshot::channel();
        let submission = Submission { records, bytes, done, _permit: permit };
        let is_taken = self.inbox.change(|inbox| {
            if !inbox.closing {
                inbox.appends.push_back(submission);
            }
            !inbox.closing
        });
        if is_taken { Ok(answer) } else { Err(AppendError::Closing) }
    }

    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            inbox: Watched::new(Inbox::default()),
            inbox_permits: Arc::new(Semaphore::new(INBOX_PERMITS)),
            table: Mutex::new(Table::default()),
            durable: Watched::new(Pos::default()),
            index: Mutex::new(None),
            followed: Watched::new(Followed::default()),
            claims: Mutex::new(HashMap::new()),
            losses: Mutex::new(HashSet::new()),
            cursors: Mutex::new(HashMap::new()),
            states: Mutex::new(BTreeMap::new()),
            space: Watched::new(Space::default()),
            profile_bytes: Mutex::new(HashMap::new()),
            lanes: Mutex::new(Vec::new()),
            changed: Notify::new(),
            counters: Counters::default(),
            broken: watch::Sender::new(None),
            closing: AtomicBool::new(false),
            is_damaged: AtomicBool::new(false),
            is_restating: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
            log_ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Queues notes for the next commit.
    pub(crate) fn note(&self, notes: impl IntoIterator<Item = Pending>) {
        self.inbox.change(|inbox| {
            let before = inbox.notes.len();
            inbox.notes.extend(notes);
            inbox.noted += (inbox.notes.len() - before) as u64;
            if !inbox.notes.is_empty() {
                inbox.oldest_note.get_or_insert_with(Instant::now);
            }
        });
    }

    /// Queues a job and waits until it is durable; gives where it ends.
    pub(crate) fn run_job(&self, chunks: Vec<JobChunk>) -> Result<Pos, AppendError> {
        let (done, result) = mpsc::channel();
        self.inbox.change(|inbox| {
            if !inbox.ended {
                inbox.jobs.push_back(Job { chunks, done });
            }
        });
        result.recv().unwrap_or(Err(AppendError::Closing))
    }

    /// The segment with this ordinal and how far it counts; the active one up to the durable end.
    pub(crate) fn listed(&self, ordinal: u64) -> Option<Listed> {
        let durable = *self.durable.lock();
        let table = lock(&self.table);
        let mut listed = table.segments.get(&ordinal)?.clone();
        if ordinal == durable.ordinal {
            listed.until = Until::Sealed(durable.offset);
        }
        Some(listed)
    }

    /// The first ordinal after this one that exists.
    pub(crate) fn ordinal_after(&self, ordinal: u64) -> Option<u64> {
        lock(&self.table).segments.range(ordinal + 1..).next().map(|(o, _)| *o)
    }

    /// The log could not be written when that was last tried, nor can a segment be made since, which is tried
    /// again and again.
    pub(crate) fn is_disk_failing(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
            && matches!(self.space.lock().exhausted, Some(AppendError::Disk(_)))
    }

    pub(crate) fn wake_preparer(&self) {
        self.space.change(|s| s.wake_preparer = true);
    }

    pub(crate) fn wake_maintainer(&self) {
        self.space.change(|s| s.wake_maintainer = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_notes_are_due_at_once_but_not_those_that_a_failed_commit_gave_back() {
        const LONG: Duration = Duration::from_secs(3600);
        let note = || Pending::Note(Note::Retired(Vec::new()));
        let mut inbox = Inbox { oldest_note: Some(Instant::now()), ..Inbox::default() };
        inbox.notes.extend((1..NOTES_MAX).map(|_| note()));
        assert!(!inbox.notes_are_due(LONG), "one too few");
        inbox.notes.push_back(note());
        assert!(inbox.notes_are_due(LONG), "as many as a commit takes");
        inbox.notes_came_back = true;
        assert!(!inbox.notes_are_due(LONG), "not at once");
        assert!(inbox.notes_are_due(Duration::ZERO), "after a while");
        inbox.closing = true;
        assert!(inbox.notes_are_due(LONG), "there is no later");
    }
}
