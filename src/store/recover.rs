//! Opening a log: who holds it, what is there, where it ends.
//!
//! Only the newest segments are read here, for the end of the log and for recent identities; the
//! index follows the rest in the background. Time and memory do not grow with the backlog.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use revenium_migrations::log_v1::{self as v1, ChunkKind, Note, Notes, SegmentHeader};

use crate::checkpoint;
use crate::chunk::{self, Chain, ChunkAt};
use crate::dedup::{Dedup, identity};
use crate::file::LogFile;
use crate::options::Options;
use crate::progress::{self, Progress};
use crate::scan::{self, FIRST_CHUNK, Step, Until};
use crate::segment::{self, Begins, Pos, Segment};
use crate::shared::{Listed, Table};
use crate::types::ProducerId;
use crate::watermark::{Mark, Watermark};

/// Why a store does not open. Nothing was changed, but for what an interrupted preparation left.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store {} is in use by {holder}", dir.display())]
    Locked {
        /// The store's directory.
        dir: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// A newer release wrote it.
    #[error("the store {}: {too_new}", dir.display())]
    TooNew {
        /// The store's directory.
        dir: PathBuf,
        /// Which format was found.
        too_new: revenium_migrations::TooNew,
    },
    /// The options contradict one another.
    #[error("the store's options do not fit together: {0}")]
    Options(String),
    /// The disk failed.
    #[error("cannot {what}")]
    Io {
        /// What was attempted, and where.
        what: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// A log as it was found.
pub(crate) struct Recovered {
    pub(crate) lock: File,
    pub(crate) table: Table,
    pub(crate) prepared: Vec<Segment>,
    pub(crate) active: Arc<Segment>,
    /// Set when the active segment was never written.
    pub(crate) header: Option<SegmentHeader>,
    /// Where the log ends, and the link to its last chunk.
    pub(crate) tail: (Pos, Chain),
    pub(crate) dedup: Dedup,
    pub(crate) states: BTreeMap<String, Vec<u8>>,
    pub(crate) watermark: Watermark,
    pub(crate) highest_ordinal: u64,
    /// Damage in the segments that were read.
    pub(crate) holes: Vec<Hole>,
}

/// Damaged bytes within a segment.
pub(crate) struct Hole {
    pub(crate) ordinal: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// More are met by whoever follows that segment.
const HOLES_MAX: usize = 1024;

/// Opens the log in `options.dir`.
pub(crate) fn recover(options: &Options) -> Result<Recovered, OpenError> {
    let began = Instant::now();
    options.check().map_err(OpenError::Options)?;
    let dir = &options.dir;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error("make the store's directory", dir))?;
    if let Some(parent) = dir.canonicalize().ok().as_deref().and_then(Path::parent) {
        // A log in a directory whose own name is not durable is not durable. Who may not open the
        // parent did not make the directory either.
        let _ = crate::file::flush_dir(parent);
    }
    let lock = take_lock(dir)?;
    let read = io_error("read the log in", dir);
    let (mut watermark, mark) =
        Watermark::open(dir, options.tap.clone()).map_err(io_error("open the watermark in", dir))?;
    let open = |path: &Path| LogFile::open(path, false, options.tap.clone());
    let found = segment::remove_leftovers(dir).and_then(|()| segment::list(dir, open));
    let found = found.map_err(io_error("list the log in", dir))?;
    let highest = found.last().map_or(0, |s| s.ordinal).max(mark.map_or(0, |m| m.end.ordinal));
    let (live, prepared) = classify(found, mark, dir)?;
    let mut prepared = usable(prepared, options.segment_bytes, dir)?;
    let mut table = list(live, mark);
    let mut dedup = Dedup::new(options.producers_max, options.producer_ranges_max, options.recent_keys_max);
    let mut states = BTreeMap::new();
    let mut holes = Vec::new();
    let walked = walk(options, &mut table, mark, (&mut dedup, &mut states), &mut holes);
    let (mut end, mut chain) = walked.map_err(read)?;
    chain.next_seq = chain.next_seq.max(1);
    if let Some(mark) = mark.filter(|m| m.end >= end && m.crc != chain.crc) {
        // Acknowledged records are missing at the tail; the index tells how many.
        tracing::error!(log_ends = ?end, acknowledged_to = ?mark.end, "the end of the log is missing");
        chain = Chain { next_seq: mark.next_seq.max(chain.next_seq), crc: mark.crc };
        if mark.end.ordinal == end.ordinal {
            end = mark.end;
        }
    }
    chain.next_seq = chain.next_seq.max(mark.map_or(1, |m| m.next_seq));
    let mut highest_ordinal = highest;
    let (active, header) = match table.segments.last_key_value() {
        Some((_, listed)) => {
            // Whatever a kill left in the page cache is counted from here on: it must be durable.
            listed.segment.file.flush().map_err(io_error("flush the log in", dir))?;
            (listed.segment.clone(), None)
        }
        None => {
            let first = if prepared.is_empty() {
                highest_ordinal += 1;
                segment::prewrite(options)
                    .and_then(|file| segment::put_in_place(options, &file, highest_ordinal))
                    .map_err(io_error("prepare a segment in", dir))?
            } else {
                prepared.remove(0)
            };
            end = Pos { ordinal: first.ordinal, offset: FIRST_CHUNK };
            let header = SegmentHeader {
                id: first.id,
                ordinal: first.ordinal,
                first_seq: chain.next_seq,
                prev_ordinal: 0,
                prev_end: 0,
                prev_crc: chain.crc,
            };
            (Arc::new(first), Some(header))
        }
    };
    let listed = Listed { segment: active.clone(), until: Until::AtLeast(end.offset), suspect: false };
    table.segments.insert(active.ordinal, listed);
    table.active = active.ordinal;
    let tail = (end, chain);
    let Progress { done_bytes: read_bytes, .. } = options.opening.progress();
    let (took_ms, segments) = (began.elapsed().as_millis(), table.segments.len());
    tracing::info!(took_ms, segments, read_bytes, "the log is open");
    // A mark there always is: without one, what a torn commit left could pass for damage.
    watermark
        .write(Mark { end, next_seq: chain.next_seq, crc: chain.crc })
        .and_then(|()| watermark.flush())
        .map_err(io_error("write the watermark in", dir))?;
    Ok(Recovered {
        lock,
        table,
        prepared,
        active,
        header,
        tail,
        dedup,
        states,
        watermark,
        highest_ordinal,
        holes,
    })
}

pub(crate) fn io_error(what: &str, path: &Path) -> impl Fn(io::Error) -> OpenError + use<> {
    let what = format!("{what} {}", path.display());
    move |source| OpenError::Io { what: what.clone(), source }
}

/// One opener at a time; the lock goes with the process.
fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let mut file = hold(dir)?;
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "process {}", std::process::id()));
    // A full disk keeps nobody from opening the store; the holder is just not named then.
    drop(written);
    Ok(file)
}

