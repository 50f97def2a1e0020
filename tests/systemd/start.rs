//! `start` beside a real systemd: a process of a service gets no agent of its own, and one of a scope does, as a
//! user's session or terminal is one.

use serde_json::Value;

use crate::machine::{Machine, PROGRAM};

/// Anything, as a user.
const AS_APP: &str = "systemd-run --quiet --uid=app --setenv=HOME=/home/app";

#[test]
fn a_service_gets_no_agent_of_its_own_and_a_scope_does() {
    let machine = Machine::bare();
    machine.run(&format!("useradd --create-home app; mv {PROGRAM} /usr/local/bin"));
    let start = |how: &str| {
        let ran = machine.sh(&format!("{AS_APP} {how} /usr/local/bin/revenium-agent start"));
        let said: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("one line: {ran:?}"));
        (ran.code, said["state"].clone(), said["reason"].clone())
    };
    let (code, state, reason) = start("--unit=worker --wait --pipe");
    assert_eq!((code, &state), (Some(4), &"not_started".into()));
    assert!(reason.as_str().is_some_and(|reason| reason.contains("the service worker.service")), "{reason}");
    machine.run("! ls -d /home/app/.local /tmp/revenium-*");

    assert_eq!(start("--scope"), (Some(0), "started".into(), Value::Null));
    assert_eq!(start("--scope"), (Some(0), "running".into(), Value::Null));
}
