//! The gateway's process, and what it metered while no agent was there.

use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::Client;
use crate::provider::Provider;
use crate::support::{Home, until};

/// A running gateway; killed if a test fails before it is stopped.
pub(crate) struct Gateway {
    child: Child,
    address: String,
    admin: String,
}

impl Gateway {
    /// One before `provider`, whose agent, if there is one, is the one of `home`.
    pub(crate) fn start(home: &Home, provider: &Provider) -> Self {
        Self::start_with(home, &provider.url(), "")
    }

    /// One with more lines in its configuration.
    pub(crate) fn start_with(home: &Home, provider_url: &str, more: &str) -> Self {
        Self::start_in(home, &[], provider_url, more)
    }

    /// One with these variables in its environment, too.
    pub(crate) fn start_in(home: &Home, variables: &[(&str, &str)], provider_url: &str, more: &str) -> Self {
        home.write(
            "gateway.toml",
            &format!("socket.path = \"agent.sock\"\ngateway.listen = \"127.0.0.1:0\"\ngateway.admin_listen = \"127.0.0.1:0\"\ngateway.provider_url = \"{provider_url}\"\n{more}"),
        );
        let _ = fs::remove_file(home.path("gateway-ready"));
        let mut command =
            home.command(&["gateway", "--config", "gateway.toml", "--ready-file", "gateway-ready"]);
        let child = command.envs(variables.iter().copied()).stderr(Stdio::piped()).spawn().expect("starts");
        let ready = until(
            "the gateway listens",
            || fs::read(home.path("gateway-ready")).unwrap_or_default(),
            |ready| !ready.is_empty(),
        );
        let ready: Value = serde_json::from_slice(&ready).expect("JSON");
        let at = |name: &str| ready[name].as_str().expect("an address").to_owned();
        Self { child, address: at("gateway"), admin: at("admin") }
    }

    /// The end of one that is not to come up, with the configuration of the last that did.
    pub(crate) fn start_in_vain(home: &Home) -> (Option<i32>, String) {
        let mut command = home.command(&["gateway", "--config", "gateway.toml"]);
        let child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let mut vain = Self { child, address: String::new(), admin: String::new() };
        until("it ends", || vain.child.try_wait().expect("is ours").is_some(), |ended| *ended);
        vain.end()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What its own listener answers to a GET.
    pub(crate) fn shows(&self, path: &str) -> crate::client::Answer {
        let mut client = Client::connect(&self.admin);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        client.answer(false)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    /// Most memory that it had so far, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("is told");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("is running");
    }

    /// Tells it to stop, waits until it has, and returns its exit code and its log.
    pub(crate) fn stop(self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        self.end()
    }

    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut log).expect("UTF-8");
        (self.child.wait().expect("ends").code(), log)
    }

    /// Stops it; the events that it metered, with no agent there.
    pub(crate) fn metered(self, home: &Home) -> Vec<Value> {
        let (code, log) = self.stop();
        assert_eq!(code, Some(0), "{log}");
        spooled(home)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Errors if it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The events in the spool, in the order of their numbers.
pub(crate) fn spooled(home: &Home) -> Vec<Value> {
    let mut events = Vec::new();
    for entry in fs::read_dir(home.path("spool")).into_iter().flatten() {
        let path = entry.expect("listed").path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = fs::read_to_string(path).expect("read");
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            events.extend(lines.filter(|line| line.get("hello").is_none()));
        }
    }
    events.sort_by_key(|event| event["n"].as_u64());
    events
}

/// What a test looks at of an event: its id, its stop reason, its tokens in and out.
pub(crate) fn outline(event: &Value) -> (&str, &str, u64, u64) {
    (
        event["transactionId"].as_str().unwrap_or_default(),
        event["stopReason"].as_str().unwrap_or_default(),
        event["inputTokenCount"].as_u64().expect("a count"),
        event["outputTokenCount"].as_u64().expect("a count"),
    )
}
