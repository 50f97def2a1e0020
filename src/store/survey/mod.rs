//! Reading all of a log from outside: beside the agent that has it open, or after one that died.
//!
//! Takes no lock and changes nothing. Segments are read in the order in which they go, so one that goes
//! meanwhile was read before, as a rule; else the reading is [`SurveyError::Restless`] and has to begin again.
//! What the index knows is not asked.

mod books;
mod export;
mod fate;
mod inspect;
mod tally;
mod trace;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use books::{Books, LaneBooks};
pub use export::{Exported, export};
pub use fate::Fate;
pub use inspect::{Damage, Inspection, What};
pub use trace::{Traced, Tracing, trace};

use crate::checkpoint::{self, Found};
use crate::chunk::{self, Chain, ChunkAt};
use crate::file::LogFile;
use crate::progress::bytes_of;
use crate::recover::{self, OpenError, io_error};
use crate::scan::{self, FIRST_CHUNK, Step, Until};
use crate::segment::{self, Pos, Segment};
use crate::shared::Table;
use crate::watermark::{Mark, Watermark};

/// Why a log could not be read from outside. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// There is nothing to read.
    #[error("there is no log in {}", .0.display())]
    NoLog(PathBuf),
    /// A segment went while it was read. Begin again.
    #[error("the log changes faster than it can be read; try again when less is delivered")]
    Restless,
    /// Whoever was shown what was read could not take it.
    #[error("cannot hand on what was read")]
    Taker(#[source] std::io::Error),
    /// It does not open, or the disk failed.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A place in the log, and how the chain of chunks stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Of the segment.
    pub ordinal: u64,
    /// Within the segment.
    pub offset: u64,
    /// The first number not yet used.
    pub next_seq: u64,
    /// CRC of the last chunk's header, if that chunk is known.
    pub crc: Option<u32>,
}

/// What was met at the next place of the log.
pub(crate) enum Met<'a> {
    /// A chunk with its directory and, unless they are damaged, its bodies.
    Chunk(&'a ChunkAt, &'a [u8], Option<Bytes>),
    /// Damaged bytes, from one offset to the other.
    Hole(u64, u64),
    /// The chunk before is not the one that is named here: the numbers from the first up to the other, which may
    /// be the same, are missing before this place.
    Break(u64, u64, Pos),
}

impl Met<'_> {
    /// Bytes of the log that it is.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Chunk(at, ..) => at.end() - at.pos.offset,
            Self::Hole(from, to) => to - from,
            Self::Break(..) => 0,
        }
    }
}

/// How often a log is read that changes meanwhile.
const READINGS_MAX: usize = 10;

/// Reads until the log rests. `read` keeps what it may of the last time.
pub(crate) fn until_at_rest<T>(mut read: impl FnMut() -> Result<T, SurveyError>) -> Result<T, SurveyError> {
    let mut last = read();
    for _ in 1..READINGS_MAX {
        if !matches!(last, Err(SurveyError::Restless)) {
            break;
        }
        last = read();
    }
    last
}

/// A log as it lies there.
pub(crate) struct Survey {
    pub(crate) dir: PathBuf,
    pub(crate) table: Table,
    /// Segments whose headers are damaged.
    pub(crate) headless: Vec<u64>,
    pub(crate) latest: Option<Found>,
    pub(crate) mark: Option<Mark>,
}

