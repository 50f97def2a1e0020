//! The store's handle: what callers do with it, and the threads behind it.

use std::collections::BTreeSet;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use revenium_migrations::log_v1::{Gone, Note};

use crate::claim::{self, ChunkCache};
use crate::committer::Committer;
use crate::error::{AppendError, ReadError};
use crate::maintainer::Maintainer;
use crate::options::Options;
use crate::prepare::{self, log_bytes};
use crate::progress::IndexStage;
use crate::recover::{OpenError, put_state, recover};
use crate::segment::Pos;
use crate::shared::{INBOX_PERMITS, Pending, Shared, get, lock};
use crate::stats::{LaneStats, QueueStats};
use crate::survey::{Inspection, LaneBooks, Place, SurveyError};
use crate::types::{
    Appended, DEAD_WORDS_BYTES_MAX, DeadLetter, DeadNote, End, Lane, NewRecord, PROFILE_BYTES_MAX, Record,
    Seq, Settlement,
};
use crate::{chunk, indexer, progress, quarantine, repair};

/// Bytes of a value kept by [`Store::put_state`].
pub const STATE_BYTES_MAX: usize = 4096;

/// An open store. Cheap to clone; the last clone that goes closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    cache: ChunkCache,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    committer: JoinHandle<()>,
    indexer: JoinHandle<()>,
    maintainer: JoinHandle<()>,
    preparer: JoinHandle<()>,
    /// Held until every thread has ended.
    _lock: File,
}

