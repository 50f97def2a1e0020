//! Applications with an emitter, each a process that is killed now and then, and who keeps their books.
//! In Python it is the package that has the emitter, and what is emitted are calls (`application.py`).
//!
//! An application emits what it is told and says what became of each event as soon as `emit` has returned. What
//! may not be lost: what a flush said is out of its memory, and, in a life of the agent that ends in peace, what
//! `emit` said the kernel has. What an application that was killed had not flushed is in doubt, and counted.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use revenium_emitter::{DurableError, Emitted, Emitter, Event};

use crate::dice::Dice;
use crate::event::{Identity, Source};
use crate::producer::{Book, Fate, Promise, start};
use crate::stage::{DEADLINE, Stage};
use crate::support::Home;

/// Events of one burst.
const BURST_MAX: u64 = 96;
/// In so many bursts, one ends with the application killed before it has flushed, and one with it killed after.
const KILLED_ONE_IN: u64 = 5;
/// The same of one that takes a second to start.
const PYTHON_KILLED_ONE_IN: u64 = 12;

/// How an application is told who it is: name, profile, seed.
const VARIABLE: &str = "REVENIUM_CRASH_APPLICATION";
/// How the lines of an application begin, among those of the test harness.
const MARK: &str = "application: ";

/// Not a test by itself: the application, when the storm has started this program as one.
#[test]
fn an_application_of_the_storm_emits_what_it_is_told() {
    let Ok(who) = std::env::var(VARIABLE) else { return };
    let parts: Vec<&str> = who.split(' ').collect();
    let [name, profile, seed] = parts[..] else { panic!("{VARIABLE}: {who}") };
    let leak = |text: &str| &*text.to_owned().leak();
    let (name, profile) = (leak(name), leak(profile));
    let seed = seed.parse().expect("a seed");
    let source = Source { name, identity: Identity::Emitted, profile, seed, filler_bytes: 0 };
    let emitter = Emitter::new();
    let event = |n| Event::from_json(source.event(n).json).expect("is an event");
    let mut out = std::io::stdout().lock();
    let mut say = |text: String| writeln!(out, "{MARK}{text}").expect("somebody listens");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        match words[0] {
            "emit" => {
                for n in number(1)..number(2) {
                    match emitter.emit(event(n)) {
                        Emitted::Sent => say(format!("sent {n}")),
                        Emitted::Queued => say(format!("queued {n}")),
                        other => panic!("{n}: {other:?}"),
                    }
                }
                say("emitted".to_owned());
            }
            "durable" => match emitter.emit_durable(event(number(1)), DEADLINE) {
                Ok(()) => say("durable".to_owned()),
                Err(DurableError::Spooled) => say("spooled".to_owned()),
                Err(error) => panic!("{error}"),
            },
            "flush" => {
                let report = emitter.flush(DEADLINE);
                assert_eq!(report.refused, 0, "nothing is wrong with the events");
                say(format!("flushed {} {}", report.in_memory, report.spooled));
            }
            other => panic!("{other}?"),
        }
    }
}

pub(crate) struct Keeper {
    who: usize,
    stage: Arc<Stage>,
    /// Starts an application.
    command: Command,
    killed_one_in: u64,
    dice: Dice,
    book: Book,
    application: Option<Application>,
}

/// One life of an application; killed when dropped.
struct Application {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// Its first event that it has not flushed.
    unflushed: u64,
}

impl Keeper {
    /// One of applications with the emitter itself, which are this very program.
    pub(crate) fn new(who: usize, source: Source, stage: &Arc<Stage>, home: &Home, dice: Dice) -> Self {
        let Source { name, profile, seed, .. } = source;
        let test = "keeper::an_application_of_the_storm_emits_what_it_is_told";
        let mut command = Command::new(std::env::current_exe().expect("is there"));
        command.args(["--exact", test, "--nocapture"]).env_clear();
        command.env(VARIABLE, format!("{name} {profile} {seed}"));
        Self::of(who, Book::new(source, "emitter"), stage, home, command, KILLED_ONE_IN, dice)
    }

