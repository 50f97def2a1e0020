//! The thread that keeps the log in shape, off every other path: segments are prepared in
//! advance, checkpoints written, settled segments retired, survivors moved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use revenium_migrations::log_v1::Checkpoint;

use crate::error::AppendError;
use crate::retire;
use crate::segment::{self, Segment};
use crate::shared::{JobChunk, Listed, Shared, get, lock};
use crate::{relocate, space};

/// How often it looks without being woken.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// sled's buffers go to the kernel this often, which bounds what a kill makes us follow again.
const INDEX_FLUSH_EVERY: Duration = Duration::from_secs(2);
/// Segments kept ready: the next one, and the ballast that only settling may use.
const PREPARED: usize = 2;

pub(crate) struct Maintainer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index_flushed: Instant,
    /// The active segment when the last checkpoint was written.
    pub(crate) checkpoint_in: u64,
    /// No segment goes while the ledger does not balance, unless a rebuild did not mend it.
    pub(crate) rebuilt_for_balance: bool,
    pub(crate) highest_ordinal: u64,
}

impl Maintainer {
    pub(crate) fn run(mut self) {
        space::take_ballast(&self.shared.options);
        while !self.shared.is_closing() {
            self.watch_disk();
            self.prepare();
            if self.shared.followed.lock().ready {
                self.tidy();
            }
            drop(self.shared.space.wait(LOOK_EVERY, |s| std::mem::take(&mut s.wake)));
        }
    }

    fn watch_disk(&self) {
        let o = &self.shared.options;
        let Ok(free) = space::free_bytes(&o.dir) else { return };
        self.shared.counters.disk_free_bytes.store(free, std::sync::atomic::Ordering::Relaxed);
        // Segments are written in advance, so what is left is for the index alone: a quarter of
        // the reserve is enough for it, and what other programs leave below that stops intake.
        let low = free < o.free_reserve_bytes / 4;
        let used = (o.free_reserve_bytes / 4).saturating_sub(free);
        self.shared.space.change(|s| {
            s.disk_low = low.then(|| AppendError::Full {
                budget: "disk: free bytes are below the reserve by".into(),
                bytes: used,
                bytes_max: o.free_reserve_bytes / 4,
            });
        });
        if free > o.free_reserve_bytes + 2 * o.ballast_bytes {
            space::take_ballast(o);
        }
    }

    /// Writes segments in advance, within the budgets.
    fn prepare(&mut self) {
        while self.shared.space.lock().prepared.len() < PREPARED && !self.shared.is_closing() {
            if let Err(full) = self.room_for_one() {
                self.shared.space.change(|s| s.exhausted = Some(full));
                return;
            }
            match segment::create(&self.shared.options, self.highest_ordinal + 1) {
                Ok(made) => self.add_prepared(made),
                Err(error) => {
                    tracing::warn!(%error, "cannot prepare a segment");
                    let full = match error.kind() {
                        std::io::ErrorKind::StorageFull => self.disk_full(),
                        _ => AppendError::Disk(error.to_string()),
                    };
                    self.shared.space.change(|s| s.exhausted = Some(full));
                    return;
                }
            }
        }
        if self.shared.space.lock().exhausted.is_some() {
            self.shared.space.change(|s| s.exhausted = None);
        }
    }

    pub(crate) fn add_prepared(&mut self, segment: Segment) {
        self.highest_ordinal = self.highest_ordinal.max(segment.ordinal);
        self.shared.space.change(|s| {
            s.prepared.push_back(segment);
            if s.prepared.len() >= PREPARED {
                s.exhausted = None;
            }
        });
    }

    fn room_for_one(&self) -> Result<(), AppendError> {
        let o = &self.shared.options;
        let used = log_bytes(&self.shared);
        if used + o.segment_bytes > o.capacity_bytes {
            return Err(AppendError::Full { budget: "store".into(), bytes: used, bytes_max: o.capacity_bytes });
        }
        match space::free_bytes(&o.dir) {
            Ok(free) if free < o.free_reserve_bytes + o.segment_bytes => Err(self.disk_full()),
            _ => Ok(()),
        }
    }

    fn disk_full(&self) -> AppendError {
        let o = &self.shared.options;
        let free = space::free_bytes(&o.dir).unwrap_or(0);
        AppendError::Full {
            budget: format!("disk: {free} bytes are free, {} are reserved", o.free_reserve_bytes),
            bytes: log_bytes(&self.shared),
            bytes_max: o.capacity_bytes,
        }
    }

    /// Everything that needs an index that has caught up.
    fn tidy(&mut self) {
        if self.index_flushed.elapsed() >= INDEX_FLUSH_EVERY {
            self.index_flushed = Instant::now();
            self.flush_index();
        }
        let active = lock(&self.shared.table).active;
        if self.checkpoint_in != active && self.write_checkpoint().is_some() {
            self.checkpoint_in = active;
        }
        if let Some(sparse) = relocate::candidate(&self.shared) {
            relocate::survivors_of(&self.shared, &sparse);
        }
        retire::settled_segments(self);
    }

    fn write_checkpoint(&self) -> Option<()> {
        let checkpoint = checkpoint(&self.shared)?;
        self.shared.run_job(vec![JobChunk::Checkpoint(checkpoint)]).ok().map(|_| ())
    }

    pub(crate) fn flush_index(&self) {
        let handle = lock(&self.shared.index).as_ref().map(crate::index::Index::handle);
        if let Some(db) = handle
            && let Err(error) = db.flush()
        {
            tracing::warn!(%error, "sled cannot write its buffers");
        }
    }
}

/// What the index can say for a checkpoint; the committer adds the rest.
pub(crate) fn checkpoint(shared: &Shared) -> Option<Checkpoint> {
    let guard = lock(&shared.index);
    let index = guard.as_ref()?;
    let at = index.at();
    Some(Checkpoint {
        ordinal: at.ordinal,
        offset: at.offset,
        lanes: index.lanes().map(|(name, state)| (name.clone(), state.counts)).collect(),
        damaged_regions: index.damaged_regions(),
        segments: lock(&shared.table).segments.keys().copied().collect(),
        ..Checkpoint::default()
    })
}

/// Sealed segments that the index has followed to their end, without the newest `kept` ones.
pub(crate) fn followed_segments(shared: &Shared, kept: usize) -> BTreeMap<u64, Listed> {
    let at = shared.followed.lock().at;
    let table = lock(&shared.table);
    let mut sealed: BTreeMap<u64, Listed> =
        table.segments.iter().filter(|(o, _)| **o != table.active).map(|(o, l)| (*o, l.clone())).collect();
    for _ in 0..kept {
        if sealed.last_key_value().is_some_and(|(_, l)| !l.suspect) {
            sealed.pop_last();
        }
    }
    sealed.retain(|o, _| *o < at.ordinal);
    sealed
}

/// Bytes of every file that counts towards the capacity.
pub(crate) fn log_bytes(shared: &Shared) -> u64 {
    let prepared = shared.space.lock().prepared.len();
    let files = lock(&shared.table).segments.len() + prepared;
    files as u64 * shared.options.segment_bytes + get(&shared.counters.quarantine_bytes)
}

/// A rebuild was asked for by someone who found the index wanting.
pub(crate) fn distrust_index(shared: &Shared, why: &str) {
    tracing::error!(why, "the index is not trusted any more");
    *lock(&shared.index) = None;
}