/// The lock, without a word of who holds it.
pub(crate) fn hold(dir: &Path) -> Result<File, OpenError> {
    let failed = io_error("lock the store", dir);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(&failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.is_empty() { "another process".into() } else { holder };
            Err(OpenError::Locked { dir: dir.to_path_buf(), holder })
        }
        Err(e) => Err(failed(e.into())),
    }
}

pub(crate) type Live = Vec<(Segment, Option<SegmentHeader>)>;

/// Segments with content, by ordinal, and prepared ones.
pub(crate) fn classify(
    found: Vec<Segment>,
    mark: Option<Mark>,
    dir: &Path,
) -> Result<(Live, Vec<Segment>), OpenError> {
    let read = io_error("read the log in", dir);
    let mut live = Vec::new();
    let mut headless = Vec::new();
    for segment in found {
        match segment.begins().map_err(&read)? {
            Begins::With(header) => live.push((segment, Some(header))),
            Begins::TooNew(found) => {
                let too_new = revenium_migrations::TooNew { found };
                return Err(OpenError::TooNew { dir: dir.to_path_buf(), too_new });
            }
            Begins::WithoutHeader => headless.push(segment),
        }
    }
    let acknowledged = mark.filter(|m| m.end.offset > FIRST_CHUNK).map_or(0, |m| m.end.ordinal);
    let newest = live.last().map_or(0, |(s, _)| s.ordinal).max(acknowledged);
    let mut prepared = Vec::new();
    for segment in headless {
        if live.iter().any(|(other, _)| other.ordinal == segment.ordinal) {
            // A preparation failed after its rename, and its ordinal was given again.
            tracing::warn!(segment = segment.ordinal, "a second file of a segment is left aside");
            continue;
        }
        // Prepared segments lie ahead of the log. One within it lost its header, not its chunks.
        let holds_chunks = || scan::step(&segment, FIRST_CHUNK, Until::Unknown, None);
        if segment.ordinal <= newest
            || (mark.is_none() && !matches!(holds_chunks().map_err(&read)?, Step::End))
        {
            tracing::error!(segment = segment.ordinal, "a segment's header is damaged; its chunks are read");
            live.push((segment, None));
        } else {
            prepared.push(segment);
        }
    }
    live.sort_by_key(|(s, _)| s.ordinal);
    Ok((live, prepared))
}

/// Prepared segments of the size that is asked for now, one for each ordinal; a preparation that
/// failed after its rename left a second one. The others hold nothing and are removed.
fn usable(prepared: Vec<Segment>, segment_bytes: u64, dir: &Path) -> Result<Vec<Segment>, OpenError> {
    let mut usable: Vec<Segment> = Vec::new();
    for segment in prepared {
        if segment.bytes == segment_bytes && usable.last().is_none_or(|last| last.ordinal < segment.ordinal) {
            usable.push(segment);
        } else {
            std::fs::remove_file(segment.file.path())
                .map_err(io_error("remove a prepared segment in", dir))?;
        }
    }
    Ok(usable)
}

