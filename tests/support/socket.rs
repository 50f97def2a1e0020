//! The agent's socket as an application uses it: plain lines, and numbered ones.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::wait::AT_MOST;

/// A completion with this model.
pub(crate) fn completion(model: &str) -> String {
    format!(r#"{{"model":"{model}","provider":"Anthropic","inputTokenCount":25,"outputTokenCount":15}}"#)
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(AT_MOST))?;
    stream.set_write_timeout(Some(AT_MOST))?;
    Ok(stream)
}

/// A connection without a hello: one answer a line, in order.
pub(crate) struct Line {
    stream: BufReader<UnixStream>,
}

impl Line {
    pub(crate) fn connect(path: &Path) -> Self {
        Self { stream: BufReader::new(connect(path).expect("the agent listens")) }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("taken");
    }

    /// Sends `line` again and again until nothing is taken for a while, or `bytes_max` are. Returns
    /// how many bytes were.
    pub(crate) fn send_until_held_back(&mut self, line: &[u8], bytes_max: usize) -> usize {
        let stream = self.stream.get_mut();
        stream.set_write_timeout(Some(Duration::from_secs(1))).expect("set");
        let lines = line.repeat(1000);
        let mut taken = 0;
        while taken < bytes_max {
            match stream.write(&lines) {
                Ok(bytes) => taken += bytes,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    break;
                }
                Err(error) => panic!("cut off: {error}"),
            }
        }
        taken
    }

    /// Nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).expect("shut");
    }

    /// The next answer; `None` at the end.
    pub(crate) fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("an answer is JSON")),
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Whether an answer, or a part of one, is there already.
    pub(crate) fn has_answer(&mut self) -> bool {
        let stream = self.stream.get_mut();
        stream.set_nonblocking(true).expect("set");
        let is_there = matches!(self.stream.fill_buf(), Ok(bytes) if !bytes.is_empty());
        self.stream.get_mut().set_nonblocking(false).expect("set");
        is_there
    }

    /// Sends a line and returns its answer.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(format!("{line}\n").as_bytes());
        self.answer().expect("answered")
    }
}

/// A producer that numbers its events and knows which are durable, across connections.
pub(crate) struct Producer {
    id: String,
    /// Every number below it was sent.
    pub(crate) next: u64,
    /// Every number below it is durable.
    pub(crate) durable: u64,
}

impl Producer {
    pub(crate) fn new(id: u8) -> Self {
        Self { id: format!("{id:032x}"), next: 0, durable: 0 }
    }

    /// The event with a number: its transactionId tells it apart, whatever its key.
    pub(crate) fn event(&self, n: u64) -> String {
        let mut event = completion("numbered");
        event.truncate(event.len() - 1);
        format!("{event},\"transactionId\":\"{}-{n}\"", &self.id[24..])
    }

    /// The `transactionId` of a number.
    pub(crate) fn transaction(&self, n: u64) -> String {
        format!("{}-{n}", &self.id[24..])
    }

    /// Connects, resends what was not confirmed and then sends new events until `events` are
    /// durable in all, the connection ends, or the agent refuses. `window` are outstanding at most.
    pub(crate) fn run(&mut self, path: &Path, events: u64, window: u64) -> io::Result<()> {
        let mut stream = BufReader::new(connect(path)?);
        stream
            .get_mut()
            .write_all(format!("{{\"hello\":{{\"v\":1,\"producer\":\"{}\"}}}}\n", self.id).as_bytes())?;
        let mut sent = self.durable;
        let mut line = String::new();
        while self.durable < events {
            while sent < events && sent < self.durable + window {
                let event = format!("{},\"n\":{sent}}}\n", self.event(sent));
                stream.get_mut().write_all(event.as_bytes())?;
                sent += 1;
                self.next = self.next.max(sent);
            }
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let answer: Value = serde_json::from_str(&line)?;
            match answer["upto"].as_u64() {
                Some(upto) => self.durable = self.durable.max(upto + 1),
                None => return Err(io::Error::other(line)),
            }
        }
        Ok(())
    }

    /// [`Producer::run`] again and again, until all are durable or `deadline` has passed.
    pub(crate) fn persist(&mut self, path: &Path, events: u64, window: u64) {
        let deadline = std::time::Instant::now() + AT_MOST;
        while let Err(error) = self.run(path, events, window) {
            assert!(std::time::Instant::now() < deadline, "not durable in time: {error}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
