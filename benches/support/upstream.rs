//! The stand-in for Revenium that only counts, as a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running one; it ends with this value.
pub(crate) struct Upstream {
    child: Child,
    /// Where the agent finds it.
    pub(crate) url: String,
}

impl Upstream {
    /// One that takes `key` and answers after `latency_ms`.
    pub(crate) fn start(key: &str, latency_ms: u64) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_revenium-agent"));
        command.args(["sandbox", "--with-stdin", "--bench", "--key", key, "--latency-ms"]);
        command.arg(latency_ms.to_string()).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("says where it listens");
        let said: serde_json::Value = serde_json::from_str(&line).expect("is JSON");
        let address = said["sandbox"].as_str().expect("an address");
        Self { url: format!("http://{address}"), child }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
