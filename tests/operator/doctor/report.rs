//! What `doctor --json` said, and what a test expects of it.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::support::{Home, assert_no_secret};

/// Findings, and the exit code.
pub(crate) struct Report {
    pub(crate) findings: Vec<Value>,
    pub(crate) code: Option<i32>,
}

impl Report {
    /// Runs it in this folder, with its configuration.
    pub(crate) fn of(home: &Home, args: &[&str]) -> Self {
        Self::with(home, &[], args)
    }

    /// The same with these variables in its environment.
    pub(crate) fn with(home: &Home, variables: &[(&str, &str)], args: &[&str]) -> Self {
        let mut command = home.command(&["doctor", "--json", "--config", "config.toml"]);
        Self::from(command.args(args).envs(variables.iter().copied()))
    }

    /// Runs it by this script, in which `"$@"` is the command, in mount and network namespaces of its own.
    pub(crate) fn in_namespaces(home: &Home, options: &[&str], script: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root may mount");
            return None;
        }
        let doctor = home.command(&["doctor", "--json", "--config", "config.toml"]);
        let mut command = Command::new("unshare");
        command.arg("--mount").args(options).args(["sh", "-ec", script, "sh"]);
        command.arg(doctor.get_program()).args(doctor.get_args());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", home.path("")).current_dir(home.path(""));
        Some(Self::from(&mut command))
    }

    fn from(command: &mut Command) -> Self {
        let output = command.output().expect("runs");
        let (out, error) =
            (String::from_utf8(output.stdout).expect("UTF-8"), String::from_utf8_lossy(&output.stderr));
        assert_no_secret(&[&out, &error]);
        let findings = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no findings: {out}{error}"));
        Self { findings, code: output.status.code() }
    }

    /// The finding that was planted: all of `words` are in its cause or next step. Nothing else may be wrong,
    /// but for what follows from there being no agent, and from a disk that is none.
    pub(crate) fn planted(&self, id: &str, level: &str, words: &[&str]) -> &Value {
        let is_wrong = |finding: &&Value| finding["level"] == "problem" || finding["level"] == "warning";
        let wrong: Vec<&Value> = self.findings.iter().filter(is_wrong).collect();
        let planted: Vec<&Value> = wrong
            .iter()
            .copied()
            .filter(|finding| finding["id"] == id && finding["level"] == level)
            .collect();
        let [planted] = planted[..] else { panic!("not one {level} {id}: {wrong:#?}") };
        let next = planted["next"].as_str().expect("a next step");
        let said = format!("{} -> {next}", planted["cause"].as_str().expect("a cause"));
        for word in words {
            assert!(said.contains(word), "{word:?} is not in {said:?}");
        }
        let follows = [id, "agent", "socket", "disk.guarantee"];
        let others: Vec<_> =
            wrong.iter().filter(|finding| follows.iter().all(|id| finding["id"] != *id)).collect();
        assert!(others.is_empty(), "beside {id}: {others:#?}");
        planted
    }

    /// The level of the first finding with this id; empty if there is none.
    pub(crate) fn level(&self, id: &str) -> &str {
        let found = self.findings.iter().find(|finding| finding["id"] == id);
        found.and_then(|finding| finding["level"].as_str()).unwrap_or_default()
    }

    /// All ids that something was said of.
    pub(crate) fn ids(&self) -> BTreeSet<&str> {
        self.findings.iter().filter_map(|finding| finding["id"].as_str()).collect()
    }
}
