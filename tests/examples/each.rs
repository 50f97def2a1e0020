//! One call each, said to be for the same customer.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::stage::{Stage, root, tool};

/// Fails unless the event has the answer's counts and what the examples say of it.
fn assert_billed(event: &Value, is_streamed: bool) {
    let names = ["transactionId", "inputTokenCount", "outputTokenCount", "stopReason", "isStreamed"];
    let said = names.map(|name| event[name].clone());
    assert_eq!(said, [json!("msg_1"), json!(25), json!(15), json!("END"), json!(is_streamed)], "{event}");
    let whose = ["traceId", "agent", "organizationName"].map(|name| event[name].clone());
    assert_eq!(whose, ["conv-1", "support-agent", "acme-corp"], "{event}");
}

fn python(stage: &Stage, example: &str) -> Command {
    let mut command = stage.command(tool("sdk/bin/python"), &stage.provider.url());
    command.arg(root().join("examples/python").join(example));
    // What is installed of the package is this folder.
    command.env("PYTHONPATH", root().join("python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("REVENIUM_AGENT_SOCKET", stage.home.socket());
    command
}

#[test]
fn python_s_call_is_billed() {
    let stage = Stage::new();
    let example = python(&stage, "message.py");
    assert_billed(&stage.event_of(example), false);
}

#[test]
fn python_s_stream_is_billed() {
    let stage = Stage::new();
    let example = python(&stage, "stream.py");
    assert_billed(&stage.event_of(example), true);
}

/// The one in the crate's docs.
#[test]
fn rust_s_call_is_billed() {
    let stage = Stage::new();
    let programs = Path::new(env!("CARGO_BIN_EXE_revenium-agent")).parent().expect("a folder");
    let example = programs.join("examples/message");
    assert!(example.is_file(), "cargo builds it with all tests of the workspace, or by --example message");
    let mut example = stage.command(example, &stage.provider.url());
    example.env("REVENIUM_AGENT_SOCKET", stage.home.socket());
    let event = stage.event_of(example);
    assert_billed(&event, false);
    assert_eq!(event["subscriber"]["email"], "user@example.com");
}

#[test]
fn node_s_stream_through_the_gateway_is_billed() {
    let stage = Stage::new();
    // As in a project of its own, where packages lie beside the program.
    symlink(tool("node/node_modules"), stage.home.path("node_modules")).expect("linked");
    std::fs::copy(root().join("examples/node/message.mjs"), stage.home.path("message.mjs")).expect("copied");
    let mut example = stage.command("node", &stage.gateway());
    example.arg("message.mjs");
    assert_billed(&stage.event_of(example), true);
}

#[test]
fn curl_s_call_through_the_gateway_is_billed() {
    let stage = Stage::new();
    let example = stage.command(root().join("examples/curl.sh"), &stage.gateway());
    assert_billed(&stage.event_of(example), false);
}
