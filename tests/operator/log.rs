//! `log verify`, `export` and `repair`: on a log whose agent runs, and on one whose agent is gone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::stored::{EVENTS, REMOVALS, WINDOW, filled, find, home, report, write};
use crate::support::{Ended, Home, Line, Producer, names, until};

fn verify(home: &Home) -> (Ended, Value) {
    report(home, &["log", "verify", "--json"])
}

/// What `log export` prints, by transaction.
fn exported(home: &Home, args: &[&str]) -> (Ended, BTreeMap<String, Value>) {
    let ended = home.run(&[&["log", "export"], args].concat());
    let mut found = BTreeMap::new();
    for line in ended.stdout.lines() {
        let event: Value = serde_json::from_str(line).expect("a line of JSON");
        let transaction = event["body"]["transactionId"].as_str().expect("it has one").to_owned();
        assert_eq!(found.insert(transaction, event), None, "twice: {line}");
    }
    (ended, found)
}

fn seq_of(home: &Home, n: u64) -> u64 {
    exported(home, &[]).1[&Producer::new(1).transaction(n)]["seq"].as_u64().expect("a number")
}

/// All files below a folder, with their bytes.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in names(dir) {
        let path = dir.join(name);
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), fs::read(path).expect("read"));
        }
    }
    found
}

#[test]
fn a_log_is_verified_beside_the_agent_that_writes_it_and_when_that_is_gone() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    std::thread::scope(|scope| {
        let load =
            scope.spawn(|| Producer::new(1).run(&home.socket(), 20 * EVENTS, WINDOW).expect("durable"));
        while !load.is_finished() {
            let (ended, report) = verify(&home);
            assert_eq!((ended.code, &report["is_whole"]), (Some(0), &true.into()), "{report}");
        }
    });
    agent.stop();
    let screen = home.run(&["log", "verify"]);
    assert!(screen.code == Some(0) && screen.stdout.starts_with("whole: 1 segment, "), "{}", screen.stdout);
}

#[test]
fn each_damaged_place_is_named_with_the_events_that_lay_there() {
    for (what, remove) in REMOVALS {
        let home = filled();
        let seq = seq_of(&home, EVENTS / 2);
        let (path, at) = find(&home, EVENTS / 2);
        remove(&path, at);
        let before = content(&home.path("data/store"));
        let (ended, report) = verify(&home);
        assert_eq!((ended.code, &report["is_whole"]), (Some(1), &false.into()), "{report}");
        let damage = report["damage"].as_array().expect("a list");
        let holds = |range: &Value| (range[0].as_u64()..range[1].as_u64()).contains(&Some(seq));
        let holds_it = |place: &&Value| place["records"].as_array().is_some_and(|all| all.iter().any(holds));
        let named: Vec<_> = damage.iter().filter(holds_it).map(|place| &place["what"]).collect();
        assert_eq!(named, [what], "{report}");
        let screen = home.run(&["log", "verify"]);
        assert!(screen.code == Some(1) && screen.stdout.contains("\nDAMAGED: "), "{}", screen.stdout);
        assert_eq!(content(&home.path("data/store")), before, "nothing was changed");
    }
    let home = filled();
    let (path, _) = find(&home, 1);
    write(&path, 20, b"\xff\xff");
    let (ended, report) = verify(&home);
    assert_eq!((ended.code, &report["damage"][0]["what"]), (Some(1), &"header".into()), "{report}");
}

#[test]
fn every_event_is_exported_once_with_what_became_of_it_and_without_credentials() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    Producer::new(1).run(&home.socket(), EVENTS, WINDOW).expect("durable");
    home.wait_drained();
    let refused = r#"{"model":"m","inputTokenCount":1,"outputTokenCount":1,"transactionId":"t","profile":"nobody",
        "subscriber":{"credential":{"name":"n","value":"hunter2"}}}"#;
    assert_eq!(Line::connect(&home.socket()).ask(&refused.replace('\n', ""))["ok"], false);
    let is_all = |found: &BTreeMap<String, Value>| found.len() as u64 == EVENTS + 1;
    until("it is in the log", || exported(&home, &[]).1, is_all);
    let (ended, found) = exported(&home, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stdout.contains("hunter2"));
    let state = |transaction: &str| found[transaction]["state"].as_str();
    assert_eq!(state("t"), Some("dead"));
    for n in 0..EVENTS {
        assert_eq!(state(&Producer::new(1).transaction(n)), Some("delivered"), "{n}");
    }
    agent.stop();
    let to_file = home.run(&["log", "export", "--reveal", "--output", "all.jsonl"]);
    assert_eq!((to_file.code, to_file.stdout.as_str()), (Some(0), ""), "{}", to_file.stderr);
    let file = home.path("all.jsonl");
    assert_eq!(fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).expect("read");
    assert!(text.contains("hunter2") && text.lines().count() as u64 == EVENTS + 1);
    let again = home.run(&["log", "export", "--output", "all.jsonl"]);
    assert_eq!(again.code, Some(74), "{}", again.stderr);
}

