//! The clients that are programs of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::answers::KINDS;
use crate::support::Home;

/// How a client is metered: by nobody in its own process, or by the package for Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Gateway,
    Package,
    Both,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program that `tests/run.sh` installs.
fn tool(path: &str) -> PathBuf {
    let tool = root().join("target/tools").join(path);
    assert!(tool.exists(), "{path} is not in target/tools: run tests/run.sh, which installs it");
    tool
}

/// Makes the calls of all kinds with Anthropic's SDK for Python.
pub(crate) fn python(home: &Home, how: &str, by: By, base: &str, way: &str) {
    let kinds = KINDS.iter().map(|(kind, _)| *kind).filter(|kind| how != "stream" || is_streamed(kind));
    let mut command = Command::new(tool("sdk/bin/python"));
    command.arg(root().join("tests/parity/clients/python.py")).args([how, base, way]).args(kinds).env_clear();
    // What is installed of the package is this folder.
    command.env("PYTHONPATH", root().join("python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("REVENIUM_AGENT_SOCKET", home.socket());
    command.env("METERED", if by == By::Gateway { "0" } else { "1" });
    run(command);
}

/// And with that for Node.
pub(crate) fn node(base: &str, way: &str) {
    let mut command = Command::new("node");
    command.arg(root().join("tests/parity/clients/node.cjs")).args([base, way]);
    command.args(KINDS.iter().map(|(kind, _)| *kind)).env("NODE_PATH", tool("node/node_modules"));
    run(command);
}

/// And with curl.
pub(crate) fn curl(base: &str, way: &str) {
    for (kind, _) in KINDS {
        let mut command = Command::new("curl");
        command.args(["-s", "-N", "--fail", "--retry", "1", "--retry-all-errors", "-o", "/dev/null"]);
        command.args(["-H", &format!("x-revenium-trace-id: {kind}/{way}"), "-H", "x-api-key: sk-ant-test"]);
        command.args(["-H", "content-type: application/json", "-d", &body(kind, way)]);
        // An error that will not go away is not tried again.
        if kind != "overloaded" {
            command.args(["--retry", "0"]);
        }
        let status = command.arg(format!("{base}/v1/messages")).status().expect("curl is installed");
        assert_eq!(status.success(), !["refused", "cut"].contains(&kind), "{kind}: {status}");
    }
}

pub(crate) fn is_streamed(kind: &str) -> bool {
    ["stream", "rich-stream", "cut"].contains(&kind)
}

/// The request's body, as the SDKs make it.
pub(crate) fn body(kind: &str, way: &str) -> String {
    let mut body = serde_json::json!({
        "model": "claude-opus-4", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}],
        "metadata": {"user_id": format!("{kind}/{way}")},
    });
    if kind.starts_with("rich") {
        body["thinking"] = serde_json::json!({"type": "enabled", "budget_tokens": 1024});
        body["tools"] = serde_json::json!([{"type": "web_search_20250305", "name": "web_search"}]);
    } else {
        body["service_tier"] = "auto".into();
    }
    if is_streamed(kind) {
        body["stream"] = true.into();
    }
    body.to_string()
}

/// Runs a client, whose calls of two kinds fail and whose others do not.
fn run(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    for line in said.lines() {
        let is_to_fail = line.starts_with("refused") || line.starts_with("cut");
        assert_eq!(line.ends_with("answered"), !is_to_fail, "{command:?}: {line}");
    }
}