impl Store {
    /// Opens the store in `options.dir`, made if absent.
    ///
    /// Takes the time to read the newest few segments, whatever the backlog. The index follows
    /// in the background; until it has, [`Store::claim`] says [`ReadError::IndexNotReady`] while
    /// appending works.
    ///
    /// # Errors
    /// [`OpenError`]; a second opener is told who holds the store.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::start(options, Maintainer::run)
    }

    /// Opens it with `maintain` as what the maintainer's thread does; a test keeps the log in shape
    /// step by step.
    pub(crate) fn start(
        options: Options,
        maintain: impl FnOnce(Maintainer) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let found = recover(&options)?;
        let shared = Arc::new(Shared::new(options));
        shared.counters.quarantine_bytes.store(quarantine::bytes(&shared.options.dir), Ordering::Relaxed);
        // Whoever looks before the preparer has is not to see a full disk.
        if let Ok(free) = crate::space::free_bytes(&shared.options.dir) {
            shared.counters.disk_free_bytes.store(free, Ordering::Relaxed);
        }
        shared.durable.change(|end| *end = found.tail.0);
        shared.space.change(|s| {
            s.prepared = found.prepared.into();
            s.highest_ordinal = found.highest_ordinal;
        });
        let is_damaged = !found.table.vanished.is_empty() || !found.holes.is_empty();
        shared.is_damaged.store(is_damaged, Ordering::Release);
        *lock(&shared.table) = found.table;
        *lock(&shared.states) = found.states;
        let (end, chain) = found.tail;
        let committer = Committer {
            shared: shared.clone(),
            sealed: found.active.bytes != shared.options.segment_bytes || end.ordinal != found.active.ordinal,
            active: found.active,
            offset: end.offset,
            header: found.header,
            chain,
            opening: Some(chunk::Encoded::opening()),
            dedup: found.dedup,
            watermark: found.watermark,
            watermark_flushed: Instant::now(),
            watermark_dirty: false,
            buf: Vec::new(),
        };
        let maintainer = Maintainer {
            shared: shared.clone(),
            index_flushed: Instant::now(),
            checkpoint_at: Pos::default(),
            rebuilt_for_balance: false,
            moved_to: Pos::default(),
            left_behind: None,
            holes: found.holes,
            restate_failed: None,
            unsaid: BTreeSet::new(),
        };
        let (for_indexer, for_preparer) = (shared.clone(), shared.clone());
        let failed = |source| OpenError::Io { what: "start a thread of the store".into(), source };
        let threads = Threads {
            committer: spawn(&shared, "store-commit", move || committer.run()).map_err(failed)?,
            indexer: spawn(&shared, "store-index", move || indexer::run(&for_indexer, found.tail))
                .map_err(failed)?,
            maintainer: spawn(&shared, "store-maintain", move || maintain(maintainer)).map_err(failed)?,
            preparer: spawn(&shared, "store-prepare", move || prepare::run(&for_preparer)).map_err(failed)?,
            _lock: found.lock,
        };
        let inner = Inner { shared, cache: ChunkCache::default(), threads: Mutex::new(Some(threads)) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Appends all of `records` or none, and returns once they are durable.
    ///
    /// The answers are in the order of the records. Cancel-safe in this sense: when the future
    /// is dropped the records may still be stored, so the sender resends with the same identity.
    ///
    /// # Errors
    /// [`AppendError`]; nothing of `records` was acknowledged then.
    pub async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        let shared = &self.inner.shared;
        let bytes = self.check(&records)?;
        let permits = usize::try_from(bytes / 1024 + 1).unwrap_or(INBOX_PERMITS).min(INBOX_PERMITS);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let permit = shared
            .inbox_permits
            .clone()
            .acquire_many_owned(permits)
            .await
            .map_err(|_| AppendError::Closing)?;
        let answer = shared.submit(records, bytes, Some(permit))?;
        answer.await.unwrap_or(Err(AppendError::Closing))
    }

    /// Claims up to `records_max` waiting records of `lane` that are due at `now_ms`.
    ///
    /// A claimed record is not given out again until it is settled. May read the disk: call it
    /// where blocking is allowed.
    ///
    /// # Errors
    /// [`ReadError`]; nothing stays claimed then.
    pub fn claim(
        &self,
        lane: &Lane,
        end: End,
        records_max: usize,
        now_ms: u64,
    ) -> Result<Vec<Record>, ReadError> {
        claim::claim(&self.inner.shared, &self.inner.cache, lane, end, records_max, now_ms)
    }

    /// Notes how a claim ended. Takes effect at once, is durable within a second, never waits for
    /// the disk. Does nothing for a record that is not claimed.
    pub fn settle(&self, seq: Seq, settlement: Settlement) {
        let shared = &self.inner.shared;
        let mut claims = lock(&shared.claims);
        let Some(lane) = claims.get(&seq.0).cloned() else { return };
        let pending = match settlement {
            Settlement::Released => {
                claims.remove(&seq.0);
                lock(&shared.cursors).remove(&lane);
                drop(claims);
                shared.changed.notify_one();
                return;
            }
            Settlement::Delivered => Pending::Gone(Gone::Delivered, lane, seq.0),
            Settlement::Discarded => Pending::Gone(Gone::Discarded, lane, seq.0),
            Settlement::Dead(note) => {
                Pending::Note(Note::Dead(lane, seq.0, chunk::dead_of(&cut_words(note))))
            }
            Settlement::Postponed { not_before_ms, attempts, first_attempt_at_ms } => {
                let seq = seq.0;
                Pending::Note(Note::Postponed { lane, seq, not_before_ms, attempts, first_attempt_at_ms })
            }
        };
        drop(claims);
        shared.note([pending]);
    }

    /// Gives up a dead letter. Durable within a second.
    ///
    /// # Errors
    /// [`ReadError`], when the index cannot be asked. `Ok(false)`: there is no such dead letter.
    pub fn discard_dead(&self, seq: Seq) -> Result<bool, ReadError> {
        let Some(entry) = claim::dead_entry(&self.inner.shared, seq)? else { return Ok(false) };
        self.inner.shared.note([Pending::Gone(Gone::Discarded, entry.lane, seq.0)]);
        Ok(true)
    }

    /// Up to `records_max` dead letters with numbers after `after`, ascending.
    ///
    /// # Errors
    /// [`ReadError`], when the index or the disk cannot be asked.
    pub fn dead_letters(&self, after: Seq, records_max: usize) -> Result<Vec<DeadLetter>, ReadError> {
        claim::dead_letters(&self.inner.shared, &self.inner.cache, after, records_max)
    }

    /// Returns when records may have become claimable since the last call. For one waiter.
    pub async fn changed(&self) {
        self.inner.shared.changed.notified().await;
    }

    /// Whether the index has followed the log to its end since the store was opened.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.shared.followed.lock().ready
    }

    /// What the index does, and how far it has come.
    #[must_use]
    pub fn index_stage(&self) -> IndexStage {
        progress::index_stage(&self.inner.shared)
    }

    /// Waits until [`Store::is_ready`] or until `at_most` has passed; says which.
    #[must_use]
    pub fn wait_ready(&self, at_most: Duration) -> bool {
        self.inner.shared.followed.wait(at_most, |f| f.ready).ready
    }

    /// Waits until every note so far is durable and the index has followed it. False when `at_most`
    /// passed first.
    #[must_use]
    pub fn wait_settled(&self, at_most: Duration) -> bool {
        let shared = &self.inner.shared;
        let deadline = Instant::now() + at_most;
        let noted = shared.inbox.lock().noted;
        let end = loop {
            // A job is done after the commit that was under way when it came, so what had been taken
            // before is durable with it; what was taken meanwhile may be under way itself.
            let taken = shared.inbox.lock().notes_taken();
            let Ok(end) = shared.run_job(Vec::new()) else { return false };
            // Not until there are none: a drain at work keeps them coming. What a failed commit gave
            // back is not taken.
            if taken.min(shared.inbox.lock().notes_taken()) >= noted {
                break end;
            }
            if Instant::now() >= deadline {
                return false;
            }
        };
        self.wait_index(end, deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits until the index has followed all that is durable now, or until `at_most` has passed;
    /// says which. Nothing is written for it.
    #[must_use]
    pub fn wait_followed(&self, at_most: Duration) -> bool {
        let end = *self.inner.shared.durable.lock();
        self.wait_index(end, at_most)
    }

    fn wait_index(&self, end: Pos, at_most: Duration) -> bool {
        let followed = *self.inner.shared.followed.wait(at_most, |f| f.ready && f.at >= end);
        followed.ready && followed.at >= end
    }

    /// A number above those of all records that the index has followed.
    ///
    /// # Errors
    /// [`ReadError`], when the index cannot be asked.
    pub fn followed_to(&self) -> Result<Seq, ReadError> {
        claim::followed_to(&self.inner.shared)
    }

    /// How many records with numbers below `before` wait, claimed ones included, by lane; lanes
    /// without any are left out. Exact where they lie in at most 1,024 chunks of their lane; beyond
    /// it all that waits in the lane is told. May read the disk.
    ///
    /// # Errors
    /// [`ReadError`], when the index cannot be asked.
    pub fn waiting_before(&self, before: Seq) -> Result<Vec<(Lane, u64)>, ReadError> {
        claim::waiting_before(&self.inner.shared, before)
    }

    /// The counts that this process keeps, by lane, and up to where in the log they count: for who counts the
    /// log itself and compares.
    ///
    /// # Errors
    /// [`ReadError`], when the index cannot be asked.
    pub fn books(&self) -> Result<(Place, Vec<LaneBooks>), ReadError> {
        claim::books(&self.inner.shared)
    }

    /// Looks at all of the log, keeps what is damaged, and counts what cannot be read as lost. Call it when
    /// [`Store::wait_settled`] was true, and [`Store::wait_restated`] after it.
    ///
    /// # Errors
    /// [`SurveyError`], when the log cannot be read; nothing was lost then.
    pub fn meet_damage(&self) -> Result<Inspection, SurveyError> {
        repair::meet(&self.inner.shared)
    }

    /// Waits until what damage took of the ends of records is said again, `at_most` that long. A store that closes
    /// before leaves that to the next one, and its index alone knows those ends until then.
    #[must_use]
    pub fn wait_restated(&self, at_most: Duration) -> bool {
        let shared = &self.inner.shared;
        let is_said =
            || !shared.is_damaged.load(Ordering::Acquire) && !shared.is_restating.load(Ordering::Acquire);
        shared.wake_maintainer();
        drop(shared.space.wait(at_most, |_| is_said()));
        is_said()
    }

    /// Every lane that ever held a record, with its counts.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneStats> {
        let mut lanes = lock(&self.inner.shared.lanes).clone();
        let claims = lock(&self.inner.shared.claims);
        for lane in &mut lanes {
            let LaneStats { lane: Lane { profile, route }, claimed, .. } = lane;
            let of_lane = claims.values().filter(|name| name.route == *route && *name.profile == **profile);
            *claimed = of_lane.count() as u64;
        }
        lanes
    }

    /// Returns the name of a thread of the store that panicked; waits until one does. The store is
    /// of no use then: what was acknowledged is durable, and the process should start anew.
    pub async fn broken(&self) -> &'static str {
        let mut broken = self.inner.shared.broken.subscribe();
        let name = broken.wait_for(Option::is_some).await.ok().and_then(|name| *name);
        match name {
            Some(name) => name,
            // The sender lives in `shared`, which `self` holds.
            None => std::future::pending().await,
        }
    }

    /// Counts for metrics and `status`.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        let shared = &self.inner.shared;
        let c = &shared.counters;
        let at = shared.followed.lock().at;
        QueueStats {
            lanes: self.lanes(),
            log_bytes: log_bytes(shared),
            log_bytes_max: shared.options.capacity_bytes,
            disk_free_bytes: get(&c.disk_free_bytes),
            commits: get(&c.commits),
            commit_records: get(&c.commit_records),
            duplicates: get(&c.duplicates),
            conflicts: get(&c.conflicts),
            disk_errors: get(&c.disk_errors),
            damaged_regions: get(&c.damaged_regions),
            index_rebuilds: get(&c.index_rebuilds),
            index_lag_bytes: progress::bytes_from(shared, at),
            imbalance: get(&c.imbalance),
            quarantine_bytes: get(&c.quarantine_bytes),
        }
    }

    /// Keeps a small value (at most [`STATE_BYTES_MAX`]; more is not kept) across restarts. Durable
    /// within a second; an empty value removes it.
    pub fn put_state(&self, name: &str, value: &[u8]) {
        if self.keep_state(name, value) {
            self.inner.shared.note([Pending::Note(Note::State(name.into(), value.into()))]);
        }
    }

    /// As [`Store::put_state`], for what can be found out again: while the log is full it is durable with the next
    /// checkpoint only. What is left of the log is for the ends of records, which make room.
    pub fn put_state_if_there_is_room(&self, name: &str, value: &[u8]) {
        if self.inner.shared.space.lock().exhausted.is_none() {
            self.put_state(name, value);
        } else {
            self.keep_state(name, value);
        }
    }

    /// In memory. False if it is too large.
    fn keep_state(&self, name: &str, value: &[u8]) -> bool {
        let fits = value.len() <= STATE_BYTES_MAX;
        if fits {
            put_state(&mut lock(&self.inner.shared.states), name.into(), value.into());
        } else {
            tracing::warn!(name, bytes = value.len(), "a value is too large to be kept");
        }
        fits
    }

    /// The value last put under `name`.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.inner.shared.states).get(name).cloned()
    }

    /// Commits what waits, settlements included, and ends the store's threads. Appending says
    /// [`AppendError::Closing`] from now on. Does nothing the second time.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Bounds of what may be appended; gives the bytes it takes.
    fn check(&self, records: &[NewRecord]) -> Result<u64, AppendError> {
        let o = &self.inner.shared.options;
        let mut bytes = 0;
        for record in records {
            let out = |what: String| Err(AppendError::OutOfBounds(what));
            if record.body.len() as u64 > o.record_bytes_max {
                return out(format!(
                    "a body of {} bytes, at most {} fit",
                    record.body.len(),
                    o.record_bytes_max
                ));
            }
            let profile = &record.lane.profile;
            if profile.is_empty() || profile.len() > PROFILE_BYTES_MAX || profile.contains('\0') {
                return out(format!("a profile's name has 1 to {PROFILE_BYTES_MAX} bytes and no NUL"));
            }
            if record.key.is_empty() || record.key.len() > 255 {
                return out("a key has 1 to 255 bytes".into());
            }
            let words = record.dead.as_ref().map_or(0, |d| d.words.len());
            if words > DEAD_WORDS_BYTES_MAX {
                return out(format!("a dead letter's words have at most {DEAD_WORDS_BYTES_MAX} bytes"));
            }
            bytes += (record.body.len() + record.key.len() + profile.len() + words + 128) as u64;
        }
        if records.len() > 1 && bytes > o.group_bytes_max() / 2 {
            return Err(AppendError::OutOfBounds(format!(
                "{bytes} bytes at once, at most {} fit; send fewer records",
                o.group_bytes_max() / 2
            )));
        }
        Ok(bytes)
    }
}

