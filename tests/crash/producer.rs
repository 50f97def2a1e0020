//! An application that sends events, remembers what was acknowledged, and comes back after a crash.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use crate::dice::Dice;
use crate::event::{Identity, Source};
use crate::stage::{DEADLINE, Stage};

/// Events that may be without an answer.
const WINDOW: usize = 96;
/// How long to wait before another try to connect, unless something happens before.
const RECONNECT_EACH: Duration = Duration::from_millis(2);
/// In so many bursts, one ends with the producer leaving by itself, its answers unread.
const LEAVES_ONE_IN: u64 = 80;

/// What a producer knows.
#[derive(Clone)]
pub(crate) struct Book {
    pub(crate) source: Source,
    /// By which way it sends.
    pub(crate) way: &'static str,
    /// By number.
    pub(crate) fates: Vec<Fate>,
    /// Lines that were sent again.
    pub(crate) resent: u64,
    pub(crate) connections: u64,
    /// Refusals that ask for another try, by their code.
    pub(crate) put_off: BTreeMap<String, u64>,
}

/// By what an event may not be lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Nothing was promised: its sender, or the agent, was killed too soon.
    #[default]
    Nothing,
    /// The kernel had it, and its sender was killed, and the agent was not.
    Kernel,
    /// It was in a spool file.
    Spooled,
    /// Its sender has ended in peace since, and had handed it over or spooled it.
    Ended,
    /// The agent said that it is durable.
    Acknowledged,
}

/// What a producer knows of one event that it sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate {
    pub(crate) promise: Promise,
    /// Whether its sender was told that the kernel has it.
    pub(crate) was_sent: bool,
    /// The Idempotency-Key it will be delivered under, as far as that is known.
    pub(crate) key: Option<String>,
}

pub(crate) struct Producer {
    who: usize,
    stage: Arc<Stage>,
    socket: PathBuf,
    dice: Dice,
    book: Book,
    /// Sent and not answered, in order.
    unsettled: VecDeque<u64>,
}

/// Tells the stage when its thread panics.
struct Alarm(Arc<Stage>);

/// Runs what keeps a book on a thread of its own.
pub(crate) fn start(
    name: &'static str,
    stage: Arc<Stage>,
    run: impl FnOnce() -> Book + Send + 'static,
) -> JoinHandle<Book> {
    let work = move || {
        let _alarm = Alarm(stage);
        run()
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread")
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail();
        }
    }
}

impl Book {
    pub(crate) fn new(source: Source, way: &'static str) -> Self {
        Self { source, way, fates: Vec::new(), resent: 0, connections: 0, put_off: BTreeMap::new() }
    }
}

impl Producer {
    pub(crate) fn new(who: usize, source: Source, stage: &Arc<Stage>, socket: PathBuf, dice: Dice) -> Self {
        let book = Book::new(source, "socket");
        Self { who, stage: Arc::clone(stage), socket, dice, book, unsettled: VecDeque::new() }
    }

    /// Sends what the stage allows until that says it is over and everything was answered.
    pub(crate) fn start(self) -> JoinHandle<Book> {
        start(self.book.source.name, Arc::clone(&self.stage), move || self.run())
    }

