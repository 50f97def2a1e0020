//! The one writer of the log: takes what waits, appends it, flushes it, then acknowledges.
//!
//! It never lingers when idle; under load the flush in progress gathers the next group. A group
//! never spans two segments. When a write or a flush fails, the file is sealed for good where it
//! last was durable, and the group is written once more to a fresh segment; if that fails too,
//! its senders are told and its numbers are never used again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use revenium_migrations::log_v1::{Gone, LaneName, Note, Notes, Producer, SegmentHeader};

use crate::chunk::{Chain, Encoded, key_of};
use crate::dedup::{Dedup, Known, identity};
use crate::error::AppendError;
use crate::scan::{FIRST_CHUNK, Until};
use crate::segment::{Pos, Segment};
use crate::shared::{Answer, Inbox, Job, JobChunk, Listed, Pending, Shared, Submission, add, lock};
use crate::types::{Appended, DEAD_REASON_CONFLICT, DeadNote, NewRecord, Seq};
use crate::watermark::{Mark, Watermark};

/// How long the committer stays ready before it flushes the watermark of its last commit.
const IDLE_AFTER: Duration = Duration::from_millis(20);
/// Under load the watermark is flushed this often.
const WATERMARK_FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How long a group waits for a segment that is being prepared.
const SEGMENT_WAIT_MAX: Duration = Duration::from_secs(30);
/// Notes of one commit.
pub(crate) const NOTES_MAX: usize = 4096;
/// Ranges of producers' numbers that a checkpoint keeps, the latest used first.
const CHECKPOINT_RANGES_MAX: usize = 65_536;

pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) active: Arc<Segment>,
    /// Where the last durable chunk of the active segment ends; `FIRST_CHUNK` before the first.
    pub(crate) offset: u64,
    /// Set until the active segment's header is written.
    pub(crate) header: Option<SegmentHeader>,
    pub(crate) chain: Chain,
    /// Goes before the first commit, so that none is like one that the power cut short: of such a one, bytes
    /// may lie beyond the end of the log, and link to what is like its beginning.
    pub(crate) opening: Option<Encoded>,
    /// Set when a write or flush of the active segment failed: it is never written again.
    pub(crate) sealed: bool,
    pub(crate) dedup: Dedup,
    pub(crate) watermark: Watermark,
    pub(crate) watermark_flushed: Instant,
    pub(crate) watermark_dirty: bool,
    pub(crate) buf: Vec<u8>,
}

/// What one commit takes from the inbox.
#[derive(Default)]
struct Work {
    appends: Vec<Submission>,
    notes: Vec<Pending>,
    job: Option<Job>,
    closing: bool,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.notes.is_empty() && self.job.is_none()
    }
}

/// Submissions that were looked at: their new records, and what to answer once they are durable.
#[derive(Default)]
struct Group {
    records: Vec<NewRecord>,
    answers: Vec<(Answer, Vec<Appended>)>,
    duplicates: u64,
    conflicts: u64,
}

impl Committer {
    pub(crate) fn run(mut self) {
        loop {
            let work = self.take();
            if work.is_empty() && work.closing {
                break;
            }
            if !work.is_empty() {
                self.commit(work);
                self.shared.inbox.change(|inbox| inbox.notes_in_commit = 0);
                self.dedup.forget_oldest_keys();
            }
            self.flush_watermark_if_due();
        }
        self.flush_watermark();
        self.shared.inbox.change(|inbox| *inbox = Inbox { closing: true, ended: true, ..Inbox::default() });
        // Wakes the indexer, which ends when the log has.
        self.shared.log_ended.store(true, Ordering::Release);
        self.shared.durable.change(|_| ());
    }

