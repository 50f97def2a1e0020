//! A running agent: its files, its doors, its signals.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::support::{Home, KEY, Line, OTHER_KEY, assert_no_secret, completion, names, until};

#[test]
fn sigterm_and_sigint_stop_it_in_order_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let agent = home.start();
        let data = home.path("data");
        let mode =
            |name: &str| std::fs::metadata(data.join(name)).expect("is there").permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("control.sock")), (0o700, 0o600));
        agent.signal(signal);
        let ended = agent.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!names(&data).contains(&"control.sock".to_owned()));
        assert_no_secret(&[&ended.stderr]);
    }
}

#[test]
fn a_second_signal_ends_it_at_once_with_130() {
    let home = Home::new();
    let agent = home.start();
    // A request that is never finished keeps the first stop waiting.
    let mut stream = TcpStream::connect(agent.admin()).expect("listens");
    stream.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
    assert_eq!(agent.get("/healthz").0, 200, "so the connection before it was accepted");
    agent.signal(Signal::TERM);
    agent.wait_for("stopping");
    agent.signal(Signal::TERM);
    let ended = agent.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}

#[test]
fn a_clean_stop_notes_what_is_undelivered_and_the_next_start_takes_the_note_away() {
    let home = Home::new();
    home.configure("profiles.default.url = \"http://127.0.0.1:9\"\n");
    let note = || std::fs::read_to_string(home.path("data/undelivered")).unwrap_or_default();
    home.start().stop();
    assert_eq!(note(), "nothing\n");
    let agent = home.start();
    assert_eq!(note(), "", "it may be wrong from here on");
    assert_eq!(Line::connect(&home.socket()).ask(&completion("m"))["ok"], true);
    let ended = agent.stop();
    assert_eq!(note(), "1 event that waits\n");
    assert!(ended.stderr.contains("undelivered=\"1 event that waits\""), "{}", ended.stderr);
    home.start().kill();
    assert_eq!(note(), "");
}

#[test]
fn status_tells_how_the_running_agent_does() {
    let home = Home::new();
    let agent = home.start();
    until("ready", || agent.get("/readyz").0, |status| *status == 200);
    let json = home.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&json.stdout).expect("is JSON");
    assert_eq!(status["data_dir"], home.path("data").display().to_string());
    assert_eq!(status["profiles"][0]["key"], "rev_mk_…ghij");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    // Where the tests run on a file system without a device, that alone degrades it.
    let health = if status["guarantee"]["flushed"] == true { "ok" } else { "degraded" };
    assert_eq!(status["health"], health, "{}", status["reasons"]);
    assert_eq!(json.code, Some(i32::from(health != "ok")), "the exit code tells health");

    let screen = home.run(&["status"]);
    assert_eq!(screen.code, json.code);
    let key = home.path("key");
    let profile = format!("profile default  https://api.revenium.ai  key rev_mk_…ghij ({})", key.display());
    assert!(screen.stdout.contains(&profile), "{}", screen.stdout);
    assert!(screen.stdout.lines().count() <= 25, "fits on one screen");

    let (_, page) = agent.get("/");
    assert_no_secret(&[&json.stdout, &screen.stdout, &page, &agent.get("/metrics").1]);
    agent.stop();
    assert_eq!(home.run(&["status"]).code, Some(2));
}

#[test]
fn a_second_agent_on_the_data_or_on_the_address_is_told_to_try_later() {
    let home = Home::new();
    let agent = home.start();
    let second = home.run(&["run"]);
    assert_eq!(second.code, Some(75), "{}", second.stderr);
    let data = home.path("data").display().to_string();
    let expected = format!(
        "cannot open the control socket in {data}: another agent answers there, process {}",
        agent.pid()
    );
    assert!(second.stderr.contains(&expected), "{}", second.stderr);

    let elsewhere = Home::new();
    let second = elsewhere.run(&["run", "--admin", agent.admin()]);
    assert_eq!(second.code, Some(75), "{}", second.stderr);
    let expected = format!("cannot listen on {} (admin.listen)", agent.admin());
    assert!(second.stderr.contains(&expected), "{}", second.stderr);

    assert_eq!(agent.get("/healthz").0, 200, "the first one doesn't care");
    assert_eq!(home.status()["data_dir"], data, "it answers as before");
    agent.stop();
}

#[test]
fn kill_9_leaves_nothing_that_keeps_the_next_from_starting() {
    let home = Home::new();
    let agent = home.start();
    agent.signal(Signal::KILL);
    assert_eq!(agent.end().code, None);
    assert_eq!(home.start().stop().code, Some(0));
}

#[test]
fn sighup_reads_a_replaced_key_file() {
    let home = Home::new();
    let agent = home.start();
    home.write("key.new", OTHER_KEY);
    std::fs::rename(home.path("key.new"), home.path("key")).expect("replaced");
    agent.signal(Signal::HUP);
    agent.wait_for("SIGHUP: reading key files again");
    agent.wait_for("key replaced");
    let status = home.run(&["status", "--json"]).stdout;
    assert!(status.contains("hak_…tsrq"), "{status}");
    home.write("key", &KEY[..3]);
    agent.signal(Signal::HUP);
    agent.wait_for("key file cannot be used, keeping the last key");
    let status = home.run(&["status", "--json"]).stdout;
    assert!(status.contains("hak_…tsrq"), "{status}");
    assert_no_secret(&[&agent.stop().stderr]);
}

#[test]
fn a_sandbox_takes_its_folder_along_when_it_ends() {
    let home = Home::new();
    let agent = home.start_with(&["--sandbox"]);
    let control = agent.ready["control"].as_str().expect("a path").to_owned();
    let data = std::path::Path::new(&control).parent().expect("a folder").to_owned();
    assert!(data.is_dir());
    assert_eq!(agent.stop().code, Some(0));
    assert!(!data.exists());
}

#[test]
fn the_health_paths_answer() {
    let agent = Home::new().start();
    assert_eq!(agent.get("/healthz"), (200, "ok\n".to_owned()));
    let ready = until("ready", || agent.get("/readyz"), |(status, _)| *status == 200);
    assert_eq!(ready.1, "ok\n");
    assert_eq!(agent.get("/nothing").0, 404);
    agent.stop();
}