impl Inner {
    fn close(&self) {
        let Some(threads) = lock(&self.threads).take() else { return };
        self.shared.closing.store(true, Ordering::Release);
        self.shared.inbox_permits.close();
        // The maintainer first: it may be waiting for the committer.
        self.shared.wake_maintainer();
        self.shared.wake_preparer();
        join(threads.maintainer);
        self.shared.inbox.change(|inbox| inbox.closing = true);
        join(threads.committer);
        join(threads.indexer);
        join(threads.preparer);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(
    shared: &Arc<Shared>,
    name: &'static str,
    f: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let shared = shared.clone();
    let run = move || {
        if std::panic::catch_unwind(AssertUnwindSafe(f)).is_err() {
            tracing::error!(thread = name, "a thread of the store panicked");
            shared.broken.send_if_modified(|first| first.replace(name).is_none());
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(run)
}

fn join(thread: JoinHandle<()>) {
    // A panic was caught and told in the thread itself.
    drop(thread.join());
}

fn cut_words(mut note: DeadNote) -> DeadNote {
    if note.words.len() > DEAD_WORDS_BYTES_MAX {
        let mut end = DEAD_WORDS_BYTES_MAX;
        while !note.words.is_char_boundary(end) {
            end -= 1;
        }
        note.words.truncate(end);
    }
    note
}

#[cfg(test)]
mod tests;