    fn take(&mut self) -> Work {
        let shared = self.shared.clone();
        // Half of it, because a note may come when this thread has just begun to wait.
        let settle_within = shared.options.settle_within / 2;
        let due = |inbox: &mut Inbox| {
            let notes_are_due = inbox.notes_are_due(settle_within);
            !inbox.appends.is_empty() || !inbox.jobs.is_empty() || notes_are_due || inbox.closing
        };
        let at_most = if self.watermark_dirty { IDLE_AFTER } else { settle_within };
        let mut inbox = shared.inbox.wait(at_most, due);
        if !due(&mut inbox) {
            drop(inbox);
            self.flush_watermark();
            return Work::default();
        }
        let mut work = Work { closing: inbox.closing, ..Work::default() };
        let group_bytes_max = shared.options.group_bytes_max();
        let mut bytes = 0;
        while let Some(next) = inbox.appends.front() {
            if !work.appends.is_empty() && bytes + next.bytes > group_bytes_max / 2 {
                break;
            }
            bytes += next.bytes;
            work.appends.extend(inbox.appends.pop_front());
        }
        let mut notes_bytes = 0;
        while let Some(next) = inbox.notes.front() {
            notes_bytes += pending_bytes(next);
            if work.notes.len() >= NOTES_MAX || (!work.notes.is_empty() && notes_bytes > group_bytes_max / 8)
            {
                break;
            }
            work.notes.extend(inbox.notes.pop_front());
        }
        (inbox.notes_in_commit, inbox.notes_came_back) = (work.notes.len(), false);
        if inbox.notes.is_empty() {
            inbox.oldest_note = None;
        }
        work.job = inbox.jobs.pop_front();
        work
    }

    fn commit(&mut self, mut work: Work) {
        let mut group = Group::default();
        for submission in std::mem::take(&mut work.appends) {
            self.admit(submission, &mut group);
        }
        let first_seq = self.chain.next_seq;
        let mut chunks = self.encode_records(first_seq, &group.records);
        let of_records = chunks.len();
        let notes = std::mem::take(&mut work.notes);
        if !notes.is_empty() {
            chunks.push(Encoded::notes(&Notes { carried: false, notes: gather(&notes) }));
        }
        let of_job = chunks.len();
        chunks.extend(self.encode_job(work.job.as_ref()));
        if of_records > 0 && !self.make_room(&chunks, true) {
            let full = self.shared.space.lock().exhausted.clone();
            self.refuse(&mut group, &full.unwrap_or(AppendError::Disk("no segment became ready".into())));
            // A checkpoint knows the producers' numbers: not those that were just refused.
            chunks.truncate(of_job);
            chunks.extend(self.encode_job(work.job.as_ref()));
            chunks.drain(..of_records);
        }
        if chunks.is_empty() {
            // Nothing but resends, or a job that only asks how far the log is: all of it is durable.
            self.acknowledge(group);
            if let Some(job) = work.job {
                let _ = job.done.send(Ok(self.end()));
            }
            return;
        }
        if !self.make_room(&chunks, false) {
            let error = AppendError::Disk("no segment is left, not even the reserve".into());
            self.give_up(group, notes, work.job, &error);
            return;
        }
        match self.write(&chunks) {
            Ok(()) => {
                self.acknowledge(group);
                if let Some(job) = work.job {
                    // A maintainer that is gone asked for nothing.
                    let _ = job.done.send(Ok(self.end()));
                }
            }
            Err(error) => {
                // The failed write may have left these numbers on the disk.
                self.chain.next_seq += group.records.len() as u64;
                self.give_up(group, notes, work.job, &AppendError::Disk(error.to_string()));
            }
        }
    }

    /// Looks at every record of a submission: new, resend or conflict. All of it joins the group or
    /// none does.
    fn admit(&mut self, submission: Submission, group: &mut Group) {
        if let Err(full) = self.check_budgets(&submission) {
            let _ = submission.done.send(Err(full));
            return;
        }
        let before = (group.records.len(), group.duplicates, group.conflicts);
        let mut answers = Vec::with_capacity(submission.records.len());
        let mut whole = Known::New;
        for record in submission.records {
            let known = self.known(&record, whole);
            if !record.is_part {
                whole = known;
            }
            match self.admit_record(record, known, group) {
                Ok(appended) => answers.push(appended),
                Err(error) => {
                    self.forget(&group.records[before.0..]);
                    group.records.truncate(before.0);
                    (group.duplicates, group.conflicts) = (before.1, before.2);
                    let _ = submission.done.send(Err(error));
                    return;
                }
            }
        }
        group.answers.push((submission.done, answers));
    }

    /// What is known of a record; `whole` is what is known of that which it is a part of, if it is one.
    fn known(&self, record: &NewRecord, whole: Known) -> Known {
        let own = self.dedup.look(record.number, identity_bits(record), record.fingerprint);
        match whole {
            _ if !record.is_part => own,
            Known::New => own,
            // What is known of a part alone is forgotten earlier than a number.
            Known::Resend => Known::Resend,
            Known::Conflict if own == Known::Resend => Known::Resend,
            Known::Conflict => Known::Conflict,
        }
    }