    /// One of applications that `python` runs, whose calls are answered at `provider_url`.
    pub(crate) fn new_python(
        who: usize,
        source: Source,
        stage: &Arc<Stage>,
        home: &Home,
        (python, provider_url): (&Path, &str),
        dice: Dice,
    ) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(python);
        command.arg(root.join("tests/crash/application.py")).arg(source.name).env_clear();
        command.env("PYTHONPATH", root.join("python/src"));
        command.env("ANTHROPIC_BASE_URL", provider_url).env("ANTHROPIC_API_KEY", "sk-ant-test");
        Self::of(who, Book::new(source, "python"), stage, home, command, PYTHON_KILLED_ONE_IN, dice)
    }

    fn of(
        who: usize,
        book: Book,
        stage: &Arc<Stage>,
        home: &Home,
        mut command: Command,
        killed_one_in: u64,
        dice: Dice,
    ) -> Self {
        command.env("REVENIUM_AGENT_SOCKET", home.socket()).env("REVENIUM_AGENT_SPOOL", home.path("spool"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self { who, stage: Arc::clone(stage), command, killed_one_in, dice, book, application: None }
    }

    /// Has emitted what the stage allows, until that says it is over.
    pub(crate) fn start(self) -> JoinHandle<Book> {
        start(self.book.source.name, Arc::clone(&self.stage), move || self.run())
    }

    fn run(mut self) -> Book {
        while self.stage.has_work(self.who) {
            let burst = self.dice.between(1..=BURST_MAX);
            let events = self.stage.take(self.who, burst);
            self.stage.note(self.who, 0, usize::try_from(events).expect("is small"));
            let promised = self.burst(events);
            self.stage.note(self.who, promised, 0);
        }
        self.book
    }

    /// Has so many events emitted; returns how many of all may not be lost since.
    fn burst(&mut self, events: u64) -> u64 {
        let is_outliving = self.stage.is_outliving();
        let first = self.next();
        let mut application = self.application.take().unwrap_or_else(|| self.begin());
        if is_outliving && events > 0 {
            // Whoever has an answer has a connection.
            self.book.fates.push(Fate::default());
            let said = application.ask(&format!("durable {first}"));
            self.fate(first).promise = match said.last().map(String::as_str) {
                Some("durable") => Promise::Acknowledged,
                Some("spooled") => Promise::Spooled,
                other => panic!("{}: {other:?}", self.book.source.name),
            };
        }
        let (from, upto) = (self.next(), first + events);
        self.book.fates.extend((from..upto).map(|_| Fate::default()));
        application.tell(&format!("emit {from} {upto}"));
        if is_outliving {
            let said = application.hear("emitted");
            self.note_sent(&said, Promise::Kernel);
            application.kill();
            return self.promised(first);
        }
        if self.dice.one_in(self.killed_one_in) {
            let some = self.dice.between(0..=events);
            let mut said: Vec<String> =
                (0..some).map(|_| application.line().expect("it emits so many")).collect();
            said.append(&mut application.kill());
            self.note_sent(&said, Promise::Nothing);
            return 0;
        }
        let said = application.hear("emitted");
        self.note_sent(&said, Promise::Nothing);
        self.flush(&mut application, upto);
        if !self.dice.one_in(self.killed_one_in) {
            self.application = Some(application);
        }
        self.promised(first)
    }

    /// Flushes until nothing is in the application's memory.
    fn flush(&mut self, application: &mut Application, upto: u64) {
        let mut spooled = 0;
        loop {
            let said = application.ask("flush");
            let report: Vec<u64> = said.last().map_or(Vec::new(), |line| {
                line.split(' ').skip(1).map(|number| number.parse().expect("a number")).collect()
            });
            let [in_memory, more] = report[..] else { panic!("{}: {said:?}", self.book.source.name) };
            spooled += more;
            if in_memory == 0 {
                break;
            }
            assert!(!self.stage.has_failed(), "the storm has failed");
        }
        // Which of them are in a file is not told; if some are, all count as that.
        let promise = if spooled > 0 { Promise::Spooled } else { Promise::Acknowledged };
        for n in application.unflushed..upto {
            self.fate(n).promise = promise;
        }
        application.unflushed = upto;
    }

    fn begin(&mut self) -> Application {
        let mut child = self.command.spawn().expect("starts");
        let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        self.book.connections += 1;
        Application { child, to, from: BufReader::new(from), unflushed: self.next() }
    }

    /// Notes what the kernel had, and what that promises.
    fn note_sent(&mut self, said: &[String], promise: Promise) {
        for n in said.iter().filter_map(|line| line.strip_prefix("sent ")) {
            let fate = self.fate(n.parse().expect("a number"));
            (fate.was_sent, fate.promise) = (true, promise);
        }
    }

    fn promised(&self, from: u64) -> u64 {
        let from = usize::try_from(from).expect("is small");
        self.book.fates[from..].iter().filter(|fate| fate.promise != Promise::Nothing).count() as u64
    }

    fn next(&self) -> u64 {
        self.book.fates.len() as u64
    }

    fn fate(&mut self, n: u64) -> &mut Fate {
        &mut self.book.fates[usize::try_from(n).expect("is small")]
    }
}

impl Application {
    fn tell(&mut self, order: &str) {
        writeln!(self.to, "{order}").expect("it listens");
    }

    /// What it says, up to a line that begins so.
    fn hear(&mut self, end: &str) -> Vec<String> {
        let mut said = Vec::new();
        while said.last().is_none_or(|line: &String| !line.starts_with(end)) {
            said.push(self.line().expect("it goes on until it is killed"));
        }
        said
    }

    fn ask(&mut self, order: &str) -> Vec<String> {
        self.tell(order);
        vec![self.line().expect("it goes on until it is killed")]
    }

    /// Kills it, and returns what it had said and nobody had heard.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("runs");
        let mut said: Vec<String> = std::iter::from_fn(|| self.line()).collect();
        // The last line may have been cut.
        said.pop();
        said
    }

    /// Its next line; nothing at its end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.from.read_line(&mut line).expect("UTF-8") > 0 {
            if let Some(at) = line.find(MARK) {
                return Some(line[at + MARK.len()..].trim_end().to_owned());
            }
            line.clear();
        }
        None
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
