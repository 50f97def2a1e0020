//! Prometheus itself, scraping an agent with our configuration and rules.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::unused_address;

/// Prometheus's Debian package has both.
const HOW_TO_GET_IT: &str = "it comes with Prometheus: apt-get install prometheus";

/// A running Prometheus; it ends with this value, or with the test that holds it.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
    _dir: tempfile::TempDir,
}

/// A file of `ops/`.
pub(crate) fn ops(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops").join(name)
}

/// Runs promtool to its end, with `input`; whether it was content, and what it said.
pub(crate) fn promtool(args: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new("promtool");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = command.spawn();
    let mut promtool =
        spawned.unwrap_or_else(|error| panic!("cannot run promtool ({error}); {HOW_TO_GET_IT}"));
    promtool.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read by promtool");
    let output = promtool.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

impl Prometheus {
    /// Starts one with `ops/prometheus/scrape.yml`, but for the agent's address and every second.
    pub(crate) fn watch(admin: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["recording.yml", "alerts.yml"] {
            fs::copy(ops("prometheus").join(name), dir.path().join(name)).expect("copied");
        }
        let mut config = fs::read_to_string(ops("prometheus/scrape.yml")).expect("read");
        for (from, to) in [("127.0.0.1:8792", admin), ("interval: 15s", "interval: 1s")] {
            assert!(config.contains(from), "{from} is not in scrape.yml");
            config = config.replace(from, to);
        }
        fs::write(dir.path().join("scrape.yml"), config).expect("written");
        let address = unused_address();
        let mut command = Command::new("prometheus");
        command
            .current_dir(dir.path())
            .args(["--config.file=scrape.yml", "--storage.tsdb.path=data", "--log.level=error"])
            .arg(format!("--web.listen-address={address}"));
        let spawned = command.stdin(Stdio::null()).spawn();
        let child =
            spawned.unwrap_or_else(|error| panic!("cannot run prometheus ({error}); {HOW_TO_GET_IT}"));
        Self { child, address, _dir: dir }
    }

    /// The `data` of its API's answer, or why there is none.
    pub(crate) fn ask(&self, path: &str) -> Result<Value, String> {
        let body = self.get(path).map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        if answer["status"] == "success" { Ok(answer["data"].take()) } else { Err(body) }
    }

    /// What an expression gives now: one element a series.
    pub(crate) fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in expression.bytes() {
            path.push_str(&format!("%{byte:02X}"));
        }
        let mut data = self.ask(&path)?;
        match data["result"].take() {
            Value::Array(series) => Ok(series),
            other => Err(format!("no series: {other}")),
        }
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every selector of an expression, as `name{labels}`: what it asks the agent for.
pub(crate) fn selectors(expression: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(|c: char| is_part(c) || c == '"') {
        rest = &rest[at..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = text.split_once('"').map_or("", |(_, after)| after);
            continue;
        }
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        let is_metric =
            name == "up" || ["revenium_", "process_", "instance:"].iter().any(|p| name.starts_with(p));
        if is_metric {
            // No label's value here has a brace in it.
            let labels = after.strip_prefix('{').and_then(|labels| labels.split_once('}'));
            found.push(labels.map_or(name.to_owned(), |(labels, _)| format!("{name}{{{labels}}}")));
            rest = labels.map_or(after, |(_, after)| after);
        }
    }
    found
}

#[test]
fn selectors_are_what_an_expression_asks_for() {
    let expression = r#"sum by (le, instance) (rate(revenium_agent_x_bucket{reason=~"full|up"}[5m])) > 0.5
        or max_over_time(instance:revenium_agent_y:max[7d] offset 1d) unless up{job="up"} == 1 or up"#;
    let expected = [
        r#"revenium_agent_x_bucket{reason=~"full|up"}"#,
        "instance:revenium_agent_y:max",
        r#"up{job="up"}"#,
        "up",
    ];
    assert_eq!(selectors(expression), expected);
}