    fn admit_record(
        &mut self,
        mut record: NewRecord,
        known: Known,
        group: &mut Group,
    ) -> Result<Appended, AppendError> {
        let key = identity_bits(&record);
        if known == Known::Resend {
            group.duplicates += 1;
            return Ok(Appended::Duplicate);
        }
        let seq = Seq(self.chain.next_seq + group.records.len() as u64);
        if known == Known::Conflict {
            group.conflicts += 1;
            if !key.is_none_or(|bits| self.dedup.conflict_is_new(bits, record.fingerprint)) {
                return Ok(Appended::Conflict(Seq(0)));
            }
            record.dead = Some(DeadNote {
                reason: DEAD_REASON_CONFLICT,
                status: 0,
                words: "the same identity was stored before with other bytes".into(),
                at_ms: record.received_at_ms,
            });
            (record.number, record.key_is_identity) = (None, false);
            group.records.push(record);
            return Ok(Appended::Conflict(seq));
        }
        let fingerprint = record.fingerprint;
        self.dedup
            .insert(record.number, key, fingerprint, record.received_at_ms)
            .map_err(|_| AppendError::TooManyGaps { runs_max: self.shared.options.producer_ranges_max })?;
        group.records.push(record);
        Ok(Appended::Stored(seq))
    }

    fn check_budgets(&self, submission: &Submission) -> Result<(), AppendError> {
        if let Some(low) = &self.shared.space.lock().disk_low {
            return Err(low.clone());
        }
        let bytes_max = self.shared.options.profile_bytes_max;
        if bytes_max == 0 {
            return Ok(());
        }
        let held = lock(&self.shared.profile_bytes);
        for record in &submission.records {
            let profile = &*record.lane.profile;
            let bytes = held.get(profile).copied().unwrap_or(0);
            if bytes + record.body.len() as u64 > bytes_max {
                return Err(AppendError::Full { budget: format!("profile {profile}"), bytes, bytes_max });
            }
        }
        Ok(())
    }

    fn encode_records(&self, first_seq: u64, records: &[NewRecord]) -> Vec<Encoded> {
        let o = &self.shared.options;
        let mut chunks = Vec::new();
        let (mut from, mut bytes) = (0, 0u64);
        for (i, record) in records.iter().enumerate() {
            let full =
                i - from >= o.chunk_records_max || bytes + record.body.len() as u64 > o.chunk_bytes_max;
            // A chunk counts whole or not at all, so a record and its parts are in one.
            if i > from && full && !record.is_part {
                chunks.push(Encoded::records(
                    first_seq + from as u64,
                    &records[from..i],
                    o.compress_bytes_min,
                ));
                (from, bytes) = (i, 0);
            }
            bytes += record.body.len() as u64;
        }
        if from < records.len() {
            chunks.push(Encoded::records(first_seq + from as u64, &records[from..], o.compress_bytes_min));
        }
        chunks
    }

    fn encode_job(&self, job: Option<&Job>) -> Vec<Encoded> {
        job.iter().flat_map(|job| &job.chunks).map(|chunk| self.encode_job_chunk(chunk)).collect()
    }

    fn encode_job_chunk(&self, chunk: &JobChunk) -> Encoded {
        match chunk {
            JobChunk::Notes(notes) => Encoded::notes(notes),
            JobChunk::Relocation { base, moved, bodies } => {
                Encoded::relocation(*base, moved, bodies, self.shared.options.compress_bytes_min)
            }
            JobChunk::Checkpoint(checkpoint) => {
                let mut checkpoint = checkpoint.clone();
                checkpoint.producers = latest_producers(self.dedup.producers());
                checkpoint.states = lock(&self.shared.states).clone().into_iter().collect();
                Encoded::checkpoint(&checkpoint)
            }
        }
    }

    /// Makes sure that the chunks fit the active segment. Records may not take the last prepared
    /// segment, nor follow notes into it: it is the ballast with which settling goes on, and makes
    /// room again, when the disk is full.
    fn make_room(&mut self, chunks: &[Encoded], for_records: bool) -> bool {
        let bytes: u64 = self.opening.iter().chain(chunks).map(Encoded::bytes).sum();
        if !self.sealed && self.offset + bytes <= self.shared.options.segment_bytes {
            let space = self.shared.space.lock();
            return !for_records || !space.prepared.is_empty() || space.exhausted.is_none();
        }
        self.rotate(for_records)
    }

