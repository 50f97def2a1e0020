//! Sees many events durable, in order, through an agent that restarts.
//!
//! Each event gets the next number of one random producer, so that sending it again is
//! harmless. A bounded window of them is outstanding; when the connection ends they are sent
//! again over a new one. Events for which there was no room are sent again once all others are
//! answered, because numbers that are outstanding must go up. Whatever happens, it gives up when
//! nothing has moved for the time it was given.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use revenium_event::Producer;
use revenium_event::line::{Code, Hello, VERSION};
use uuid::Uuid;

use super::{Client, ClientError, Refused, Reply};

/// Events that are outstanding at most: enough to fill the agent's group commits, few enough
/// that all their answers fit into the socket.
const WINDOW_EVENTS_MAX: usize = 256;

/// Bytes of events that are outstanding at most; one more event may be.
const WINDOW_BYTES_MAX: usize = 2 << 20;

/// Lines are written together up to this many bytes.
const WRITE_BYTES: usize = 64 << 10;

/// The pause before trying again what has just failed.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Sends events and learns what becomes of them.
pub struct Courier<'a> {
    places: Vec<PathBuf>,
    hello: Hello,
    timeout: Duration,
    client: Option<Client>,
    /// Sent or about to be, not answered; their numbers go up.
    outstanding: VecDeque<Parcel>,
    outstanding_bytes: usize,
    /// Refused for now; sent again when nothing is outstanding.
    deferred: Vec<(Parcel, Refused)>,
    /// Lines not yet written.
    unwritten: Vec<u8>,
    next_n: u64,
    moved_at: Instant,
    durable: u64,
    report: &'a mut dyn FnMut(Delivery<'_>),
}

/// An event under way.
#[derive(Debug)]
struct Parcel {
    n: u64,
    tag: u64,
    line: Vec<u8>,
}

/// What became of an event, told by the tag it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// It is durable.
    Durable {
        /// The event's tag.
        tag: u64,
    },
    /// It was refused for good.
    Refused {
        /// The event's tag.
        tag: u64,
        /// What the agent said.
        why: &'a Refused,
    },
}

/// Why not all events are confirmed. The unconfirmed ones may be durable or not; as they are
/// numbered by this courier, only this courier could have sent them again safely.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Unconfirmed {
    /// How many are durable.
    pub durable: u64,
    /// How many were given to the courier and got no answer.
    pub events: usize,
    /// What stood in the way.
    pub cause: ClientError,
}

