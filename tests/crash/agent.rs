//! The agent's process, and the end of what its lives logged.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::stage::DEADLINE;
use crate::support::Home;

/// Lines that a failure shows.
const LINES_SHOWN: usize = 60;
/// How often a process that was asked to end is looked at.
const LOOK_EACH: Duration = Duration::from_millis(1);

/// What all lives of the agent logged: all of it in a file, and here what a failure shows.
pub(crate) struct Log {
    file: File,
    state: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    last: VecDeque<String>,
    /// Lives that came up, and lives whose log has ended.
    started: u64,
    ended: u64,
    warnings: BTreeMap<String, u64>,
    errors: Vec<String>,
}

impl Log {
    pub(crate) fn new(path: &Path) -> Arc<Self> {
        let file = File::create_new(path).expect("made");
        Arc::new(Self { file, state: Mutex::default(), more: Condvar::new() })
    }

    fn read(&self, from: ChildStderr) {
        for line in BufReader::new(from).lines() {
            self.add(line.unwrap_or_else(|error| format!("(not to be read: {error})")));
        }
        self.lock().ended += 1;
        self.more.notify_all();
    }

    fn add(&self, line: String) {
        (&self.file).write_all(format!("{line}\n").as_bytes()).expect("written");
        let mut lines = self.lock();
        if line.contains(" INFO ") && line.contains(": started") {
            lines.started += 1;
        } else if line.contains(" WARN ") {
            let what = line.split_once(" WARN ").map_or("", |(_, what)| what).trim_start();
            // What is said, without the values.
            let what = what.split(" error=").next().unwrap_or_default();
            let what: String =
                what.split(' ').take_while(|word| !word.contains('=')).collect::<Vec<_>>().join(" ");
            *lines.warnings.entry(what).or_default() += 1;
        } else if line.contains(" ERROR ") || line.contains("panicked at") {
            lines.errors.push(line.clone());
        }
        lines.last.push_back(line);
        if lines.last.len() > LINES_SHOWN {
            lines.last.pop_front();
        }
        self.more.notify_all();
    }

    /// Warnings by their words.
    pub(crate) fn warnings(&self) -> BTreeMap<String, u64> {
        self.lock().warnings.clone()
    }

    /// Fails if a life of the agent logged an error, or panicked.
    pub(crate) fn assert_no_errors(&self) {
        let errors = self.lock().errors.clone();
        assert!(errors.is_empty(), "the agent logged errors:\n{}", errors.join("\n"));
    }

    /// The last lines, for a person.
    pub(crate) fn tail(&self) -> String {
        let lines = self.lock();
        lines.last.iter().map(|line| format!("  {line}\n")).collect()
    }

    fn lives(&self) -> (u64, u64) {
        let lines = self.lock();
        (lines.started, lines.ended)
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One life of the agent; killed when dropped.
pub(crate) struct Life {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    began: Instant,
    /// Of the lives before it.
    before: (u64, u64),
}

impl Life {
    /// Starts the agent, and doesn't wait for it.
    pub(crate) fn begin(home: &Home, log: &Arc<Log>) -> Self {
        Self::of(home.command(&["run", "--config", "config.toml"]), log)
    }

    /// Starts it by a command whose stderr has its log.
    pub(crate) fn of(mut command: Command, log: &Arc<Log>) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let before = log.lives();
        let stderr = child.stderr.take().expect("piped");
        let reader = thread::spawn({
            let log = Arc::clone(log);
            move || log.read(stderr)
        });
        Self { child, log: Arc::clone(log), reader: Some(reader), began: Instant::now(), before }
    }

    /// Returns once it says that it has started, with how long that took.
    pub(crate) fn wait_started(&self) -> Duration {
        let deadline = self.began + DEADLINE;
        let (started, ended) = self.before;
        let mut lines = self.log.lock();
        while lines.started == started {
            assert_eq!(lines.ended, ended, "the agent ended before it had started");
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the agent has not started within {DEADLINE:?}");
            lines = self.log.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.began.elapsed()
    }

    /// kill -9. Fails if it had ended by itself.
    pub(crate) fn kill(mut self) {
        let ended = self.child.try_wait().expect("asked");
        assert_eq!(ended, None, "the agent ended by itself");
        self.end_now();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("is there");
    }

    /// kill -9 while it is about to stop. False if it had stopped by then, as it should.
    pub(crate) fn kill_if_there(mut self) -> bool {
        let ended = self.child.try_wait().expect("asked");
        assert!(ended.is_none_or(|status| status.success()), "it stopped with {ended:?}");
        self.end_now();
        ended.is_none()
    }

    /// Waits for its end.
    pub(crate) fn wait_end(mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("asked") {
                self.end_now();
                return status;
            }
            assert!(Instant::now() < deadline, "the agent has not stopped within {DEADLINE:?}");
            thread::sleep(LOOK_EACH);
        }
    }

    fn end_now(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reads to the end");
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end_now();
    }
}
