//! The thread that keeps the log in shape, off every other path: checkpoints are written, settled
//! segments retired, survivors moved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::recover::Hole;
use crate::retire;
use crate::segment::Pos;
use crate::shared::{Listed, Shared, lock};
use crate::{checkpoint, relocate, restate};

/// How often it looks without being woken.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// sled's buffers go to the kernel this often, which bounds what a kill makes us follow again.
const INDEX_FLUSH_EVERY: Duration = Duration::from_secs(2);

/// Bytes of the log between two checkpoints: what is read for its numbers when the store opens.
const CHECKPOINT_EVERY_BYTES: u64 = 8 << 20;

pub(crate) struct Maintainer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index_flushed: Instant,
    /// Where the last checkpoint lies.
    pub(crate) checkpoint_at: Pos,
    /// No segment goes while the ledger does not balance, unless a rebuild did not mend it.
    pub(crate) rebuilt_for_balance: bool,
    /// Where the last copies of records that were moved end.
    pub(crate) moved_to: Pos,
    /// A retired segment whose file could not be recycled: no other goes before it.
    pub(crate) left_behind: Option<Listed>,
    /// Damage that was found when the store opened, and that nobody looked at since.
    pub(crate) holes: Vec<Hole>,
    /// When it could not be said again what damage took.
    pub(crate) restate_failed: Option<Instant>,
    /// Damaged segments that stay until what the damage took is said again.
    pub(crate) unsaid: BTreeSet<u64>,
}

impl Maintainer {
    pub(crate) fn run(mut self) {
        while !self.shared.is_closing() {
            if self.shared.followed.lock().ready {
                self.tidy();
            }
            // Each try on a disk that fails seals a file, whose successor would wake us at once.
            let is_refused = self.shared.is_refused.load(Ordering::Acquire) && !self.shared.is_closing();
            drop(
                self.shared.space.wait(LOOK_EVERY, |s| std::mem::take(&mut s.wake_maintainer) && !is_refused),
            );
        }
        if self.shared.followed.lock().ready {
            self.heed_damage();
        }
    }

    pub(crate) fn heed_damage(&mut self) {
        for Hole { ordinal, from, to } in std::mem::take(&mut self.holes) {
            if let Some(listed) = self.shared.listed(ordinal) {
                restate::met(&self.shared, &listed.segment, from, to);
            }
        }
        restate::after_damage(self);
    }

    /// Everything that needs an index that has caught up.
    fn tidy(&mut self) {
        // None of it could be written; and see `indexer`.
        if self.shared.is_disk_failing() {
            return;
        }
        if self.index_flushed.elapsed() >= INDEX_FLUSH_EVERY {
            self.index_flushed = Instant::now();
            self.flush_index();
        }
        let end = *self.shared.durable.lock();
        let last = self.checkpoint_at;
        let is_far = last.ordinal != end.ordinal || end.offset > last.offset + CHECKPOINT_EVERY_BYTES;
        if is_far && let Some(at) = self.write_checkpoint() {
            self.checkpoint_at = at;
        }
        self.heed_damage();
        if let Some(sparse) = relocate::candidate(&self.shared) {
            relocate::survivors_of(self, &sparse);
        }
        retire::settled_segments(self);
    }

    pub(crate) fn write_checkpoint(&self) -> Option<Pos> {
        let checkpoint = checkpoint::of_index(&self.shared)?;
        let job = checkpoint::job(checkpoint, self.left_behind.as_ref());
        self.shared.run_job(job).ok()
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

/// A rebuild was asked for by someone who found the index wanting.
pub(crate) fn distrust_index(shared: &Shared, why: &str) {
    tracing::error!(why, "the index is not trusted any more");
    *lock(&shared.index) = None;
}
