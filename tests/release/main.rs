//! What a release hands out: the manual, the completions, the package, the archive, their sums.

mod files;
mod manual;

use std::process::{Command, Output};

/// The binary that is tested.
const BINARY: &str = env!("CARGO_BIN_EXE_revenium-agent");

/// Runs a program that must be there.
fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// What it prints; it must succeed and have nothing to object to.
fn printed(command: &mut Command) -> String {
    let output = run(command);
    let objections = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && objections.is_empty(), "{command:?}: {objections}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
