//! The application is a process of its own, and is killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use revenium_agent::sandbox::What;
use revenium_emitter::{Emitted, Emitter, spool};

use crate::support::{Home, until};
use crate::{LONG, billed, builder, event};

const VARIABLE: &str = "REVENIUM_TEST_APPLICATION";

/// Not a test by itself: what the application does when a test has started it. It emits as fast as it can and
/// says what became of each event as soon as `emit` has returned.
#[test]
fn an_application_that_a_test_started_emits_until_it_is_killed() {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    let emitter = Emitter::new();
    let mut out = std::io::stdout().lock();
    for i in 0.. {
        let id = format!("{name}-{i}");
        let word = match emitter.emit(event(&id)) {
            Emitted::Sent => "sent",
            Emitted::Queued => "queued",
            other => panic!("{other:?}"),
        };
        writeln!(out, "{word} {id}").expect("somebody listens");
        if word == "queued" && i % 50 == 49 && emitter.flush(LONG).is_complete() {
            writeln!(out, "flushed {i}").expect("somebody listens");
        }
    }
}

/// Starts the application.
pub(crate) fn start(home: &Home, name: &str, key: Option<&str>) -> (Child, BufReader<ChildStdout>) {
    let test = "application::an_application_that_a_test_started_emits_until_it_is_killed";
    let mut command = Command::new(std::env::current_exe().expect("is there"));
    command.args(["--exact", test, "--nocapture"]).env_clear().env(VARIABLE, name);
    command.env("REVENIUM_AGENT_SOCKET", home.socket()).env("REVENIUM_AGENT_SPOOL", home.path("spool"));
    if let Some(key) = key {
        command.env("REVENIUM_METERING_API_KEY", key);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    (child, out)
}

/// The ids after `word` until `enough` lines with it came; then it is killed, and what it had said is read.
pub(crate) fn kill_after(
    mut child: Child,
    out: BufReader<ChildStdout>,
    word: &str,
    enough: usize,
) -> Vec<String> {
    let mut said = Vec::new();
    let mut is_killed = false;
    for line in out.lines().map_while(Result::ok) {
        if let Some((_, id)) = line.split_once(word).filter(|(before, _)| before.is_empty()) {
            said.push(id.to_owned());
        }
        if said.len() >= enough && !is_killed {
            child.kill().expect("runs");
            is_killed = true;
        }
    }
    child.wait().expect("ended");
    assert!(is_killed, "it ended by itself after {} lines", said.len());
    // The last line may have been cut.
    said.pop();
    said
}

#[test]
fn what_was_sent_by_an_application_that_is_killed_is_billed_as_long_as_the_agent_lives() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let mut sent = BTreeSet::new();
    for round in 0..5 {
        let (child, out) = start(&home, &format!("round{round}"), None);
        sent.extend(kill_after(child, out, "sent ", 50 + round * 37));
    }
    assert!(sent.len() > 400);
    until("billed", || sent.difference(&billed(&sandbox)).count(), |missing| *missing == 0);
    home.wait_drained();
    billed(&sandbox);
    agent.stop();
}

#[test]
fn what_was_flushed_to_the_spool_by_an_application_that_is_killed_is_billed() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    // The client alone takes the files in here; the agent does in another test.
    home.deliver_to(&sandbox, "spool.dirs = []\n");
    let (child, out) = start(&home, "alone", None);
    let flushed = kill_after(child, out, "flushed ", 3);
    let upto: u64 = flushed.last().expect("flushed").parse().expect("a number");
    let agent = home.start();
    let report = spool::hand_in(&home.path("spool"), &[home.socket()], LONG).expect("listed");
    assert_eq!((report.left, report.bad), (0, 0), "{report:?}");
    let promised: BTreeSet<String> = (0..=upto).map(|i| format!("alone-{i}")).collect();
    until("billed", || sandbox.count(What::Billed), |count| *count >= promised.len());
    home.wait_drained();
    let billed = billed(&sandbox);
    assert!(promised.is_subset(&billed), "{:?}", promised.difference(&billed).next());
    agent.stop();
}

#[test]
fn an_event_of_an_application_that_ends_in_order_is_handed_over() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    builder(&home).build().emit(event("only"));
    sandbox.wait_billed(1);
    agent.stop();
}