impl Survey {
    /// Finds the log in `dir`, up to `until` or to its end.
    pub(crate) fn open(dir: &Path, until: Option<&Place>) -> Result<Self, SurveyError> {
        let read = io_error("read the log in", dir);
        // Before the files: what is acknowledged lies in those that are listed then.
        let mark = match until {
            Some(place) => place.mark(),
            None => Watermark::look(dir).map_err(&read)?,
        };
        let found = match segment::list(dir, LogFile::open_to_read) {
            // One that was just listed went, or there is no such directory.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && dir.exists() => {
                return Err(SurveyError::Restless);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            found => found.map_err(&read)?,
        };
        if found.is_empty() && mark.is_none() {
            return Err(SurveyError::NoLog(dir.to_owned()));
        }
        let (mut live, _) = recover::classify(found, mark, dir)?;
        live.retain(|(segment, _)| until.is_none_or(|place| segment.ordinal <= place.ordinal));
        let is_headless =
            |(segment, header): &(Segment, _)| Option::is_none(header).then_some(segment.ordinal);
        let headless = live.iter().filter_map(is_headless).collect();
        let mut table = recover::list(live, mark);
        if let Some(place) = until
            && let Some(listed) = table.segments.get_mut(&place.ordinal)
        {
            listed.until = Until::Sealed(place.offset);
        }
        let latest = checkpoint::latest(table.segments.values().rev().cloned(), |_| ()).map_err(&read)?;
        checkpoint::heed(&mut table, latest.as_ref()).map_err(&read)?;
        if let Some(mark) = mark.filter(|mark| mark.end.offset > FIRST_CHUNK)
            && !table.segments.contains_key(&mark.end.ordinal)
        {
            table.vanished.insert(mark.end.ordinal);
        }
        Ok(Self { dir: dir.to_owned(), table, headless, latest, mark })
    }

    /// Bytes of the log that there are to walk, as far as is known before.
    fn bytes(&self) -> u64 {
        self.table.segments.values().map(bytes_of).sum()
    }

    /// Shows all that the log holds, in its order.
    pub(crate) fn walk(
        &self,
        mut show: impl FnMut(&Segment, Met<'_>) -> Result<(), SurveyError>,
    ) -> Result<(), SurveyError> {
        let read = io_error("read the log in", &self.dir);
        let mut chain: Option<Chain> = None;
        let mut at = Pos::default();
        let mut last = None;
        for (ordinal, listed) in &self.table.segments {
            let segment = &*listed.segment;
            let is_missed = |from: u64| self.table.vanished.range(from + 1..*ordinal).next().is_some();
            if last.is_none() || (at.ordinal + 1 < *ordinal && !is_missed(at.ordinal)) {
                // Those between were retired; the header knows the link all the same.
                chain = segment.link().map_err(&read)?;
            }
            let left = at;
            at = Pos { ordinal: *ordinal, offset: FIRST_CHUNK };
            loop {
                match scan::step(segment, at.offset, listed.until, chain).map_err(&read)? {
                    Step::Chunk(found, directory) => {
                        // What is missing before a segment's first chunk lay at the end of the one before it.
                        let is_first = at.offset == FIRST_CHUNK && left.ordinal + 1 == at.ordinal;
                        let place = if is_first { left } else { at };
                        if let Some(missing) = chain.and_then(|chain| broken(chain, found.prev(), place)) {
                            show(segment, missing)?;
                        }
                        let bodies = chunk::bodies(segment, &found).map_err(&read)?;
                        show(segment, Met::Chunk(&found, &directory, bodies))?;
                        chain = Some(found.chain());
                        at.offset = found.end();
                    }
                    Step::Hole(to) => {
                        show(segment, Met::Hole(at.offset, to))?;
                        at.offset = to;
                        if let Some(mark) = self.mark.filter(|mark| mark.end == at) {
                            // What was flushed behind the watermark links to a chunk that is damaged.
                            let end = mark.chain();
                            if let Some(missing) = chain.and_then(|chain| broken(chain, end, at)) {
                                show(segment, missing)?;
                            }
                            chain = Some(end);
                        }
                    }
                    Step::End => break,
                }
            }
            // Recycled files are renamed first: one that has its name was what it seemed to be.
            if !segment.file.path().exists() {
                return Err(SurveyError::Restless);
            }
            last = Some(segment);
        }
        let met = chain.unwrap_or(Chain { next_seq: 1, crc: 0 });
        let end = self.mark.filter(|mark| mark.end >= at);
        match (last, end.and_then(|mark| broken(met, mark.chain(), mark.end))) {
            (Some(segment), Some(missing)) => show(segment, missing),
            _ => Ok(()),
        }
    }
}

fn broken(met: Chain, link: Chain, at: Pos) -> Option<Met<'static>> {
    (met.crc != link.crc).then(|| Met::Break(met.next_seq, link.next_seq.max(met.next_seq), at))
}

impl Place {
    fn mark(&self) -> Option<Mark> {
        let end = Pos { ordinal: self.ordinal, offset: self.offset };
        self.crc.map(|crc| Mark { end, next_seq: self.next_seq, crc })
    }
}
