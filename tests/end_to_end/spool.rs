//! Files that senders left while no agent was there: taken in whole, whatever lies beside them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, SystemTime};

use revenium_agent::sandbox::What;

use crate::disk::event;
use crate::support::{Home, Line, Sandbox, SpoolFile, completion, names, spool_files, until, unused_address};

/// The `transactionId`s that were billed; fails if one was twice.
pub(crate) fn billed(sandbox: &Sandbox) -> BTreeSet<String> {
    let mut billed = BTreeSet::new();
    for entry in sandbox.entries().into_iter().filter(|entry| entry.what == What::Billed) {
        let transaction = entry.transaction.expect("given").into_owned();
        assert!(billed.insert(transaction.clone()), "{transaction} was billed twice");
    }
    billed
}

#[test]
fn what_was_spooled_while_the_agent_was_away_is_billed_under_its_own_numbers() {
    let home = Home::new();
    let sandbox = home.sandbox(&["--key", "hak_other_0123456789=other"]);
    let profile = "profiles.b.url = \"URL\"\nprofiles.b.api_key = \"hak_other_0123456789\"\n";
    home.deliver_to(&sandbox, &profile.replace("URL", &sandbox.url()));
    let dir = home.path("spool");
    SpoolFile::with_events(1, 1, 100).put(&dir);
    let mut for_b = SpoolFile::with_events(2, 7, 1);
    for_b.text = for_b.text.replace("\"v\":1,", "\"v\":1,\"profile\":\"b\",");
    for_b.put(&dir);
    let agent = home.start();
    sandbox.wait_billed(101);
    let entries = sandbox.entries();
    let of_b = entries.iter().find(|entry| entry.transaction.as_deref() == Some("0202-7")).expect("is there");
    assert_eq!(of_b.account.as_deref(), Some("other"), "the hello names the profile");
    until("the folder is empty", || spool_files(&dir), |files| files.is_empty());
    // While it runs, too.
    SpoolFile::with_events(1, 101, 5).put(&dir);
    sandbox.wait_billed(106);
    // The same numbers, by the socket: known.
    let mut line = Line::connect(&home.socket());
    line.send(SpoolFile::with_events(1, 1, 105).text.as_bytes());
    until("all are answered", || line.answer().expect("answered"), |answer| answer["upto"] == 105);
    home.wait_drained();
    assert_eq!((billed(&sandbox).len(), sandbox.count(What::Repeated)), (106, 0));
    let received = |via: &str| {
        agent.metric(&format!("revenium_agent_events_received_total{{kind=\"completion\",via=\"{via}\"}}"))
    };
    assert_eq!((received("spool"), received("socket")), (106.0, 0.0));
    assert_eq!(agent.metric("revenium_agent_spool_files_taken_total"), 3.0);
    assert_eq!(fs::metadata(&dir).expect("there").permissions().mode() & 0o022, 0);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn bad_lines_are_kept_as_they_are_and_the_rest_of_their_file_is_taken() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let dir = home.path("spool");
    let mut file = SpoolFile::new(3, 10);
    file.event(10);
    let mut bad = String::new();
    let mut keep = |file: &mut SpoolFile, line: &str| {
        file.line(line);
        bad.push_str(&format!("{line}\n"));
    };
    keep(&mut file, "garbage \u{0}\u{7f}");
    keep(&mut file, &completion("without a number"));
    file.line("");
    keep(&mut file, &completion("below").replacen('{', "{\"n\":9,", 1));
    keep(&mut file, &completion("again").replacen('{', "{\"n\":10,", 1));
    keep(&mut file, "{\"n\":11,\"model\":");
    keep(&mut file, "{\"hello\":{\"v\":1}}");
    keep(&mut file, &format!("{{\"n\":12,\"filler\":\"{}\"}}", "x".repeat(1_100_000)));
    file.event(13);
    // Well-formed, and no event: a dead letter.
    file.line("{\"n\":14,\"model\":7}");
    file.event(15);
    file.text.push_str("{\"n\":16,\"torn");
    bad.push_str("{\"n\":16,\"torn");
    file.put(&dir);
    // Whose it is, is not known: all of it is kept.
    let mut other = SpoolFile::with_events(5, 1, 3);
    other.text = other.text.replacen("05", "06", 1);
    other.put(&dir);
    let agent = home.start();
    let status = home.wait_status("taken", |status| {
        status["profiles"][0]["delivered"] == 3 && status["spool"]["waiting_files"] == 0
    });
    assert_eq!((&status["profiles"][0]["dead"], &status["health"]), (&1.into(), &"degraded".into()));
    let quarantine = home.path("data/spool-quarantine");
    assert_eq!(names(&quarantine), [file.name(), other.name()]);
    assert!(fs::read_to_string(quarantine.join(file.name())).expect("kept") == bad, "kept as they are");
    assert_eq!(fs::read_to_string(quarantine.join(other.name())).expect("kept"), other.text);
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&quarantine), mode(&quarantine.join(file.name()))), (0o700, 0o600));
    assert_eq!(spool_files(&dir), [""; 0]);
    assert_eq!(billed(&sandbox), [10, 13, 15].map(|n| file.transaction(n)).into());
    until("counted", || agent.metric("revenium_agent_spool_bad_lines_total"), |lines| *lines == 9.0);
    assert!(home.run(&["status"]).stdout.contains("of bad lines are kept"));
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_call_that_comes_to_more_than_the_log_takes_at_once_holds_up_nothing() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let dir = home.path("spool");
    let mut file = SpoolFile::new(4, 1);
    file.event(1);
    // Refused, and as long as a line may be, or nearly so.
    file.line(&format!("{{\"n\":2,\"model\":7,\"filler\":\"{}\"}}", "x".repeat(1 << 20)));
    let passes = ["{\"type\":\"compaction\",\"input_tokens\":1}"; 12].join(",");
    let usage = format!("{{\"input_tokens\":1,\"output_tokens\":2,\"iterations\":[{passes}]}}");
    let metadata = format!("{{\"mine\":\"{}\"}}", "x".repeat(200_000));
    file.line(&format!(
        "{{\"n\":3,\"call\":{{\"id\":\"msg_1\",\"model\":\"claude\",\"usage\":{usage},\"usage_metadata\":{metadata}}}}}"
    ));
    file.event(4);
    file.put(&dir);
    let agent = home.start();
    let status = home.wait_status("taken", |status| {
        status["profiles"][0]["delivered"] == 2 && status["spool"]["waiting_files"] == 0
    });
    assert_eq!(status["profiles"][0]["dead"], 2, "both are there to be mended");
    assert_eq!(spool_files(&dir), [""; 0]);
    assert_eq!(billed(&sandbox), [1, 4].map(|n| file.transaction(n)).into());
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_hostile_folder_costs_nothing_but_a_warning_for_each_thing_in_it() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let dir = home.path("spool");
    fs::create_dir(&dir).expect("made");
    let name = |first: u64| SpoolFile::new(9, first).name();
    symlink("/etc/shadow", dir.join(name(1))).expect("linked");
    let fifo = Command::new("mkfifo").arg(dir.join(name(2))).status().expect("runs");
    assert!(fifo.success());
    File::create(dir.join(name(3))).and_then(|file| file.set_len(2 << 30)).expect("sparse");
    let _socket = UnixListener::bind(dir.join("s")).expect("bound");
    fs::rename(dir.join("s"), dir.join(name(4))).expect("renamed");
    fs::create_dir(dir.join(name(5))).expect("made");
    let linked = SpoolFile::with_events(9, 6, 1).put(&dir);
    fs::hard_link(&linked, home.path("a second name")).expect("linked");
    let control = "\u{1b}[2J\nrm -rf".to_owned();
    let long = format!("{}.jsonl", "a".repeat(240));
    let garbage = ["x", "-.jsonl", "..jsonl", &*control, &*long, "lost+found"].map(str::to_owned);
    for name in &garbage {
        fs::write(dir.join(name), "{}").expect("written");
    }
    fs::write(dir.join(".unfinished"), "no business of ours").expect("written");
    fs::write(dir.join(name(7)), vec![0xff; 3_000_000]).expect("written");
    fs::write(dir.join(name(8)), "").expect("written");
    let good = SpoolFile::with_events(1, 1, 10);
    good.put(&dir);
    let before = names(&dir);

    let agent = home.start();
    sandbox.wait_billed(10);
    until("taken", || spool_files(&dir).len(), |files| *files == 6);
    // What was no spool file is there, and what was garbage inside is kept.
    let mut left: Vec<String> = before;
    left.retain(|left| ![good.name(), name(7), name(8)].contains(left));
    assert_eq!(names(&dir), left);
    assert_eq!(names(&home.path("data/spool-quarantine")), [name(7)]);
    // `..jsonl` begins as an unfinished one does.
    let status = home.wait_status("looked again", |status| status["spool"]["left_alone"] == 11);
    assert_eq!(status["spool"]["waiting_files"], 0);
    // Looks go on, and say nothing more.
    SpoolFile::with_events(1, 11, 1).put(&dir);
    sandbox.wait_billed(11);
    let resident = agent.metric("process_resident_memory_bytes");
    assert!(resident < 300e6, "{resident} bytes: nothing of the large file was read");
    let log = agent.stop().stderr;
    assert_eq!(log.matches("never opened").count(), 11, "{log}");
    for why in ["symbolic link", "pipe", "larger", "socket", "folder", "hard link", "name is not"] {
        assert!(log.contains(why), "{why}: {log}");
    }
    assert!(!log.contains('\u{1b}') && !log.contains("root:"), "{log}");
}

