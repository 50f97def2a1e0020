//! One try to hand one spool file in, over one connection.

use std::collections::VecDeque;
use std::fmt::Display;
use std::ops::ControlFlow;

use revenium_event::line::{Code, Hello};

use super::Options;
use crate::client::{Client, ClientError, Refused, Reply};
use crate::spool::{Draft, Entry, Folder, Keep, Lines, Place, SpoolFile};

/// Events that are outstanding at most, and bytes of them; one more may be. As `send` itself has it.
const WINDOW_EVENTS_MAX: usize = 256;
const WINDOW_BYTES_MAX: usize = 2 << 20;

/// What became of lines.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) durable: u64,
    /// Refused for good.
    pub(super) refused: u64,
    /// No events.
    pub(super) bad: u64,
    /// Sent and not answered.
    pub(super) unconfirmed: u64,
}

/// Why a file stays.
#[derive(Debug)]
pub(super) enum Ended {
    /// Something about this file, or the disk that it is on.
    Stays(String),
    /// The agent takes nothing now, and may later.
    Busy(Refused),
    /// There is no talking to the agent.
    Lost(ClientError),
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.durable += other.durable;
        self.refused += other.refused;
        self.bad += other.bad;
        self.unconfirmed += other.unconfirmed;
    }
}

/// Sends every line of `file` and removes it. `report` is told of every line that is not taken.
pub(super) fn hand_in(
    folder: &Folder,
    file: &SpoolFile,
    keep: &Keep,
    options: &Options,
    report: &mut dyn FnMut(u64, &dyn Display),
) -> (Counts, Result<(), Ended>) {
    let client = match Client::connect(&options.places, options.timeout) {
        Ok(client) => client,
        Err(error) => return (Counts::default(), Err(Ended::Lost(error))),
    };
    let mut sending = Sending {
        client,
        file,
        keep,
        report,
        draft: None,
        counts: Counts::default(),
        outstanding: VecDeque::new(),
        outstanding_bytes: 0,
        unwritten: Vec::new(),
        failed: None,
        end: None,
    };
    let ended = sending.send_all(folder);
    sending.counts.unconfirmed = sending.outstanding.len() as u64;
    (sending.counts, ended)
}

struct Sending<'a> {
    client: Client,
    file: &'a SpoolFile,
    keep: &'a Keep,
    report: &'a mut dyn FnMut(u64, &dyn Display),
    draft: Option<Draft>,
    counts: Counts,
    /// Sent and not answered; their numbers go up.
    outstanding: VecDeque<Sent>,
    outstanding_bytes: usize,
    unwritten: Vec<u8>,
    failed: Option<Ended>,
    /// Where a file ends that is of no use as a whole.
    end: Option<u64>,
}

struct Sent {
    n: u64,
    bytes: usize,
    place: Place,
}

impl Sending<'_> {
    fn send_all(&mut self, folder: &Folder) -> Result<(), Ended> {
        let (file, mut lines, mut is_at_end) = (self.file, Lines::new(), false);
        while !is_at_end {
            let read = lines.read(file, &mut |place, entry| self.entry(place, entry));
            is_at_end = read.map_err(|error| Ended::Stays(format!("cannot read it: {error}")))?;
            if let Some(ended) = self.failed.take() {
                return Err(ended);
            }
            is_at_end |= self.end.is_some();
            self.write()?;
            while self.is_window_full() {
                self.answer()?;
            }
        }
        while !self.outstanding.is_empty() {
            self.answer()?;
        }
        if let Some(draft) = self.draft.take() {
            draft.finish().map_err(stays)?;
        }
        match file.remove(folder, self.end.unwrap_or(lines.read_to())) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Ended::Stays("it is still written to".to_owned())),
            Err(error) => Err(Ended::Stays(format!("it is handed in and cannot be removed: {error}"))),
        }
    }

    fn entry(&mut self, place: Place, entry: Entry<'_>) -> ControlFlow<()> {
        let done = match entry {
            Entry::Hello(hello) => self.hello(&hello),
            Entry::Event { n, line, .. } => {
                self.unwritten.extend_from_slice(line);
                self.unwritten.push(b'\n');
                self.outstanding_bytes += line.len();
                self.outstanding.push_back(Sent { n, bytes: line.len(), place });
                Ok(())
            }
            Entry::Bad { why } => self.bad(&place, &why),
            Entry::Unusable { why } => self.unusable(&why),
        };
        if let Err(ended) = done {
            self.failed = Some(ended);
            return ControlFlow::Break(());
        }
        if self.is_window_full() || self.end.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn hello(&mut self, hello: &Hello) -> Result<(), Ended> {
        hello.write(&mut self.unwritten);
        Ok(())
    }

    fn bad(&mut self, place: &Place, why: &dyn Display) -> Result<(), Ended> {
        self.counts.bad += 1;
        (self.report)(place.line, why);
        self.keep(place)
    }

    fn unusable(&mut self, why: &dyn Display) -> Result<(), Ended> {
        let end = self.file.bytes().map_err(|error| Ended::Stays(error.to_string()))?;
        self.end = Some(end);
        self.bad(&Place { line: 1, bytes: 0..end }, why)
    }

    fn keep(&mut self, place: &Place) -> Result<(), Ended> {
        let draft = match &mut self.draft {
            Some(draft) => draft,
            None => self.draft.insert(self.keep.begin(self.file.name()).map_err(stays)?),
        };
        draft.copy(self.file.file(), place.bytes.clone()).map_err(stays)
    }

    fn is_window_full(&self) -> bool {
        self.outstanding.len() >= WINDOW_EVENTS_MAX || self.outstanding_bytes >= WINDOW_BYTES_MAX
    }

    fn write(&mut self) -> Result<(), Ended> {
        let result = self.client.send(&self.unwritten);
        self.unwritten.clear();
        match result {
            // Why it closed may still be there to be read.
            Ok(()) | Err(ClientError::Closed) => Ok(()),
            Err(error) => Err(Ended::Lost(error)),
        }
    }

    /// Reads one answer.
    fn answer(&mut self) -> Result<(), Ended> {
        match self.client.answer().map_err(Ended::Lost)? {
            Reply::Durable { upto } => {
                while self.outstanding.front().is_some_and(|sent| sent.n <= upto) {
                    let bytes = self.outstanding.pop_front().map_or(0, |sent| sent.bytes);
                    self.outstanding_bytes -= bytes;
                    self.counts.durable += 1;
                }
                Ok(())
            }
            Reply::Refused(refused) => self.refused(refused),
            Reply::Ok { .. } => {
                Err(Ended::Lost(ClientError::NotAnAnswer("an answer without a number".to_owned())))
            }
        }
    }

    fn refused(&mut self, refused: Refused) -> Result<(), Ended> {
        if matches!(refused.code, Code::Full | Code::Disk | Code::Stopping | Code::Busy) {
            return Err(Ended::Busy(refused));
        }
        let at = refused.n.and_then(|n| self.outstanding.iter().position(|sent| sent.n == n));
        let Some(sent) = at.and_then(|at| self.outstanding.remove(at)) else {
            // About all of us, or a hello that is not taken here.
            return Err(Ended::Lost(ClientError::Refused(refused)));
        };
        self.outstanding_bytes -= sent.bytes;
        self.counts.refused += 1;
        (self.report)(sent.place.line, &refused);
        // The agent keeps refused events if it has room for them; here they surely are.
        self.keep(&sent.place)
    }
}

fn stays(error: impl Display) -> Ended {
    Ended::Stays(error.to_string())
}
