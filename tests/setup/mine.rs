//! An agent that `start` started, and applications with keys of their own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{completion, until};
use crate::user::{Ended, User};

/// A user without any configuration. What `start` leaves running ends with this value.
pub(crate) struct Mine {
    pub(crate) user: User,
}

impl Mine {
    pub(crate) fn new() -> Self {
        Self { user: User::new() }
    }

    /// `start`, wherever these tests run.
    pub(crate) fn start(&self, args: &[&str]) -> Value {
        let ended = self.start_in(&[("REVENIUM_AGENT_AUTOSTART", "1")], args);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("one line of JSON: {ended:?}"))
    }

    pub(crate) fn start_in(&self, variables: &[(&str, &str)], args: &[&str]) -> Ended {
        self.command(args).envs(variables.iter().copied()).output().expect("runs").into()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.user.agent(&["start"]);
        command.args(args);
        command
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.user.path("run/revenium/agent.sock")
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.user.path("home/.local/state/revenium-agent").join(name)
    }

    pub(crate) fn copy(&self, version: &str) -> PathBuf {
        self.user.path("home/.local/share/revenium-agent").join(version).join("revenium-agent")
    }

    pub(crate) fn card_path(&self) -> PathBuf {
        self.socket().with_file_name("agent.json")
    }

    pub(crate) fn card(&self) -> Value {
        serde_json::from_slice(&fs::read(self.card_path()).expect("it runs")).expect("is JSON")
    }

    /// Changes what the running agent says of itself.
    pub(crate) fn say_version(&self, version: &str) {
        let mut card = self.card();
        card["version"] = version.into();
        fs::write(self.card_path(), card.to_string()).expect("written");
    }

    pub(crate) fn pid(&self) -> i32 {
        self.card()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid")
    }

    /// Everything that runs one of this user's copies.
    pub(crate) fn running(&self) -> Vec<i32> {
        let copies = self.user.path("home/.local/share");
        let entries = fs::read_dir("/proc").expect("listed").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_it = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.starts_with(&copies))
        };
        pids.filter(is_it).collect()
    }

    pub(crate) fn kill(&self, signal: Signal) {
        for pid in self.running() {
            // Errors if it has ended by itself.
            let _ = kill_process(Pid::from_raw(pid).expect("is none of 0"), signal);
        }
    }

    /// Returns once nothing runs any more, nor listens: a process that is killed has no program before its files close.
    pub(crate) fn wait_ended(&self) {
        until("the agent ends", || self.running(), Vec::is_empty);
        until("nobody listens", || UnixStream::connect(self.socket()).is_ok(), |listens| !listens);
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.user.agent(&["status", "--json"]).output().expect("runs");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    pub(crate) fn wait_status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.status(), holds)
    }

    /// All that an agent may show: its log, its status, its dead letters.
    pub(crate) fn shown(&self) -> String {
        let letters = self.user.agent(&["dlq", "list", "--json"]).output().expect("runs");
        let log = fs::read_to_string(self.data("agent.log")).expect("a log");
        format!("{log}{}{}", self.status(), String::from_utf8_lossy(&letters.stdout))
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        self.kill(Signal::KILL);
    }
}

/// The profile that a key makes.
pub(crate) fn profile_of(key: &str) -> String {
    let namespace = Uuid::from_u128(0x26002cad_875a_596a_b3f0_73d9462fdd55);
    format!("key-{}", &Uuid::new_v5(&namespace, key.as_bytes()).simple().to_string()[..16])
}

/// An application with a key, as the Python package is one.
pub(crate) struct Application {
    stream: BufReader<UnixStream>,
    key: String,
    url: String,
}

impl Application {
    /// Connects, and says that the key is at hand, for this URL.
    pub(crate) fn connect(mine: &Mine, key: &str, url: &str) -> Self {
        let stream = UnixStream::connect(mine.socket()).expect("it listens");
        let mut application =
            Self { stream: BufReader::new(stream), key: key.to_owned(), url: url.to_owned() };
        let profile = profile_of(key);
        application
            .say(&format!(r#"{{"hello":{{"v":1,"profile":"{profile}","key_at_hand":true,"url":"{url}"}}}}"#));
        application
    }

    /// Connects, hands the key over unasked and reports one use, all at once; whether the agent took it.
    pub(crate) fn report_once(mine: &Mine, key: &str, url: &str, transaction: &str) -> bool {
        let Ok(stream) = UnixStream::connect(mine.socket()) else { return false };
        let mut stream = BufReader::new(stream);
        let hello = format!(r#"{{"hello":{{"v":1,"profile":"{}"}}}}"#, profile_of(key));
        let key = format!(r#"{{"key":{{"value":"{key}","url":"{url}"}}}}"#);
        let event = completion("m").replacen('{', &format!("{{\"transactionId\":\"{transaction}\","), 1);
        let mut answer = String::new();
        stream.get_mut().write_all(format!("{hello}\n{key}\n{event}\n").as_bytes()).is_ok()
            && stream.get_ref().shutdown(std::net::Shutdown::Write).is_ok()
            && stream.read_line(&mut answer).is_ok()
            && answer.starts_with("{\"ok\":true")
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).expect("taken");
    }

    pub(crate) fn hand_over(&mut self) {
        let Self { key, url, .. } = self;
        let line = format!(r#"{{"key":{{"value":"{key}","url":"{url}"}}}}"#);
        self.say(&line);
    }

    pub(crate) fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("answered");
        serde_json::from_str(&line).expect("an answer is JSON")
    }

    /// Reports one use, with this `transactionId`, and waits until it is durable.
    pub(crate) fn report(&mut self, transaction: &str) {
        let event = completion("m").replacen('{', &format!("{{\"transactionId\":\"{transaction}\","), 1);
        self.say(&event);
        let answer = self.answer();
        assert_eq!(answer["ok"], true, "{answer}");
    }
}