    /// Goes on in the next prepared segment, if there is one to be had.
    fn rotate(&mut self, for_records: bool) -> bool {
        let at_least = if for_records { 2 } else { 1 };
        self.shared.wake_preparer();
        let shared = self.shared.clone();
        let mut space =
            shared.space.wait(SEGMENT_WAIT_MAX, |s| s.prepared.len() >= at_least || s.exhausted.is_some());
        if space.prepared.len() < at_least {
            return false;
        }
        let Some(next) = space.prepared.pop_front() else { return false };
        drop(space);
        let next = Arc::new(next);
        self.header = Some(SegmentHeader {
            id: next.id,
            ordinal: next.ordinal,
            first_seq: self.chain.next_seq,
            prev_ordinal: self.active.ordinal,
            prev_end: self.offset,
            prev_crc: self.chain.crc,
        });
        {
            let mut table = lock(&self.shared.table);
            let until = Until::Sealed(self.offset);
            if let Some(old) = table.segments.get_mut(&self.active.ordinal) {
                old.until = until;
            }
            let listed = Listed { segment: next.clone(), until: Until::Sealed(FIRST_CHUNK), suspect: false };
            table.segments.insert(next.ordinal, listed);
            table.active = next.ordinal;
        }
        self.active = next;
        self.sealed = false;
        self.offset = FIRST_CHUNK;
        self.shared.wake_preparer();
        self.shared.wake_maintainer();
        true
    }

    /// Writes and flushes the chunks; once more on a fresh segment when that fails.
    fn write(&mut self, chunks: &[Encoded]) -> io::Result<()> {
        let Err(first) = self.write_once(chunks) else { return Ok(()) };
        tracing::error!(error = %first, segment = self.active.ordinal, "a write or flush failed; the file is sealed");
        add(&self.shared.counters.disk_errors, 1);
        self.seal_suspect();
        if !self.rotate(false) {
            return Err(first);
        }
        let second = self.write_once(chunks);
        if second.is_err() {
            add(&self.shared.counters.disk_errors, 1);
            self.seal_suspect();
        }
        second
    }

    fn write_once(&mut self, chunks: &[Encoded]) -> io::Result<()> {
        self.buf.clear();
        let mut from = self.offset;
        if let Some(header) = &self.header {
            self.buf.extend_from_slice(&header.encode());
            from = 0;
        }
        let mut chain = self.chain;
        for chunk in self.opening.iter().chain(chunks) {
            chunk.place(self.active.id, from + self.buf.len() as u64, &mut chain, &mut self.buf);
        }
        self.active.file.write_at(&self.buf, from)?;
        let began = Instant::now();
        self.active.file.flush()?;
        if let Some(hear) = &self.shared.options.on_flush {
            hear(began.elapsed());
        }
        self.shared.is_refused.store(false, Ordering::Release);
        (self.header, self.opening) = (None, None);
        self.offset = from + self.buf.len() as u64;
        self.chain = chain;
        let mark = Mark { end: self.end(), next_seq: self.chain.next_seq, crc: self.chain.crc };
        if let Err(error) = self.watermark.write(mark) {
            // It only tells of losses; the log itself is durable.
            tracing::warn!(%error, "cannot write the watermark");
            add(&self.shared.counters.disk_errors, 1);
        }
        self.watermark_dirty = true;
        self.shared.durable.change(|end| *end = mark.end);
        if self.buf.capacity() > 4 << 20 {
            self.buf = Vec::new();
        }
        Ok(())
    }

    fn seal_suspect(&mut self) {
        self.shared.is_refused.store(true, Ordering::Release);
        if let Some(listed) = lock(&self.shared.table).segments.get_mut(&self.active.ordinal) {
            listed.suspect = true;
            listed.until = Until::Sealed(self.offset);
        }
        self.sealed = true;
    }

    fn end(&self) -> Pos {
        Pos { ordinal: self.active.ordinal, offset: self.offset }
    }

    fn acknowledge(&mut self, group: Group) {
        let counters = &self.shared.counters;
        if !group.records.is_empty() {
            add(&counters.commits, 1);
            add(&counters.commit_records, group.records.len() as u64);
            if self.shared.options.profile_bytes_max > 0 {
                let mut held = lock(&self.shared.profile_bytes);
                for record in &group.records {
                    *held.entry(record.lane.profile.to_string()).or_default() += record.body.len() as u64;
                }
            }
        }
        add(&counters.duplicates, group.duplicates);
        add(&counters.conflicts, group.conflicts);
        for (done, answers) in group.answers {
            // A caller that went away resends with the same identity.
            let _ = done.send(Ok(answers));
        }
    }