impl<'a> Courier<'a> {
    /// Connects. `profile` is that of events which name none; `report` is told of every event.
    pub fn connect(
        places: Vec<PathBuf>,
        profile: Option<String>,
        timeout: Duration,
        report: &'a mut dyn FnMut(Delivery<'_>),
    ) -> Result<Self, ClientError> {
        let producer = Producer::from_bytes(Uuid::new_v4().into_bytes());
        let hello = Hello { v: VERSION, producer: Some(producer), profile, ..Hello::default() };
        let mut client = Client::connect(&places, timeout)?;
        match client.hello(&hello) {
            // Why it closed is there to be read, with the first answer.
            Ok(()) | Err(ClientError::Closed) => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            places,
            hello,
            timeout,
            client: Some(client),
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            deferred: Vec::new(),
            unwritten: Vec::new(),
            next_n: 1,
            moved_at: Instant::now(),
            durable: 0,
            report,
        })
    }

    /// Takes one event: a JSON object on one line, without a number. It is written with the next
    /// ones; see [`Self::flush`].
    pub fn send(&mut self, tag: u64, event: &[u8]) -> Result<(), Unconfirmed> {
        let Some(line) = numbered(self.next_n, event) else {
            self.turn_away(tag, Code::Invalid, "not a JSON object on one line");
            return Ok(());
        };
        if self.outstanding.is_empty() {
            self.moved_at = Instant::now();
        }
        let n = self.next_n;
        self.next_n += 1;
        self.unwritten.extend_from_slice(&line);
        self.outstanding_bytes += line.len();
        self.outstanding.push_back(Parcel { n, tag, line });
        if self.unwritten.len() >= WRITE_BYTES {
            self.flush()?;
        }
        while self.outstanding.len() + self.deferred.len() >= WINDOW_EVENTS_MAX
            || self.outstanding_bytes >= WINDOW_BYTES_MAX
        {
            self.step()?;
        }
        Ok(())
    }

    /// Reports an event as refused that cannot even be sent.
    pub fn turn_away(&mut self, tag: u64, code: Code, message: &str) {
        let why = Refused { n: None, code, field: None, message: message.to_owned() };
        (self.report)(Delivery::Refused { tag, why: &why });
    }

    /// Writes what was taken.
    pub fn flush(&mut self) -> Result<(), Unconfirmed> {
        let Some(client) = &mut self.client else {
            return self.reconnect();
        };
        let result = client.send(&self.unwritten);
        self.unwritten.clear();
        match result {
            Ok(()) => Ok(()),
            // Why it closed may still be there to be read.
            Err(ClientError::Closed) => Ok(()),
            Err(error) => self.lost(error),
        }
    }

    /// Waits until every event is answered; returns how many are durable.
    pub fn finish(mut self) -> Result<u64, Unconfirmed> {
        while !self.outstanding.is_empty() || !self.deferred.is_empty() {
            self.step()?;
        }
        Ok(self.durable)
    }

    /// Moves on by one answer, or by one try for what failed.
    fn step(&mut self) -> Result<(), Unconfirmed> {
        if self.outstanding.is_empty() {
            return self.send_deferred();
        }
        if !self.unwritten.is_empty() {
            self.flush()?;
        }
        let Some(client) = &mut self.client else {
            return self.reconnect();
        };
        match client.answer() {
            Ok(Reply::Durable { upto }) => self.settle_upto(upto),
            Ok(Reply::Refused(refused)) => return self.refused(refused),
            Ok(Reply::Ok { .. }) => {
                let error = ClientError::NotAnAnswer("an answer without a number".into());
                return Err(self.give_up(error));
            }
            Err(error) => return self.lost(error),
        }
        Ok(())
    }

    fn settle_upto(&mut self, upto: u64) {
        while self.outstanding.front().is_some_and(|parcel| parcel.n <= upto) {
            let Some(parcel) = self.outstanding.pop_front() else { return };
            self.outstanding_bytes -= parcel.line.len();
            self.moved_at = Instant::now();
            self.durable += 1;
            (self.report)(Delivery::Durable { tag: parcel.tag });
        }
    }

    fn refused(&mut self, refused: Refused) -> Result<(), Unconfirmed> {
        let at = refused.n.and_then(|n| self.outstanding.iter().position(|parcel| parcel.n == n));
        let Some(parcel) = at.and_then(|at| self.outstanding.remove(at)) else {
            // Not about one event but about all of us.
            return match refused.code {
                Code::Busy | Code::Stopping => self.lost(ClientError::Closed),
                _ => Err(self.give_up(ClientError::Refused(refused))),
            };
        };
        self.outstanding_bytes -= parcel.line.len();
        match refused.code {
            Code::Full | Code::Disk | Code::Stopping => self.deferred.push((parcel, refused)),
            _ => {
                self.moved_at = Instant::now();
                (self.report)(Delivery::Refused { tag: parcel.tag, why: &refused });
            }
        }
        Ok(())
    }

    /// Sends what there was no room for once more; gives up on it when that lasts too long.
    fn send_deferred(&mut self) -> Result<(), Unconfirmed> {
        if self.moved_at.elapsed() >= self.timeout {
            for (parcel, refused) in self.deferred.drain(..) {
                (self.report)(Delivery::Refused { tag: parcel.tag, why: &refused });
            }
            return Ok(());
        }
        thread::sleep(AGAIN_AFTER);
        for (parcel, _) in self.deferred.drain(..) {
            self.unwritten.extend_from_slice(&parcel.line);
            self.outstanding_bytes += parcel.line.len();
            self.outstanding.push_back(parcel);
        }
        self.flush()
    }

    /// The connection is gone: another one, unless it has taken too long already.
    fn lost(&mut self, error: ClientError) -> Result<(), Unconfirmed> {
        self.client = None;
        self.unwritten.clear();
        match error {
            ClientError::Closed | ClientError::Broken(_) | ClientError::NotReachable { .. }
                if self.moved_at.elapsed() < self.timeout =>
            {
                thread::sleep(AGAIN_AFTER);
                Ok(())
            }
            error => Err(self.give_up(error)),
        }
    }

    fn reconnect(&mut self) -> Result<(), Unconfirmed> {
        match Client::connect(&self.places, self.timeout) {
            Ok(client) => self.client = Some(client),
            Err(error) => return self.lost(error),
        }
        self.unwritten.clear();
        self.hello.write(&mut self.unwritten);
        for parcel in &self.outstanding {
            self.unwritten.extend_from_slice(&parcel.line);
        }
        self.flush()
    }

    fn give_up(&self, cause: ClientError) -> Unconfirmed {
        Unconfirmed { durable: self.durable, events: self.outstanding.len() + self.deferred.len(), cause }
    }
}

/// The event as a line, with its number in front. `None` if a number has no place in it.
fn numbered(n: u64, event: &[u8]) -> Option<Vec<u8>> {
    let rest = event.trim_ascii().strip_prefix(b"{")?.trim_ascii_start();
    if rest.is_empty() || rest.contains(&b'\n') {
        return None;
    }
    let comma = if rest.starts_with(b"}") { "" } else { "," };
    let mut line = format!("{{\"n\":{n}{comma}").into_bytes();
    line.extend_from_slice(rest);
    line.push(b'\n');
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_goes_in_front_and_everything_else_stays_as_it_is() {
        for (event, line) in [
            (r#"{"a":1}"#, Some("{\"n\":7,\"a\":1}\n")),
            (" { \"a\" : 1.50 } \r", Some("{\"n\":7,\"a\" : 1.50 }\n")),
            ("{}", Some("{\"n\":7}\n")),
            ("{", None),
            ("[1]", None),
            ("\"a\":1}", None),
            ("{\"a\":\n1}", None),
        ] {
            let numbered = numbered(7, event.as_bytes());
            assert_eq!(numbered.as_deref(), line.map(str::as_bytes), "{event}");
        }
    }
}
