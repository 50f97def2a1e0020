//! Python with Revenium's SDK, and the stand-in for Anthropic that its calls go to.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::KEY;

/// The interpreter that has the packages. `tests/run.sh` makes it.
fn interpreter() -> PathBuf {
    let python = root().join("target/tools/sdk/bin/python");
    assert!(python.is_file(), "Revenium's SDK is not in target/tools/sdk: tests/run.sh installs it");
    python
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A running stand-in for Anthropic; it ends with this value, or with the test that holds it.
pub(crate) struct Anthropic {
    child: Child,
    url: String,
}

impl Anthropic {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(interpreter());
        command.arg(root().join("tests/sdk/anthropic.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let port = first_line(&mut BufReader::new(child.stdout.take().expect("piped")));
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A script of `cases/` that calls this Anthropic and meters with Revenium at `revenium`.
    pub(crate) fn case(&self, name: &str, revenium: &str) -> Command {
        let mut command = Command::new(interpreter());
        command
            .arg(root().join("tests/sdk/cases").join(name))
            .env_clear()
            .env("ANTHROPIC_BASE_URL", &self.url)
            .env("ANTHROPIC_API_KEY", "sk-test")
            .env("REVENIUM_METERING_BASE_URL", revenium)
            .env("REVENIUM_METERING_API_KEY", KEY);
        command
    }
}

impl Drop for Anthropic {
    fn drop(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a case to its end.
pub(crate) fn run(mut command: Command) {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A line that a case prints.
pub(crate) fn first_line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    assert!(out.read_line(&mut line).expect("UTF-8") > 0, "it ended too soon");
    line.trim_end().to_owned()
}