#[test]
fn what_can_be_read_of_a_damaged_log_is_exported() {
    let home = filled();
    let all = exported(&home, &[]).1;
    assert_eq!(
        (all.len() as u64, &all[&Producer::new(1).transaction(1)]["state"]),
        (EVENTS, &"waiting".into())
    );
    let (path, at) = find(&home, EVENTS / 2);
    write(&path, at, b"\0");
    let (ended, left) = exported(&home, &[]);
    let lost = EVENTS - left.len() as u64;
    assert!(ended.code == Some(1) && (1..=WINDOW).contains(&lost), "{lost}: {}", ended.stderr);
    assert!(ended.stderr.contains("1 damaged place cannot be read"), "{}", ended.stderr);
}

#[test]
fn a_repair_is_a_plan_until_it_is_applied() {
    let home = filled();
    let (path, at) = find(&home, EVENTS / 2);
    write(&path, at - 2048, &[0; 4096]);
    let before = content(&home.path("data"));
    let ended = home.run(&["log", "repair"]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.ends_with("nothing was changed; --apply does it\n"), "{}", ended.stdout);
    assert_eq!(content(&home.path("data")), before);
}

#[test]
fn a_repair_keeps_a_copy_counts_what_is_lost_and_leaves_the_rest_to_be_delivered() {
    // Of the last one nothing is left to be delivered.
    for (what, remove) in &REMOVALS[..3] {
        let home = filled();
        let (path, at) = find(&home, EVENTS / 2);
        remove(&path, at);
        let damaged = fs::read(&path).unwrap_or_default();
        let ended = home.run(&["log", "repair", "--apply"]);
        assert_eq!(ended.code, Some(0), "{what}: {}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.ends_with("the books balance; start the agent\n"), "{}", ended.stdout);
        let is_backup = |name: &String| name.starts_with("store-before-repair-");
        let backup = names(&home.path("data")).into_iter().find(is_backup).expect("a copy");
        let backup = home.path("data").join(backup);
        assert_eq!(fs::metadata(&backup).expect("is there").permissions().mode() & 0o777, 0o700);
        let copy = fs::read(backup.join(path.file_name().expect("a name"))).unwrap_or_default();
        assert!(copy == damaged, "{what}: the copy is of the log as it was");
        let books = home.run(&["reconcile", "--json"]);
        let report: Value = serde_json::from_str(&books.stdout).expect("JSON");
        let lost: u64 =
            report["counted"].as_array().expect("a list").iter().filter_map(|l| l["lost"].as_u64()).sum();
        assert!(books.code == Some(0) && lost > 0, "{what}: {report}");
        let again = home.run(&["log", "repair"]);
        assert_eq!(again.code, Some(0), "{what}: {}", again.stdout);
        assert!(again.stdout.starts_with("nothing to repair: "), "{}", again.stdout);
        let sandbox = home.sandbox(&[]);
        home.deliver_to(&sandbox, "");
        let agent = home.start();
        let status = home.wait_drained();
        assert_eq!(status["profiles"][0]["delivered"], EVENTS - lost, "{what}: {status}");
        agent.stop();
    }
}

/// What is there already is somebody's, perhaps the only other copy, perhaps the log.
#[test]
fn a_repair_takes_no_place_for_its_copy_that_something_is_in() {
    let home = filled();
    let (path, at) = find(&home, EVENTS / 2);
    write(&path, at - 2048, &[0; 4096]);
    fs::create_dir(home.path("kept")).expect("made");
    home.write("kept/older", "the only copy");
    for (place, why) in
        [("kept", "exists"), ("data/store", "exists"), ("data/store/copy", "in the log itself")]
    {
        let before = (content(&home.path("data")), content(&home.path("kept")));
        let ended = home.run(&["log", "repair", "--apply", "--backup", place]);
        assert!(ended.code == Some(2) && ended.stderr.contains(why), "{place}: {}", ended.stderr);
        assert_eq!((content(&home.path("data")), content(&home.path("kept"))), before, "{place}");
    }
    let ended = home.run(&["log", "repair", "--apply", "--backup", "kept/newer"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(home.path("kept/newer/watermark").is_file());
}

#[test]
fn a_log_of_which_no_file_is_left_is_not_repaired() {
    let home = filled();
    let (path, _) = find(&home, EVENTS / 2);
    fs::remove_file(&path).expect("removed");
    let before = content(&home.path("data"));
    let ended = home.run(&["log", "repair", "--apply"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("no file is left of a log with 400 events"), "{}", ended.stderr);
    assert_eq!(content(&home.path("data")), before);
    let books = home.run(&["reconcile"]);
    assert!(books.code == Some(1) && books.stdout.contains("1-400"), "{}", books.stdout);
}

#[test]
fn a_log_is_not_repaired_that_an_agent_has_open_or_that_is_another_user_s() {
    let home = home();
    let agent = home.start();
    let ended = home.run(&["log", "repair", "--apply"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    let told = format!("stop the agent first: the store {} is in use", home.path("data/store").display());
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    agent.stop();
    assert_eq!(home.run(&["log", "repair"]).stdout, "nothing to repair: the log is whole\n");
    if rustix::process::geteuid().is_root() {
        chown(home.path("data/store"), Some(65534), None).expect("given away");
        let ended = home.run(&["log", "repair", "--apply"]);
        assert!(ended.code == Some(2) && ended.stderr.contains("sudo -u nobody"), "{}", ended.stderr);
    }
}

#[test]
fn where_there_is_no_log_there_is_nothing_to_look_at() {
    let home = home();
    for command in ["verify", "export", "repair"] {
        let ended = home.run(&["log", command]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{command}");
        assert!(ended.stderr.contains("there is no log in"), "{}", ended.stderr);
    }
}
