//! `send --spool`: a user's spool, handed in to an agent that cannot see it.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::spool::billed;
use crate::support::{Home, SpoolFile, completion, names, spool_files, until};

#[test]
fn a_folder_is_handed_in_and_its_files_go_once_they_are_durable() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "spool.dirs = []\n");
    let dir = home.path("mine");
    SpoolFile::with_events(1, 1, 3000).put(&dir);
    SpoolFile::with_events(2, 5, 1).put(&dir);
    let send = |more: &[&str]| {
        let args = [&["send", "--socket", "agent.sock", "--spool", "mine"], more].concat();
        let output = home.command(&args).output().expect("runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, said) = send(&[]);
    assert_eq!((code, spool_files(&dir).len()), (Some(3), 2), "no agent: nothing is touched: {said}");
    assert!(said.contains("no agent at agent.sock"), "{said}");

    let agent = home.start();
    assert_eq!(send(&[]), (Some(0), "durable: 3001 events of 2 files\n".to_owned(), String::new()));
    assert_eq!(names(&dir), [""; 0]);
    sandbox.wait_billed(3001);
    assert_eq!(send(&[]), (Some(0), "durable: 0 events of 0 files\n".to_owned(), String::new()));

    // Handed in once more, as if the kill of the first time had come before the removal.
    SpoolFile::with_events(1, 1, 3000).put(&dir);
    let mut bad = SpoolFile::new(3, 1);
    bad.event(1);
    bad.line("garbage");
    bad.line(&completion("refused").replacen('{', "{\"n\":2,\"profile\":\"nobody\",", 1));
    bad.event(3);
    bad.put(&dir);
    fs::write(dir.join("notes"), "not ours").expect("written");
    let (code, out, said) = send(&["--json"]);
    let out: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        out,
        serde_json::json!({"durable": 3002, "refused": 1, "unconfirmed": 0, "bad": 1, "files": 2, "left": 1})
    );
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(names(&dir), ["bad", "notes"]);
    let kept = fs::read_to_string(dir.join("bad").join(bad.name())).expect("kept");
    assert!(kept.starts_with("garbage\n{\"n\":2,") && kept.lines().count() == 2, "{kept}");
    let name = bad.name();
    for line in [
        "notes: left alone: its name is not a spool file's".to_owned(),
        format!("{name}:3: "),
        format!("{name}:4: invalid: profile: profile nobody is not configured here"),
    ] {
        assert!(said.contains(&line), "{line} is not in: {said}");
    }
    home.wait_drained();
    assert_eq!(billed(&sandbox).len(), 3003);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_hand_in_goes_on_through_a_kill_of_the_agent() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "spool.dirs = []\n");
    let dir = home.path("mine");
    SpoolFile::with_events(1, 1, 10_000).put(&dir);
    let mut agent = home.start();
    let mut send = home.command(&["send", "--socket", "agent.sock", "--spool", "mine"]);
    let sending = send.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    for _ in 0..3 {
        until("it has begun", || agent.metric("revenium_agent_commits_total"), |commits| *commits >= 3.0);
        agent.kill();
        agent = home.start();
    }
    let output = sending.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(0), &b"durable: 10000 events of 1 file\n"[..]),
        "{said}"
    );
    home.wait_drained();
    assert_eq!(billed(&sandbox).len(), 10_000);
    agent.stop();
}
