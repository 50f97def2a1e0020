//! The real binary, in a folder of its own, with nothing of the machine's configuration.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::sandbox::Sandbox;
use super::wait::{AT_MOST, until};

pub(crate) const KEY: &str = "rev_mk_0123456789abcdefghij";
pub(crate) const OTHER_KEY: &str = "hak_9876543210zyxwvutsrq";

/// A folder with a configuration: data, socket and keys inside it, admin on a free port.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::of(tempfile::tempdir().expect("a folder"))
    }

    /// One whose folder is made in `dir`.
    pub(crate) fn new_in(dir: &Path) -> Self {
        Self::of(tempfile::tempdir_in(dir).expect("a folder"))
    }

    fn of(dir: tempfile::TempDir) -> Self {
        let home = Self { dir };
        home.write("key", KEY);
        home.configure("");
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).expect("mode set");
    }

    /// Writes a configuration that works, and `more`.
    pub(crate) fn configure(&self, more: &str) {
        let toml = "data_dir = \"data\"\nsocket.path = \"agent.sock\"\nadmin.listen = \"127.0.0.1:0\"\n\
                    profiles.default.api_key_file = \"key\"\n";
        self.write("config.toml", &format!("{toml}{more}"));
    }

    /// Writes a configuration that delivers to `sandbox` as fast as it answers, and `more`.
    pub(crate) fn deliver_to(&self, sandbox: &Sandbox, more: &str) {
        self.deliver_to_url(&sandbox.url(), more);
    }

    pub(crate) fn deliver_to_url(&self, url: &str, more: &str) {
        self.configure(&format!(
            "profiles.default.url = \"{url}\"\ndrain.requests_per_second_max = 5000\n\
             store.segment_bytes = \"16MiB\"\n{more}"
        ));
    }

    /// A stand-in that takes this folder's key, and more arguments.
    pub(crate) fn sandbox(&self, args: &[&str]) -> Sandbox {
        self.sandbox_on("127.0.0.1:0", args)
    }

    pub(crate) fn sandbox_on(&self, address: &str, args: &[&str]) -> Sandbox {
        let key = format!("{KEY}=team");
        let mut all = vec!["--key", &key, "--rate-limit", "0"];
        all.extend(args);
        Sandbox::start_on(address, &self.path("journal"), &all)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("agent.sock")
    }

    /// What `status --json` prints.
    pub(crate) fn status(&self) -> Value {
        let ended = self.run(&["status", "--json"]);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("no status: {}", ended.stderr))
    }

    /// Looks at the status until `holds`, and returns it.
    pub(crate) fn wait_status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.status(), holds)
    }

    /// Returns once nothing waits, and fails unless the ledger balances.
    pub(crate) fn wait_drained(&self) -> Value {
        let status = self.wait_status("everything is settled", |status| {
            status["waiting_for"] == Value::Array(Vec::new())
                && status["profiles"].as_array().is_some_and(|all| all.iter().all(|p| p["waiting"] == 0))
        });
        assert_eq!(status["imbalance"], 0, "{status}");
        status
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_revenium-agent"));
        command.env_clear().env("HOME", self.dir.path()).current_dir(self.dir.path()).args(args);
        command
    }

    /// Runs a command to its end, with this configuration.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let output = self.command(args).args(["--config", "config.toml"]).output().expect("runs");
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Starts the agent and returns once it is ready.
    pub(crate) fn start(&self) -> Agent {
        self.start_with(&["--config", "config.toml"])
    }

    pub(crate) fn start_with(&self, args: &[&str]) -> Agent {
        self.start_in(&[], args)
    }

    /// Starts it with these variables in its environment.
    pub(crate) fn start_in(&self, variables: &[(&str, &str)], args: &[&str]) -> Agent {
        let mut command = self.command(&["run", "--ready-file", "ready"]);
        let mut agent = self.launch(command.envs(variables.iter().copied()).args(args));
        agent.wait_for("started");
        let ready = fs::read(self.path("ready")).expect("is written before the agent says that it started");
        agent.ready = serde_json::from_slice(&ready).expect("is JSON");
        agent
    }

    /// Starts an agent by `command`, and does not wait for it.
    pub(crate) fn launch(&self, command: &mut Command) -> Agent {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("piped");
        let reader = std::thread::spawn({
            let log = log.clone();
            move || log.read(stderr)
        });
        Agent { child, log, reader: Some(reader), ready: Value::Null }
    }

    /// A command whose calls of the system that are called `call` take `delay` longer each, in files below
    /// `paths` only if there are any. Its process is the agent's own.
    pub(crate) fn slowed(&self, call: &str, delay: &str, paths: &[PathBuf], args: &[&str]) -> Command {
        let mut command = Command::new("strace");
        // Traced by a process beside it, so that what is started here is the agent.
        command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        command.args(["-e", &format!("inject={call}:delay_enter={delay}")]);
        for path in paths {
            command.arg("-P").arg(path);
        }
        command.arg(env!("CARGO_BIN_EXE_revenium-agent")).args(args).env_clear();
        command.env("HOME", self.dir.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(self.dir.path());
        command
    }
}

/// What a process logged so far.
#[derive(Default)]
struct Log {
    text: Mutex<(String, bool)>,
    more: Condvar,
}

impl Log {
    fn read(&self, from: ChildStderr) {
        let mut from = BufReader::new(from);
        let mut line = String::new();
        while from.read_line(&mut line).expect("UTF-8") > 0 {
            self.lock().0.push_str(&line);
            self.more.notify_all();
            line.clear();
        }
        self.lock().1 = true;
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, (String, bool)> {
        self.text.lock().expect("no panic while locked")
    }
}

/// A running agent; killed if a test fails before it is stopped.
pub(crate) struct Agent {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    /// What it wrote into the ready file.
    pub(crate) ready: Value,
}

impl Agent {
    /// Returns once `text` was logged, since the start.
    pub(crate) fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + AT_MOST;
        let mut log = self.log.lock();
        while !log.0.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !log.1 && !left.is_zero(),
                "it ended before it logged {text:?}, or never did:\n{}",
                log.0
            );
            log = self.log.more.wait_timeout(log, left).expect("no panic while locked").0;
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().0.clone()
    }

    /// Whether it is gone, as far as its log says.
    pub(crate) fn has_ended(&self) -> bool {
        self.log.lock().1
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("is running");
    }

    /// Waits for its end and returns its exit code and its log.
    pub(crate) fn end(mut self) -> Ended {
        let code = self.child.wait().expect("ends").code();
        self.reader.take().expect("joined once").join().expect("reads");
        Ended { code, stdout: String::new(), stderr: self.log() }
    }

    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        assert_eq!(self.end().code, None);
    }

    /// The value of a metric without labels, or with these.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").1;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
    }

    /// The address of metrics and health.
    pub(crate) fn admin(&self) -> &str {
        self.ready["admin"].as_str().expect("is on")
    }

    /// GETs `path`: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin()).expect("listens");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("has a status");
        (status, body.to_owned())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Errors if it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fails if any text shows a key.
pub(crate) fn assert_no_secret(texts: &[&str]) {
    for text in texts {
        for secret in ["0123456789", "9876543210", "hunter2"] {
            assert!(!text.contains(secret), "{secret} is in:\n{text}");
        }
    }
}

/// Names in a folder, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("listed").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}