    fn run(mut self) -> Book {
        while !self.unsettled.is_empty() || self.stage.has_work(self.who) {
            let Some(stream) = self.connect() else { break };
            self.book.connections += 1;
            if let Err(error) = self.converse(&stream) {
                let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!is_late, "{}: no answer within {DEADLINE:?}", self.book.source.name);
                if self.book.source.identity == Identity::None {
                    // It would be another event: nobody knows what became of these.
                    self.unsettled.clear();
                }
                self.stage.note(self.who, 0, self.unsettled.len());
            }
        }
        self.book
    }

    fn connect(&self) -> Option<UnixStream> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(DEADLINE)).expect("set");
                    stream.set_write_timeout(Some(DEADLINE)).expect("set");
                    return Some(stream);
                }
                // The storm failed, so no agent will come.
                Err(_) if self.stage.has_failed() => return None,
                Err(error) => {
                    let name = self.book.source.name;
                    assert!(Instant::now() < deadline, "{name}: nobody listens for {DEADLINE:?}: {error}");
                    self.stage.pause(RECONNECT_EACH);
                }
            }
        }
    }

    /// One connection; an error is its end, and what is unsettled then goes over the next one.
    fn converse(&mut self, stream: &UnixStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        self.greet(stream.get_mut())?;
        while !self.unsettled.is_empty() || self.stage.has_work(self.who) {
            let room = WINDOW - self.unsettled.len();
            let burst = self.dice.between(1..=WINDOW as u64).min(room as u64);
            self.send(self.stage.take(self.who, burst), stream.get_mut())?;
            if self.dice.one_in(LEAVES_ONE_IN) {
                return Err(ErrorKind::Interrupted.into());
            }
            self.hear(&mut stream)?;
        }
        Ok(())
    }

    /// The hello, and again what was not answered.
    fn greet(&mut self, stream: &mut impl Write) -> io::Result<()> {
        let source = &self.book.source;
        let mut out = Vec::new();
        if let Identity::Numbered(id) = source.identity {
            let profile = source.profile;
            out = format!(
                "{{\"hello\":{{\"v\":1,\"producer\":\"{}\",\"profile\":\"{profile}\"}}}}\n",
                id.simple()
            )
            .into_bytes();
        }
        for n in &self.unsettled {
            source.write_line(*n, &mut out);
        }
        self.book.resent += self.unsettled.len() as u64;
        stream.write_all(&out)
    }

    fn send(&mut self, events: u64, stream: &mut impl Write) -> io::Result<()> {
        if events == 0 {
            return Ok(());
        }
        let mut out = Vec::new();
        for _ in 0..events {
            let n = self.book.fates.len() as u64;
            self.book.source.write_line(n, &mut out);
            let key = match self.book.source.identity {
                Identity::Numbered(id) => Some(Uuid::new_v5(&id, n.to_string().as_bytes()).to_string()),
                _ => None,
            };
            self.book.fates.push(Fate { key, ..Fate::default() });
            self.unsettled.push_back(n);
        }
        self.stage.note(self.who, 0, self.unsettled.len());
        stream.write_all(&out)
    }

    /// Waits for one answer and takes all that are there.
    fn hear(&mut self, stream: &mut BufReader<&UnixStream>) -> io::Result<()> {
        let mut line = String::new();
        while !self.unsettled.is_empty() {
            line.clear();
            // Half a line is no answer either.
            if stream.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let before = self.unsettled.len();
            let heard = self.answer(&line);
            self.stage.note(self.who, (before - self.unsettled.len()) as u64, self.unsettled.len());
            heard?;
            if !stream.buffer().contains(&b'\n') {
                break;
            }
        }
        Ok(())
    }

    fn answer(&mut self, line: &str) -> io::Result<()> {
        let name = self.book.source.name;
        let answer: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{name}: not an answer: {error}: {line}"));
        if answer["ok"] != true {
            return self.refused(&answer);
        }
        if let Identity::Numbered(_) = self.book.source.identity {
            let upto = answer["upto"].as_u64().unwrap_or_else(|| panic!("{name}: not cumulative: {line}"));
            assert!(upto < self.book.fates.len() as u64, "{name}: {upto} is durable and was never sent");
            while self.unsettled.front().is_some_and(|n| *n <= upto) {
                let n = self.unsettled.pop_front().expect("has a front");
                self.fate(n).promise = Promise::Acknowledged;
            }
            return Ok(());
        }
        let id = answer["id"].as_str().unwrap_or_else(|| panic!("{name}: no id: {line}")).to_owned();
        let n = self.unsettled.pop_front().expect("hears only while something is unsettled");
        let fate = self.fate(n);
        fate.promise = Promise::Acknowledged;
        fate.key = Some(id);
        Ok(())
    }

    /// Nothing is taken now: what is unsettled comes again, over another connection.
    fn refused(&mut self, answer: &Value) -> io::Result<()> {
        let code = answer["code"].as_str().unwrap_or_default().to_owned();
        let may_come_again = ["stopping", "full", "disk", "busy"].contains(&code.as_str());
        assert!(may_come_again, "{}: refused: {answer}", self.book.source.name);
        *self.book.put_off.entry(code).or_default() += 1;
        Err(ErrorKind::ConnectionRefused.into())
    }

    fn fate(&mut self, n: u64) -> &mut Fate {
        let index = usize::try_from(n).expect("is small");
        &mut self.book.fates[index]
    }
}
