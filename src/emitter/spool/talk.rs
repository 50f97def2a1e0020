//! A connection that hands in one file: waits, but looks up now and then, and never waits beyond its end.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use revenium_event::line::{Answer, Code, Hello};
use rustix::net::SendFlags;

use crate::inbox::Inbox;
use crate::link;
use crate::trouble::Trouble;

/// How often to look whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The pause before sending again what the agent had no room for.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Events that are outstanding at most: their answers fit into the socket.
const WINDOW_EVENTS_MAX: usize = 256;

/// Bytes of events that are outstanding at most; one more event may be.
const WINDOW_BYTES_MAX: usize = 1 << 20;

/// Until when to go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leave<'a> {
    pub(super) until: Instant,
    pub(super) stop: &'a AtomicBool,
}

impl Leave<'_> {
    pub(super) fn check(&self) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) || Instant::now() >= self.until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the agent did not take all of it in time"));
        }
        Ok(())
    }
}

/// What became of an event.
pub(super) enum Settled {
    Durable,
    Refused { code: Code, line: Vec<u8> },
}

/// Sends events of one producer and learns what becomes of them.
pub(super) struct Talk<'a> {
    stream: UnixStream,
    inbox: Inbox,
    leave: Leave<'a>,
    /// Sent and not answered; numbers go up.
    outstanding: VecDeque<(u64, Vec<u8>)>,
    outstanding_bytes: usize,
    /// The agent had no room for them now. Sent again when nothing is outstanding.
    deferred: Vec<(u64, Vec<u8>)>,
    settled: Vec<Settled>,
}

impl<'a> Talk<'a> {
    pub(super) fn connect(places: &[PathBuf], hello: &Hello, leave: Leave<'a>) -> io::Result<Self> {
        let stream = loop {
            match link::connect_first(places) {
                Ok((stream, _)) => break stream,
                Err(tried) => {
                    leave.check()?;
                    if !tried.iter().any(|(_, error)| error.kind() == io::ErrorKind::WouldBlock) {
                        return Err(io::Error::other(Trouble::of_connecting(&tried)));
                    }
                    thread::sleep(LOOK_EVERY);
                }
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        stream.set_write_timeout(Some(LOOK_EVERY))?;
        let mut talk = Self {
            stream,
            inbox: Inbox::default(),
            leave,
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            deferred: Vec::new(),
            settled: Vec::new(),
        };
        let mut line = Vec::new();
        hello.write(&mut line);
        talk.write(&line)?;
        Ok(talk)
    }

    /// Sends an event once there is room for it in the window. `line` has its newline.
    pub(super) fn send(&mut self, n: u64, line: &[u8]) -> io::Result<()> {
        while self.outstanding.len() + self.deferred.len() >= WINDOW_EVENTS_MAX
            || self.outstanding_bytes >= WINDOW_BYTES_MAX
        {
            self.step()?;
        }
        self.write(line)?;
        self.outstanding_bytes += line.len();
        self.outstanding.push_back((n, line.to_vec()));
        Ok(())
    }

    /// Waits until every event is answered for good.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        while !self.outstanding.is_empty() || !self.deferred.is_empty() {
            self.step()?;
        }
        Ok(())
    }

    /// What became of events since the last call.
    pub(super) fn settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    fn step(&mut self) -> io::Result<()> {
        if self.outstanding.is_empty() {
            return self.send_deferred();
        }
        self.leave.check()?;
        self.take_answers()?;
        match (&self.stream).read(self.inbox.room()) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the agent closed the connection",
                ));
            }
            Ok(count) => self.inbox.filled(count),
            Err(error) if is_a_pause(&error) => {}
            Err(error) => return Err(error),
        }
        self.take_answers()
    }

    fn take_answers(&mut self) -> io::Result<()> {
        while let Some(line) = self.inbox.next() {
            let line = line.map_err(|_| io::Error::other("not an agent's answer: it is too long"))?;
            match Answer::parse(line) {
                Ok(Answer::Durable { upto }) => {
                    while self.outstanding.front().is_some_and(|(n, _)| *n <= upto) {
                        let (_, line) = self.outstanding.pop_front().unwrap_or_default();
                        self.outstanding_bytes -= line.len();
                        self.settled.push(Settled::Durable);
                    }
                }
                Ok(Answer::Refused { n, code, message, .. }) => {
                    let at = n.and_then(|n| self.outstanding.iter().position(|(of, _)| *of == n));
                    let Some((n, line)) = at.and_then(|at| self.outstanding.remove(at)) else {
                        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message.into_owned()));
                    };
                    self.outstanding_bytes -= line.len();
                    match code {
                        Code::Invalid | Code::TooLarge | Code::Conflict => {
                            self.settled.push(Settled::Refused { code, line });
                        }
                        _ => self.deferred.push((n, line)),
                    }
                }
                Ok(Answer::Ok { .. } | Answer::WantKey) => {
                    return Err(io::Error::other("the agent answered without a number"));
                }
                Err(error) => return Err(io::Error::other(error.message)),
            }
        }
        Ok(())
    }

    fn send_deferred(&mut self) -> io::Result<()> {
        let again_at = Instant::now() + AGAIN_AFTER;
        while Instant::now() < again_at {
            self.leave.check()?;
            thread::sleep(LOOK_EVERY);
        }
        self.deferred.sort_unstable_by_key(|(n, _)| *n);
        for (n, line) in std::mem::take(&mut self.deferred) {
            self.write(&line)?;
            self.outstanding_bytes += line.len();
            self.outstanding.push_back((n, line));
        }
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::net::send(&self.stream, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => {
                    let error = io::Error::from(error);
                    if !is_a_pause(&error) {
                        return Err(self.why_closed(error));
                    }
                    self.leave.check()?;
                }
            }
        }
        Ok(())
    }

    /// Why the agent hung up may be there to be read.
    fn why_closed(&mut self, error: io::Error) -> io::Error {
        while let Ok(count @ 1..) = (&self.stream).read(self.inbox.room()) {
            self.inbox.filled(count);
        }
        self.take_answers().err().unwrap_or(error)
    }
}

fn is_a_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
