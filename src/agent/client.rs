//! The sender's end of the agent's socket, blocking and small: for `send`, tests and benches.
//!
//! Applications use an emitter, which never blocks; this client waits, and never for longer than
//! the time it was given. [`Courier`] adds what it takes to see many events durable: numbers,
//! a window, reconnecting and sending again.

mod courier;
mod denied;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use revenium_emitter::link;
use revenium_event::line::{Answer, Code, Hello};

pub use courier::{Courier, Delivery, Unconfirmed};
pub(crate) use denied::explain as explain_denied;

use crate::intake::{LineBuffer, Step};

/// Longest answer that is understood, in bytes. The agent's are below 2 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long to let a busy agent accept before knocking again.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// A connection to the agent.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    inbox: LineBuffer,
    timeout: Duration,
}

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The event is durable; the Idempotency-Key it will be sent under.
    Ok {
        /// The key.
        id: String,
    },
    /// Every outstanding numbered event up to this one is durable.
    Durable {
        /// The number.
        upto: u64,
    },
    /// The event was not taken.
    Refused(Refused),
}

/// What the agent said of an event that it did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The event's number, if it had one.
    pub n: Option<u64>,
    /// What to conclude.
    pub code: Code,
    /// The member at fault.
    pub field: Option<String>,
    /// One sentence for a person.
    pub message: String,
}

/// Why there is no talking to the agent.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at any of the places where the agent could be.
    #[error("no agent at {}", places(.tried))]
    NotReachable {
        /// Where it was looked for, and what the system said.
        tried: Vec<(PathBuf, io::Error)>,
    },
    /// The agent is there, and this user may not talk to it.
    #[error("{0}")]
    Denied(String),
    /// The agent neither took nor answered anything for this long.
    #[error("the agent did not answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The connection ended. What was not answered may be durable or not.
    #[error("the agent closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection to the agent broke: {0}")]
    Broken(io::Error),
    /// The agent wants nothing of us, and said why.
    #[error("the agent refused the connection: {0}")]
    Refused(Refused),
    /// The other side doesn't speak our protocol.
    #[error("not an agent's answer: {0}")]
    NotAnAnswer(String),
}

impl Client {
    /// Connects to the first of `places` where somebody listens. `timeout` bounds this and every
    /// later wait.
    pub fn connect(places: &[PathBuf], timeout: Duration) -> Result<Self, ClientError> {
        let deadline = Instant::now() + timeout;
        let mut tried = Vec::new();
        for place in places {
            match connect_until(place, deadline) {
                Ok(stream) => return Self::over(stream, timeout).map_err(ClientError::Broken),
                Err(error) => tried.push((place.clone(), error)),
            }
        }
        match tried.iter().find_map(|(place, error)| denied::explain(place, error)) {
            Some(words) => Err(ClientError::Denied(words)),
            None => Err(ClientError::NotReachable { tried }),
        }
    }

    fn over(stream: UnixStream, timeout: Duration) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        // Zero would mean no bound.
        let timeout = timeout.max(Duration::from_millis(1));
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream, inbox: LineBuffer::new(ANSWER_BYTES_MAX), timeout })
    }

    /// Says what this connection is. It gets no answer unless it is refused.
    pub fn hello(&mut self, hello: &Hello) -> Result<(), ClientError> {
        let mut line = Vec::new();
        hello.write(&mut line);
        self.send(&line)
    }

    /// Sends bytes: lines with their newlines.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(bytes).map_err(|error| self.trouble(error))
    }

    /// Says that nothing more will be sent. Answers can still be read.
    pub fn finish_sending(&mut self) -> Result<(), ClientError> {
        self.stream.shutdown(std::net::Shutdown::Write).map_err(|error| self.trouble(error))
    }

    /// The next answer.
    pub fn answer(&mut self) -> Result<Reply, ClientError> {
        loop {
            match self.inbox.next() {
                Some(Step::Line(line)) => return Reply::parse(line),
                Some(Step::TooLong(_)) => {
                    return Err(ClientError::NotAnAnswer(format!("over {ANSWER_BYTES_MAX} bytes")));
                }
                None => {}
            }
            match self.stream.read(self.inbox.room()) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => self.inbox.filled(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.trouble(error)),
            }
        }
    }

    fn trouble(&self, error: io::Error) -> ClientError {
        match error.kind() {
            // Over a Unix socket both say that the other side has closed.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ClientError::Closed,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::TimedOut(self.timeout),
            _ => ClientError::Broken(error),
        }
    }
}

impl Reply {
    fn parse(line: &[u8]) -> Result<Self, ClientError> {
        match Answer::parse(line) {
            Ok(Answer::Ok { id }) => Ok(Self::Ok { id: id.into_owned() }),
            Ok(Answer::Durable { upto }) => Ok(Self::Durable { upto }),
            Ok(Answer::Refused { n, code, field, message }) => Ok(Self::Refused(Refused {
                n,
                code,
                field: field.map(std::borrow::Cow::into_owned),
                message: message.into_owned(),
            })),
            // Nobody here says that a key is at hand.
            Ok(Answer::WantKey) => Err(ClientError::NotAnAnswer("it asks for a key".to_owned())),
            Err(error) => Err(ClientError::NotAnAnswer(error.message)),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = serde_json::to_value(self.code).unwrap_or_default();
        write!(f, "{}: ", code.as_str().unwrap_or("refused"))?;
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

fn connect_until(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    link::check_owner(path)?;
    loop {
        match link::connect_now(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(CONNECT_AGAIN_AFTER);
            }
            result => return result,
        }
    }
}

fn places(tried: &[(PathBuf, io::Error)]) -> String {
    let places: Vec<_> = tried.iter().map(|(path, error)| format!("{} ({error})", path.display())).collect();
    places.join(" or ")
}
