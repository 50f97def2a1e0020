//! Whether a log is whole: every segment, every chunk with its bodies, every link, and the watermark.

use std::collections::BTreeSet;
use std::path::Path;

use revenium_migrations::log_v1::{self as v1, Checkpoint, ChunkKind, Notes};

use super::{Met, Survey, SurveyError, until_at_rest};
use crate::chunk::{self, ChunkAt};
use crate::quarantine;
use crate::scan::FIRST_CHUNK;
use crate::segment::{Pos, Segment};

/// What was looked at, and what of it is damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Segments in use.
    pub segments: u64,
    /// Whole chunks.
    pub chunks: u64,
    /// Records in them, moved ones each time.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// In the order of the log.
    pub damage: Vec<Damage>,
}

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong there.
    pub what: What,
    /// The segment's ordinal.
    pub segment: u64,
    /// The bytes from the first up to the other; both 0 for a file that is not there.
    pub bytes: (u64, u64),
    /// Records that lay there, whatever had become of them: ranges of (first, first after).
    pub records: Vec<(u64, u64)>,
    /// Whether an agent met it before, and kept the damaged bytes.
    pub is_kept: bool,
}

/// Kinds of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A segment's header. Its chunks are read all the same.
    Header,
    /// Bytes that are no chunk, where one was.
    NoChunk,
    /// The bodies of a chunk, which is whole otherwise.
    Bodies,
    /// A chunk's directory, which is not what was written although its checksum is right.
    Directory,
    /// The file is not there.
    NoFile,
    /// What comes next is not what was written next.
    Break,
    /// The watermark says nothing; the segment is the log's last.
    NoWatermark,
}

impl Inspection {
    /// Looks at all of the log in `dir`. Damage is looked at twice, as an agent may have been at work there.
    ///
    /// # Errors
    /// [`SurveyError`].
    pub fn of_log(dir: &Path) -> Result<Self, SurveyError> {
        let first = until_at_rest(|| Self::once(dir))?;
        if first.damage.is_empty() { Ok(first) } else { until_at_rest(|| Self::once(dir)) }
    }

    /// How many records lay in what is damaged.
    #[must_use]
    pub fn records_damaged(&self) -> u64 {
        let ranges = self.damage.iter().flat_map(|damage| &damage.records);
        ranges.map(|(first, after)| after - first).sum()
    }

    fn once(dir: &Path) -> Result<Self, SurveyError> {
        let survey = Survey::open(dir, None)?;
        let mut seen = Seen { survey: &survey, found: Self::default(), told: 0, missing: BTreeSet::new() };
        seen.missing.clone_from(&survey.table.vanished);
        survey.walk(|segment, met| {
            seen.take(segment, met);
            Ok(())
        })?;
        Ok(seen.end())
    }
}

struct Seen<'a> {
    survey: &'a Survey,
    found: Inspection,
    /// Damage whose records are known: that of the last break, and all before it.
    told: usize,
    /// Segments that are not there, as far as they were not come to.
    missing: BTreeSet<u64>,
}

impl Seen<'_> {
    fn take(&mut self, segment: &Segment, met: Met<'_>) {
        self.miss_files_before(segment.ordinal);
        match met {
            Met::Chunk(at, directory, bodies) => {
                let seqs = chunk::numbered(at, directory).map(|(seqs, _)| seqs);
                let what = match (&bodies, &seqs) {
                    (None, _) => Some(What::Bodies),
                    (Some(_), None) if !decodes(at, directory) => Some(What::Directory),
                    _ => None,
                };
                let seqs = seqs.unwrap_or_default();
                match what {
                    Some(what) => self.add(what, at.pos, at.end(), runs(&seqs)),
                    None => {
                        self.found.chunks += 1;
                        self.found.records += seqs.len() as u64;
                        self.found.bytes += at.header.chunk_bytes();
                    }
                }
                self.told = self.found.damage.len();
            }
            Met::Hole(from, to) => {
                self.add(What::NoChunk, Pos { ordinal: segment.ordinal, offset: from }, to, Vec::new());
            }
            Met::Break(first, after, at) => self.break_at(first, after, at),
        }
    }

    /// What was missed lay in the damage since the last chunk; if there is none, just here.
    fn break_at(&mut self, first: u64, after: u64, at: Pos) {
        // At the end of the log, files may be missing behind the last that is there.
        self.miss_files_before(at.ordinal.saturating_add(1));
        let range = (first < after).then_some((first, after));
        let untold = self.found.damage.iter_mut().skip(self.told).find(|d| d.what != What::Header);
        match untold {
            Some(damage) => damage.records.extend(range),
            None => self.add(What::Break, at, at.offset, range.into_iter().collect()),
        }
        self.told = self.found.damage.len();
    }

    fn miss_files_before(&mut self, ordinal: u64) {
        while let Some(missing) = self.missing.first().copied().filter(|missing| *missing < ordinal) {
            self.missing.pop_first();
            self.add(What::NoFile, Pos { ordinal: missing, offset: 0 }, 0, Vec::new());
        }
    }

    fn add(&mut self, what: What, at: Pos, to: u64, records: Vec<(u64, u64)>) {
        let is_kept = quarantine::has(&self.survey.dir, at.ordinal, at.offset);
        let (segment, bytes) = (at.ordinal, (at.offset, to));
        self.found.damage.push(Damage { what, segment, bytes, records, is_kept });
    }

    fn end(mut self) -> Inspection {
        self.miss_files_before(u64::MAX);
        for ordinal in &self.survey.headless {
            self.add(What::Header, Pos { ordinal: *ordinal, offset: 0 }, FIRST_CHUNK, Vec::new());
        }
        if self.survey.mark.is_none() {
            let last = self.survey.table.segments.keys().next_back().copied().unwrap_or_default();
            self.add(What::NoWatermark, Pos { ordinal: last, offset: 0 }, 0, Vec::new());
        }
        self.found.segments = self.survey.table.segments.len() as u64;
        if let Some(mark) = self.survey.mark.filter(|_| self.found.segments == 0)
            && let Some(last) = self.found.damage.last_mut()
        {
            last.records = vec![(1, mark.next_seq.max(1))];
        }
        self.found.damage.sort_by_key(|damage| (damage.segment, damage.bytes));
        self.found
    }
}

/// Whether a directory without records is what it should be.
fn decodes(at: &ChunkAt, directory: &[u8]) -> bool {
    match at.header.kind {
        ChunkKind::Records | ChunkKind::Relocation => false,
        ChunkKind::Notes => v1::decode::<Notes>(directory).is_ok(),
        ChunkKind::Checkpoint => v1::decode::<Checkpoint>(directory).is_ok(),
    }
}

/// Ascending numbers as ranges of (first, first after).
fn runs(seqs: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for seq in seqs {
        match runs.last_mut().filter(|(_, after)| after == seq) {
            Some((_, after)) => *after += 1,
            None => runs.push((*seq, seq + 1)),
        }
    }
    runs
}
