//! A machine on which nothing is wrong, and what doctor leaves alone.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;

use revenium_agent::commands::doctor::Id;
use revenium_agent::sandbox::What;

use super::report::Report;
use super::standin::{answer, answer_for_an_agent, configure};
use crate::support::{Home, KEY, Line, Sandbox, completion, names};

/// A stand-in, and a folder that delivers to it.
fn healthy(more: &str) -> (Sandbox, Home) {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    configure(&home, &sandbox.url(), more);
    (sandbox, home)
}

#[test]
fn where_nothing_is_wrong_it_says_ok_to_every_id_and_bills_nothing() {
    let (sandbox, home) = healthy("");
    let agent = home.start();
    home.wait_drained();
    let before = names(&home.path("data"));
    let report = Report::of(&home, &[]);
    let all: BTreeSet<&str> = Id::ALL.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(report.ids(), all);
    for finding in &report.findings {
        // Where the tests run on a file system without a device, that is a warning.
        let is_of_disk = finding["id"] == "disk.guarantee" && finding["level"] == "warning";
        assert!(finding["level"] == "ok" || is_of_disk, "{finding}");
    }
    assert_eq!(report.code, Some(0));
    assert_eq!((sandbox.count(What::Attempt), sandbox.count(What::Billed)), (1, 0));
    assert_eq!(names(&home.path("data")), before, "nothing is written");
    let shown = home.run(&["doctor"]);
    assert_eq!(shown.code, Some(0));
    assert!(
        shown.stdout.contains("ok       upstream.key   default: 127.0.0.1 accepts the key\n"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("\nproblems: 0, warnings: "), "{}", shown.stdout);
    assert_eq!(shown.stdout.lines().count(), report.findings.len() + 2, "a line each: {}", shown.stdout);
    agent.stop();
}

#[test]
fn offline_nothing_leaves_the_machine() {
    let (sandbox, home) = healthy("");
    let report = Report::of(&home, &["--offline"]);
    assert_eq!((report.code, sandbox.count(What::Attempt)), (Some(0), 0));
    for id in ["proxy", "dns", "connect", "tls", "portal", "url", "upstream", "upstream.key"] {
        assert_eq!(report.level(id), "", "{id}");
    }
    assert_eq!((report.level("key.shape"), report.level("clock")), ("ok", "unknown"));
    assert!(home.run(&["doctor", "--offline"]).stdout.contains("no upstream was asked (--offline)"));
}

/// systemd would start an agent for the first connection.
#[test]
fn nobody_is_woken_who_listens_for_an_agent_that_does_not_run() {
    let (_sandbox, home) = healthy("");
    let held = UnixListener::bind(home.socket()).expect("bound");
    held.set_nonblocking(true).expect("set");
    let report = Report::of(&home, &[]);
    assert_eq!(report.level("socket"), "ok", "{:#?}", report.findings);
    let waits = held.accept().expect_err("nobody connected");
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
    assert!(!home.path("data").exists(), "nothing is made");
}

#[test]
fn what_is_wrong_in_the_configuration_is_told_and_the_rest_is_looked_at_all_the_same() {
    let (_sandbox, home) = healthy("drain.backoff_max = \"soon\"\n");
    let report = Report::of(&home, &[]);
    report.planted(
        "config",
        "problem",
        &["drain.backoff_max: \"soon\" is not a duration", "revenium-agent check"],
    );
    assert_eq!((report.code, report.level("upstream.key")), (Some(78), "ok"));
}

#[test]
fn a_look_that_never_ends_is_a_finding() {
    let (_sandbox, home) = healthy("");
    std::fs::remove_file(home.path("config.toml")).expect("removed");
    // Whoever opens it waits for somebody to write.
    let pipe = std::process::Command::new("mkfifo").arg(home.path("config.toml")).status().expect("runs");
    assert!(pipe.success());
    let report = Report::of(&home, &[]);
    report.planted("config", "problem", &["could not be looked at within 5 s"]);
    assert_eq!(report.code, Some(78));
}

#[test]
fn an_agent_that_is_not_well_and_one_that_does_not_run_are_told() {
    let (_sandbox, home) = healthy("");
    Report::of(&home, &[]).planted("agent", "warning", &["no agent runs", "systemctl start revenium-agent"]);
    let agent = home.start();
    let event = completion("m").replacen('{', "{\"profile\":\"nobody\",", 1);
    assert_eq!(Line::connect(&home.socket()).ask(&event)["ok"], false);
    home.wait_status("it is kept", |status| status["profiles"].to_string().contains("\"dead\":1"));
    Report::of(&home, &[]).planted("agent", "warning", &["1 dead letters wait", "revenium-agent status"]);
    agent.stop();
}

#[test]
fn somebody_who_answers_as_no_agent_of_this_version_does_is_told() {
    let (_sandbox, home) = healthy("");
    answer_for_an_agent(&home, &answer("200 OK", "", "{}"));
    let report = Report::of(&home, &[]);
    let words = ["it does not say how it does: its status cannot be read", "is it of this version?"];
    report.planted("agent", "problem", &words);
    assert_eq!(report.code, Some(1));
}

#[test]
fn a_key_that_is_missing_open_or_none_is_told_and_never_shown() {
    use std::os::unix::fs::PermissionsExt;
    let (_sandbox, home) = healthy("");
    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(home.path("key"), mode).expect("mode set");
    };
    let (shown, key) = (home.path("key").display().to_string(), home.path("key"));
    mode(0o644);
    let report = Report::of(&home, &[]);
    let planted = ["is open to other users (mode 0644)", &format!("`chmod 600 {shown}`")];
    report.planted("key.permission", "problem", &planted);
    assert_eq!((report.code, report.level("upstream.key")), (Some(78), "ok"), "it is the right one");
    for (text, words) in [
        ("sk-ant-0123456789", "does not begin with \"hak_\" or \"rev_\""),
        ("", "the key is empty"),
        ("rev_mk_0123456789 0123456789", "not visible ASCII"),
        ("rev_rk_0123456789abcdef0123", "is a key for reading"),
    ] {
        home.write("key", text);
        let report = Report::of(&home, &[]);
        let found =
            report.findings.iter().find(|finding| finding["id"] == "key.shape").expect("is looked at");
        assert_eq!((&found["level"], report.code), (&"problem".into(), Some(78)), "{found}");
        assert!(found["cause"].as_str().expect("a cause").contains(words), "{found}");
    }
    home.write("key", "none");
    Report::of(&home, &["--offline"]).planted("key.shape", "problem", &["rev_mk_… or hak_…", &shown]);
    std::fs::remove_file(&key).expect("removed");
    let report = Report::of(&home, &[]);
    report.planted("key", "problem", &["cannot be read: No such file", "umask 077"]);
    assert_eq!(report.code, Some(78));
    std::fs::create_dir(&key).expect("made");
    mode(0o755);
    let report = Report::of(&home, &[]);
    report.planted("key", "problem", &["is not a regular file", "put the key into a file of its own"]);
    assert_eq!((report.code, report.level("key.permission")), (Some(78), ""), "a folder's mode is no fault");
    home.write("config.toml", "data_dir = \"data\"\nsocket.path = \"agent.sock\"\n");
    let report = Report::of(&home, &["--offline"]);
    report.planted("key", "warning", &["it has no API key: its events are kept", "api_key_file"]);
    assert_eq!(report.code, Some(0));
}