#[test]
fn a_full_log_leaves_spool_files_where_they_are_until_there_is_room() {
    let home = Home::new();
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), "store.capacity_bytes = \"64MiB\"\n");
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    let mut acknowledged = 0;
    let mark = |event: String, id: &str| event.replacen('{', &format!("{{\"transactionId\":\"{id}\","), 1);
    for filler_bytes in [700_000, 10_000] {
        loop {
            let answer = line.ask(&mark(event(acknowledged, filler_bytes), &format!("s-{acknowledged}")));
            if answer["ok"] != true {
                assert_eq!(answer["code"], "full", "{answer}");
                break;
            }
            acknowledged += 1;
            assert!(acknowledged < 10_000, "a log of 64 MiB takes no more than that");
        }
    }
    let dir = home.path("spool");
    let mut file = SpoolFile::new(4, 1);
    for n in 1..=30 {
        let large = mark(event(100_000 + n, 500_000), &file.transaction(n));
        file.line(&large.replacen('{', &format!("{{\"n\":{n},"), 1));
    }
    let path = file.put(&dir);
    let status =
        home.wait_status("it waits", |status| status["spool"]["problems"][0] != serde_json::Value::Null);
    assert_eq!(status["spool"]["waiting_files"], 1, "{status}");
    assert!(
        status["spool"]["problems"][0].as_str().is_some_and(|why| why.contains("the log is full")),
        "{status}"
    );
    assert!(path.exists());
    assert_eq!(agent.metric("revenium_agent_spool_waiting_files"), 1.0);
    let sandbox = home.sandbox_on(&address, &[]);
    until("taken", || path.exists(), |exists| !exists);
    home.wait_drained();
    let all = billed(&sandbox);
    assert_eq!(all.len() as u64, acknowledged + 30);
    home.wait_status("nothing is left", |status| status["spool"]["problems"] == serde_json::json!([]));
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn times_of_files_decide_nothing_but_the_order() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let dir = home.path("spool");
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    // As left by a clock that was set back a day, and on, and stood at its beginning.
    for (first, modified) in
        [(1, now + day), (11, now), (21, now - day), (31, SystemTime::UNIX_EPOCH), (41, now + 9000 * day)]
    {
        let path = SpoolFile::with_events(1, first, 10).put(&dir);
        File::options().append(true).open(path).and_then(|file| file.set_modified(modified)).expect("set");
    }
    let agent = home.start();
    sandbox.wait_billed(50);
    until("the folder is empty", || spool_files(&dir), |files| files.is_empty());
    assert_eq!(billed(&sandbox).len(), 50);
    let status = home.wait_drained();
    assert_eq!(status["profiles"][0]["dead"], 0);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_file_that_somebody_else_holds_is_shown_as_waiting() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let dir = home.path("spool");
    let path = SpoolFile::with_events(1, 1, 3).put(&dir);
    let held = File::open(&path).expect("opened");
    held.lock().expect("locked");
    let agent = home.start();
    let status = home.wait_status("it waits", |status| status["spool"]["waiting_files"] == 1);
    assert!(status["spool"]["oldest_age_s"].is_u64(), "{status}");
    drop(held);
    sandbox.wait_billed(3);
    home.wait_status("it is gone", |status| status["spool"]["waiting_files"] == 0);
    assert_eq!(agent.stop().code, Some(0));
}