    /// Nothing of the group is durable: senders are told, notes are kept for the next commit.
    fn give_up(&mut self, mut group: Group, notes: Vec<Pending>, job: Option<Job>, error: &AppendError) {
        self.refuse(&mut group, error);
        if let Some(job) = job {
            let _ = job.done.send(Err(error.clone()));
        }
        self.shared.inbox.change(|inbox| {
            for note in notes.into_iter().rev() {
                inbox.notes.push_front(note);
            }
            // Not at once, however many they are: the disk may need a moment.
            inbox.oldest_note = (!inbox.notes.is_empty()).then(Instant::now);
            inbox.notes_came_back = true;
            if inbox.closing {
                inbox.notes.clear();
                inbox.oldest_note = None;
            }
        });
    }

    fn refuse(&mut self, group: &mut Group, error: &AppendError) {
        self.forget(&group.records);
        group.records.clear();
        for (done, _) in group.answers.drain(..) {
            let _ = done.send(Err(error.clone()));
        }
    }

    fn forget(&mut self, records: &[NewRecord]) {
        for record in records {
            if record.dead.as_ref().is_none_or(|d| d.reason != DEAD_REASON_CONFLICT) {
                self.dedup.remove(record.number, identity_bits(record));
            } else {
                self.dedup.forget_conflict(record.fingerprint);
            }
        }
    }

    fn flush_watermark_if_due(&mut self) {
        if self.watermark_dirty && self.watermark_flushed.elapsed() >= WATERMARK_FLUSH_EVERY {
            self.flush_watermark();
        }
    }

    fn flush_watermark(&mut self) {
        if !self.watermark_dirty {
            return;
        }
        self.watermark_dirty = false;
        self.watermark_flushed = Instant::now();
        if let Err(error) = self.watermark.flush() {
            tracing::warn!(%error, "cannot flush the watermark");
            add(&self.shared.counters.disk_errors, 1);
        }
    }
}

/// The key by which a record is recognised, if it is.
fn identity_bits(record: &NewRecord) -> Option<u128> {
    let key = record.key_is_identity.then(|| key_of(&record.key));
    identity(record.number, key.as_ref(), &record.lane.profile)
}

fn pending_bytes(pending: &Pending) -> u64 {
    match pending {
        Pending::Note(Note::Dead(_, _, dead)) => 64 + dead.words.len() as u64,
        Pending::Note(Note::State(name, value)) => 64 + (name.len() + value.len()) as u64,
        Pending::Note(Note::Missing { ranges, .. }) => 64 + 20 * ranges.len() as u64,
        Pending::Note(Note::Gone(_, _, ranges)) => 64 + 15 * ranges.len() as u64,
        Pending::Note(_) => 64,
        Pending::Gone(..) => 15,
    }
}

/// Notes in order, with the ends of records gathered into ranges.
fn gather(pending: &[Pending]) -> Vec<Note> {
    let mut gone: BTreeMap<(Gone, &LaneName), Vec<u64>> = BTreeMap::new();
    let mut notes = Vec::new();
    for p in pending {
        match p {
            Pending::Gone(how, lane, seq) => gone.entry((*how, lane)).or_default().push(*seq),
            Pending::Note(note) => notes.push(note.clone()),
        }
    }
    let gathered = gone.into_iter().map(|((how, lane), seqs)| Note::Gone(how, lane.clone(), ranges(seqs)));
    notes.extend(gathered);
    notes
}

/// Numbers as ranges of (first, how many).
pub(crate) fn ranges(mut seqs: Vec<u64>) -> Vec<(u64, u32)> {
    seqs.sort_unstable();
    seqs.dedup();
    let mut ranges: Vec<(u64, u32)> = Vec::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some((first, n)) if *first + u64::from(*n) == seq && *n < u32::MAX => *n += 1,
            _ => ranges.push((seq, 1)),
        }
    }
    ranges
}

fn latest_producers(mut all: Vec<Producer>) -> Vec<Producer> {
    all.sort_by_key(|p| std::cmp::Reverse(p.last_used_ms));
    let mut left = CHECKPOINT_RANGES_MAX;
    all.retain(|p| {
        let fits = p.seen.len() <= left;
        left -= if fits { p.seen.len() } else { 0 };
        fits
    });
    all
}