/// From a shell there is no credential; what it is copied from is beside the configuration.
#[test]
fn a_unit_s_credential_is_looked_at_where_it_is_copied_from() {
    let (sandbox, home) = healthy("");
    let toml = format!(
        "data_dir = \"data\"\nsocket.path = \"agent.sock\"\nstore.capacity_bytes = \"256MiB\"\n[profiles.default]\n\
         credential = \"team\"\nurl = \"{}\"\n",
        sandbox.url()
    );
    home.write("config.toml", &toml);
    Report::of(&home, &[]).planted("key", "problem", &["team cannot be read: No such file"]);
    home.write("team", KEY);
    let report = Report::of(&home, &[]);
    assert_eq!((report.level("key"), report.level("upstream.key"), report.code), ("ok", "ok", Some(0)));
    assert_eq!(home.path("team").metadata().expect("there").mode() & 0o777, 0o600);
    // What the unit gives a service whose source is missing.
    home.write("team", "none");
    Report::of(&home, &["--offline"]).planted("key.shape", "problem", &["does not begin"]);
}

fn read(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_id_has_a_planted_fault() {
    let files =
        ["network", "place", "upstream", "whole"].map(|name| format!("tests/operator/doctor/{name}.rs"));
    let code: String = files.iter().map(|file| read(file)).collect();
    let call = [".planted", "("].concat();
    let calls = code.split(&call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    let planted: BTreeSet<&str> = calls.filter_map(|rest| rest.split('"').next()).collect();
    let all: BTreeSet<&str> = Id::ALL.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(planted, all);
}

#[test]
fn the_runbook_has_every_id_and_no_other() {
    let runbook = read("ops/runbook.md");
    let section = runbook.split("\n## ").find(|section| section.starts_with("What doctor looks at"));
    let rows: Vec<&str> =
        section.expect("a section").lines().filter(|line| line.starts_with("| `")).collect();
    let all: Vec<String> = Id::ALL.iter().map(|(_, name, about)| format!("| `{name}` | {about} |")).collect();
    assert_eq!(rows, all);
}
