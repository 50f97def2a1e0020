//! A client that calls through the gateway, which is a process of its own and is killed now and then, too.
//!
//! What may not be lost: a call whose answer the client has read to its end, whatever happens to the agent
//! meanwhile, as long as the gateway is not killed; which is settled once it has stopped in peace. It passes an answer
//! on first and hands its event over right after, so calls of a gateway that is killed are in doubt, and counted.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::call;
use crate::dice::Dice;
use crate::event::Source;
use crate::producer::{Book, Fate, Promise, start};
use crate::stage::{DEADLINE, Stage};
use crate::support::{Home, unused_address};

/// Calls of one burst.
const BURST_MAX: u64 = 48;
/// In so many bursts, the gateway is killed in the midst of a call.
const KILLED_ONE_IN: u64 = 6;
/// In so many, it is stopped after.
const STOPPED_ONE_IN: u64 = 6;
/// So far into a call it is killed at most, which is about what a call takes.
const INTO_A_CALL: Duration = Duration::from_millis(2);
/// How long to wait before another try to connect, unless something happens before.
const CONNECT_EACH: Duration = Duration::from_millis(2);

pub(crate) struct Client {
    who: usize,
    stage: Arc<Stage>,
    dice: Dice,
    book: Book,
    command: Command,
    /// What all its lives log.
    log: PathBuf,
    address: String,
    gateway: Option<Gateway>,
}

/// One life of the gateway; killed when dropped.
struct Gateway {
    child: Child,
    /// The first call that went through it.
    first: usize,
}

impl Client {
    /// One whose calls are answered at `provider_url`, by way of a gateway that logs into `home`.
    pub(crate) fn new(
        who: usize,
        source: Source,
        stage: &Arc<Stage>,
        home: &Home,
        provider_url: &str,
        dice: Dice,
    ) -> Self {
        let address = unused_address();
        let toml = format!(
            "socket.path = \"agent.sock\"\ngateway.listen = \"{address}\"\ngateway.provider_url = \"{provider_url}\"\n"
        );
        home.write("gateway.toml", &toml);
        let log = home.path("gateway.log");
        let mut command = home.command(&["gateway", "--config", "gateway.toml"]);
        command.stdout(Stdio::null()).stderr(File::create_new(&log).expect("made"));
        let book = Book::new(source, "gateway");
        Self { who, stage: Arc::clone(stage), dice, book, command, log, address, gateway: None }
    }

    /// Makes the calls that the stage allows, until that says it is over.
    pub(crate) fn start(self) -> JoinHandle<Book> {
        start(self.book.source.name, Arc::clone(&self.stage), move || self.run())
    }

    fn run(mut self) -> Book {
        while self.stage.has_work(self.who) {
            let burst = self.dice.between(1..=BURST_MAX);
            let calls = self.stage.take(self.who, burst);
            self.stage.note(self.who, 0, usize::try_from(calls).expect("is small"));
            let answered = self.burst(calls);
            self.stage.note(self.who, answered, 0);
        }
        if let Some(gateway) = self.gateway.take() {
            self.stop(gateway);
        }
        let log = fs::read_to_string(&self.log).expect("UTF-8");
        let bad = log.lines().find(|line| line.contains(" ERROR ") || line.contains("not metered"));
        assert_eq!(bad, None, "what the gateway says is wrong");
        self.book
    }

    /// Makes so many calls, or fewer if it kills the gateway; returns how many were answered.
    fn burst(&mut self, calls: u64) -> u64 {
        let gateway = self.gateway.take().unwrap_or_else(|| self.begin());
        let last = self.dice.one_in(KILLED_ONE_IN).then(|| self.dice.between(0..=calls));
        for made in 0..calls {
            let mut stream = self.ask();
            if last == Some(made) {
                thread::sleep(self.dice.duration(INTO_A_CALL));
                gateway.kill();
                self.fate().was_sent = is_whole(&mut stream);
                return made;
            }
            assert!(is_whole(&mut stream), "{}: a call was cut off", self.book.source.name);
            self.fate().was_sent = true;
        }
        match last {
            // Right after the last answer.
            Some(_) => gateway.kill(),
            None if self.dice.one_in(STOPPED_ONE_IN) => self.stop(gateway),
            None => self.gateway = Some(gateway),
        }
        calls
    }

    /// Asks for the next call's answer.
    fn ask(&mut self) -> TcpStream {
        let n = self.book.fates.len() as u64;
        self.book.fates.push(Fate::default());
        let body = call::request(&self.book.source.marker(n), n);
        let mut stream = self.connect();
        let (address, bytes) = (&self.address, body.len());
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: {address}\r\nx-api-key: sk-ant-test\r\ncontent-type: application/json\r\nconnection: close\r\n"
        );
        write!(stream, "{head}content-length: {bytes}\r\n\r\n{body}").expect("the gateway runs");
        stream
    }

    fn begin(&mut self) -> Gateway {
        let child = self.command.spawn().expect("starts");
        self.book.connections += 1;
        Gateway { child, first: self.book.fates.len() }
    }

    /// To a gateway that may not listen yet.
    fn connect(&self) -> TcpStream {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match TcpStream::connect(&self.address) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(DEADLINE)).expect("set");
                    return stream;
                }
                Err(error) => {
                    assert!(Instant::now() < deadline, "no gateway for {DEADLINE:?}: {error}");
                    self.stage.pause(CONNECT_EACH);
                }
            }
        }
    }

    /// Stops the gateway in peace: from then on all that it answered is the agent's, or in the spool.
    fn stop(&mut self, mut gateway: Gateway) {
        kill_process(Pid::from_child(&gateway.child), Signal::TERM).expect("runs");
        assert!(gateway.child.wait().expect("ends").success(), "a stop of the gateway in peace");
        for fate in &mut self.book.fates[gateway.first..] {
            fate.promise = Promise::Ended;
        }
    }

    /// Of the latest call.
    fn fate(&mut self) -> &mut Fate {
        self.book.fates.last_mut().expect("a call was made")
    }
}

impl Gateway {
    fn kill(mut self) {
        assert_eq!(self.child.try_wait().expect("asked"), None, "the gateway ended by itself");
        // Dropping it does.
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads an answer as far as it goes, and tells whether that is its end. Fails if it is another than was asked for.
fn is_whole(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    // An error if the gateway was killed; what came before it is there all the same.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).expect("UTF-8");
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    assert!(head.starts_with("HTTP/1.1 200"), "{text}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => length.parse() == Ok(body.len()),
        None => body.ends_with("0\r\n\r\n"),
    }
}