/// How far each segment counts: the next one's header says where the log left it.
pub(crate) fn list(live: Live, mark: Option<Mark>) -> Table {
    let mut table = Table::default();
    let mut after: Option<SegmentHeader> = None;
    let mut is_last = true;
    for (segment, header) in live.into_iter().rev() {
        let until = match (after, mark) {
            (Some(next), _) if next.prev_ordinal == segment.ordinal => Until::Sealed(next.prev_end),
            (None, Some(mark)) if is_last && mark.end.ordinal == segment.ordinal => {
                Until::AtLeast(mark.end.offset)
            }
            (None, Some(mark)) if is_last && mark.end.ordinal < segment.ordinal => {
                Until::AtLeast(FIRST_CHUNK)
            }
            _ => Until::Unknown,
        };
        after = header;
        is_last = false;
        let listed = Listed { segment: Arc::new(segment), until, suspect: false };
        table.segments.insert(listed.segment.ordinal, listed);
    }
    table
}

/// Reads the newest segments, from one that holds a checkpoint on: identities, states, the end.
fn walk(
    options: &Options,
    table: &mut Table,
    mark: Option<Mark>,
    (dedup, states): (&mut Dedup, &mut BTreeMap<String, Vec<u8>>),
    holes: &mut Vec<Hole>,
) -> io::Result<(Pos, Chain)> {
    let opening = &options.opening;
    // Back to the latest checkpoint, to the beginning at most, and forth again.
    opening.begin(2 * table.segments.values().map(progress::bytes_of).sum::<u64>());
    let latest = checkpoint::latest(table.segments.values().rev().cloned(), |bytes| opening.pass(bytes))?;
    let covered = latest.as_ref().map_or_else(Pos::default, |found| found.at);
    checkpoint::heed(table, latest.as_ref())?;
    let oldest_kept = table.segments.keys().rev().nth(options.kept_segments + 1).copied().unwrap_or_default();
    // A chunk whose keys are too old to be remembered, and whose numbers the checkpoint knows.
    let keys_from = mark.map_or(0, |m| m.next_seq.saturating_sub(options.recent_keys_max as u64));
    let says_nothing = |at: &ChunkAt| at.pos < covered && at.header.next_seq <= keys_from;
    let mut end = Pos::default();
    let mut chain: Option<Chain> = None;
    let newest = || table.segments.range(oldest_kept.min(covered.ordinal)..).map(|(_, listed)| listed);
    opening.expect(newest().map(progress::bytes_of).sum());
    for listed in newest() {
        end = Pos { ordinal: listed.segment.ordinal, offset: FIRST_CHUNK };
        // The segment before this one may be gone; its header knows the link all the same.
        chain = listed.segment.link()?.or(chain);
        loop {
            let before = end.offset;
            match scan::step(&listed.segment, end.offset, listed.until, chain)? {
                Step::Chunk(at, directory) => {
                    if !says_nothing(&at) {
                        remember(&at, &directory, dedup, states);
                    }
                    chain = Some(at.chain());
                    end.offset = at.end();
                }
                Step::Hole(to) => {
                    if holes.len() < HOLES_MAX {
                        holes.push(Hole { ordinal: end.ordinal, from: end.offset, to });
                    }
                    end.offset = to;
                    if let Some(mark) = mark.filter(|m| m.end == end) {
                        // What was flushed behind the watermark links to a chunk that is damaged.
                        chain = Some(Chain { next_seq: mark.next_seq, crc: mark.crc });
                    }
                }
                Step::End => break,
            }
            opening.pass(end.offset - before);
        }
    }
    Ok((end, chain.unwrap_or_default()))
}

fn remember(at: &ChunkAt, directory: &[u8], dedup: &mut Dedup, states: &mut BTreeMap<String, Vec<u8>>) {
    match at.header.kind {
        ChunkKind::Records | ChunkKind::Relocation => {
            let Some((_, records)) = chunk::numbered(at, directory) else { return };
            for meta in records.metas {
                let number = meta.number.map(|(id, n)| (ProducerId(id), n));
                let profile = records.profiles.get(usize::from(meta.profile)).map_or("", String::as_str);
                let key = identity(number, meta.key_is_identity.then_some(&meta.key), profile);
                // It was accepted once, so it is within the bounds, unless they were made smaller.
                let _ = dedup.insert(number, key, meta.fingerprint, meta.received_at_ms);
                dedup.forget_oldest_keys();
            }
        }
        ChunkKind::Notes => {
            let Ok(said) = v1::decode::<Notes>(directory) else { return };
            for note in said.notes {
                if let Note::State(name, value) = note {
                    put_state(states, name, value);
                }
            }
        }
        ChunkKind::Checkpoint => {
            let Ok(checkpoint) = v1::decode::<v1::Checkpoint>(directory) else { return };
            dedup.restore(checkpoint.producers);
            *states = checkpoint.states.into_iter().collect();
        }
    }
}

/// An empty value removes.
pub(crate) fn put_state(states: &mut BTreeMap<String, Vec<u8>>, name: String, value: Vec<u8>) {
    if value.is_empty() {
        states.remove(&name);
    } else {
        states.insert(name, value);
    }
}
