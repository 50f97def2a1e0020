//! `send` against a real socket, from its arguments to its exit code.

use clap::{CommandFactory, Parser};

use super::*;
use crate::intake::tests::fake::id_of;
use crate::intake::tests::{Rig, event};
use crate::intake::{Allow, Limits};
use crate::queue::AppendError;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    send: SendArgs,
}

/// What a run of the command came to.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: u8,
    out: String,
    err: String,
}

fn args(words: &[&str]) -> SendArgs {
    Cli::try_parse_from([&["send"], words].concat()).unwrap().send
}

/// Runs the command beside the intake's runtime.
async fn send(rig: &Rig, words: &[&str], stdin: &str) -> Ended {
    let path = rig.path();
    let words = [words, &["--socket", path.to_str().unwrap()]].concat();
    ended(args(&words), stdin.to_owned()).await
}

async fn ended(args: SendArgs, stdin: String) -> Ended {
    let run = move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&args, stdin.as_bytes(), &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code, out: text(out), err: text(err) }
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn durable(count: u64) -> Ended {
    let events = if count == 1 { "event" } else { "events" };
    Ended { code: EXIT_DURABLE, out: format!("durable: {count} {events}\n"), err: String::new() }
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn events_come_from_one_place() {
    for words in [&["-", "--file", "x"][..], &["-", "--model", "m"], &["--file", "x", "--set", "a=1"]] {
        let error = Cli::try_parse_from([&["send"], words].concat()).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(EXIT_USAGE), "{words:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    for (words, hint) in [
        (&["-", "--timeout", "5"][..], "500ms, 30s, 2m"),
        (&["-", "--timeout", "0s"], "confirms nothing"),
        (&["-", "--profile", "two words"], "A-Z a-z 0-9"),
        (&["-", "--kind", "letter"], "completion, image"),
        (&["--set", "novalue"], "NAME=VALUE"),
        (&["--input-tokens", "-1"], "invalid value '-1' for '--input-tokens <COUNT>'"),
        (&["more"], "-"),
    ] {
        let error = Cli::try_parse_from([&["send"], words].concat()).unwrap_err();
        assert!(error.to_string().contains(hint), "{words:?}: {error}");
    }
}

#[test]
fn flags_become_an_event_whose_numbers_keep_their_digits() {
    let words = "--model m --input-tokens 3 --set inputTokenCost=0.10 --set note=0x1 --set isStreamed=true \
                 --subscriber-id u1 --subscriber-email u@x.io --organization acme";
    let words: Vec<&str> = words.split_whitespace().collect();
    let event = args(&words).event.json();
    assert_eq!(
        String::from_utf8(event).unwrap(),
        r#"{"model":"m","organizationName":"acme","inputTokenCount":3,"#.to_owned()
            + r#""subscriber":{"id":"u1","email":"u@x.io"},"inputTokenCost":0.10,"note":"0x1","isStreamed":true}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_made_of_flags_is_durable() {
    let rig = Rig::start();
    let words = ["--model", "m", "--provider", "Anthropic", "--transaction-id", "t7"];
    let counts = ["--input-tokens", "1", "--output-tokens", "2", "--profile", "team-a"];
    assert_eq!(send(&rig, &[words.as_slice(), &counts].concat(), "").await, durable(1));
    let stored = rig.queue.stored();
    assert_eq!((stored.len(), id_of(&stored[0].body)), (1, 7));
    assert_eq!(&*stored[0].lane.profile, "team-a");
    assert!(stored[0].number.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_from_standard_input_or_a_file_are_durable_in_their_order() {
    let rig = Rig::start();
    let lines: String = (0..2000).map(|id| event(id) + "\n").collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.jsonl");
    std::fs::write(&file, lines.trim_end()).unwrap();
    assert_eq!(send(&rig, &["-"], &lines).await, durable(2000));
    assert_eq!(send(&rig, &["--file", file.to_str().unwrap()], "").await, durable(2000));
    let ids: Vec<u64> = (0..2000).chain(0..2000).collect();
    assert_eq!(rig.queue.ids(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_lines_are_named_and_the_others_are_durable() {
    let rig = Rig::start();
    let lines = [&event(1), "", "[1]", "{\"model\":", &event(5), &"x".repeat(2 << 20), &event(7)].join("\n");
    let ended = send(&rig, &["-", "--json"], &lines).await;
    assert_eq!(ended.code, EXIT_REFUSED);
    assert_eq!(ended.out, "{\"durable\":3,\"refused\":3,\"unconfirmed\":0}\n");
    let mut named: Vec<&str> = ended.err.lines().map(|line| line.split(": ").next().unwrap()).collect();
    named.sort_unstable();
    assert_eq!(named, ["line 3", "line 4", "line 6"], "{}", ended.err);
    assert_eq!(rig.queue.ids(), [1, 5, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_is_given_to_lines_that_name_none() {
    let rig = Rig::start();
    let own = event(2).replacen('{', "{\"kind\":\"completion\",", 1);
    let odd = event(3).replacen('{', "{\"\\ud800\":1,", 1);
    let lines = [event(1), own, odd].join("\n");
    send(&rig, &["-", "--kind", "image"], &lines).await;
    let kinds: Vec<u8> = rig.queue.stored().iter().map(|record| record.lane.route).collect();
    assert_eq!(kinds, [Kind::Image.code(), Kind::Completion.code(), Kind::Image.code()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_it_says_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let ended = ended(args(&["--model", "m", "--socket", path.to_str().unwrap()]), String::new()).await;
    assert_eq!((ended.code, &*ended.out), (EXIT_NO_AGENT, "durable: 0 events\n"));
    assert!(ended.err.starts_with(&format!("error: no agent at {}", path.display())), "{}", ended.err);
    assert!(ended.err.contains("revenium-agent run"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_never_answers_is_given_up_in_time() {
    let rig = Rig::start();
    rig.queue.hold();
    let ended = send(&rig, &["-", "--timeout", "50ms"], &event(1)).await;
    assert_eq!(ended.code, EXIT_NO_AGENT);
    assert!(ended.err.contains("did not answer within 0.05 s; events not confirmed: 1 ("), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_allowed_is_told_so() {
    let rig = Rig::with(Limits::default(), Allow::strictly(vec![], vec![54321]));
    let ended = send(&rig, &["--model", "m"], "").await;
    assert_eq!(ended.code, EXIT_NO_AGENT);
    assert!(ended.err.contains("socket.allow_gids (54321)"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_survive_a_restart_of_the_agent_in_between_and_are_stored_once() {
    let rig = Rig::start();
    rig.queue.hold();
    let path = rig.path();
    let lines: String = (0..1000).map(|id| event(id) + "\n").collect();
    let sending = tokio::spawn(ended(args(&["-", "--socket", path.to_str().unwrap()]), lines));
    rig.queue.waiting(1).await;
    // The first agent loses what it has not appended, as one that is killed does.
    rig.queue.let_through(None);
    rig.queue.fail_with(Some(AppendError::Closing));
    rig.queue.fail_waiting(&AppendError::Closing);
    let (dir, queue) = rig.given_back().await;
    queue.fail_with(None);
    queue.release();
    let _next = Rig::at(dir, queue.clone(), Limits::default(), Allow::default());
    assert_eq!(sending.await.unwrap(), durable(1000));
    let mut ids = queue.ids();
    ids.sort_unstable();
    assert_eq!(ids, (0..1000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_for_which_there_is_no_room_are_sent_again_until_there_is() {
    let rig = Rig::start();
    rig.queue.fail_with(Some(AppendError::Full { budget: "store".into(), bytes: 1, bytes_max: 1 }));
    let path = rig.path();
    let lines: String = (0..10).map(|id| event(id) + "\n").collect();
    let sending = tokio::spawn(ended(args(&["-", "--socket", path.to_str().unwrap()]), lines));
    rig.tally.reaches("refused Full", 20).await;
    rig.queue.fail_with(None);
    assert_eq!(sending.await.unwrap(), durable(10));
    assert_eq!(rig.queue.ids(), (0..10).collect::<Vec<_>>());
}
