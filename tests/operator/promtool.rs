//! Prometheus's own judgement of our metrics.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::Home;

#[test]
fn metrics_pass_promtool() {
    let agent = Home::new().start();
    let (status, metrics) = agent.get("/metrics");
    assert_eq!(status, 200);
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = spawned.unwrap_or_else(|error| {
        panic!("cannot run promtool ({error}); it comes with Prometheus: apt-get install prometheus")
    });
    promtool.stdin.take().expect("piped").write_all(metrics.as_bytes()).expect("read by promtool");
    let output = promtool.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    agent.stop();
}
