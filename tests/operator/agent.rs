//! The real binary, in a folder of its own, with nothing of the machine's configuration.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

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
        let home = Self { dir: tempfile::tempdir().expect("a folder") };
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
        let mut command = self.command(&["run", "--ready-file", "ready"]);
        let mut child = command.args(args).stderr(Stdio::piped()).spawn().expect("starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut agent = Agent { child, stderr, log: String::new(), ready: serde_json::Value::Null };
        agent.wait_for("started");
        let ready = fs::read(self.path("ready")).expect("is written before the agent says that it started");
        agent.ready = serde_json::from_slice(&ready).expect("is JSON");
        agent
    }
}

/// A running agent; killed if a test fails before it is stopped.
pub(crate) struct Agent {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// What it logged so far.
    pub(crate) log: String,
    /// What it wrote into the ready file.
    pub(crate) ready: serde_json::Value,
}

impl Agent {
    /// Returns once `text` was logged, since the start.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.log.contains(text) {
            let bytes = self.stderr.read_line(&mut self.log).expect("UTF-8");
            assert!(bytes > 0, "it ended before it logged {text:?}:\n{}", self.log);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("is running");
    }

    /// Waits for its end and returns its exit code.
    pub(crate) fn end(mut self) -> Ended {
        self.stderr.read_to_string(&mut self.log).expect("UTF-8");
        let code = self.child.wait().expect("ends").code();
        Ended { code, stdout: String::new(), stderr: std::mem::take(&mut self.log) }
    }

    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
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
