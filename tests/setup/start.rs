//! `start`: one agent, however many ask for it, and none where there should be none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::{Signal, geteuid};
use serde_json::{Value, json};

use crate::mine::Mine;
use crate::support::{KEY, assert_no_secret, names, until};
use crate::user::{Ended, mode};

const AUTOSTART: (&str, &str) = ("REVENIUM_AGENT_AUTOSTART", "1");

#[test]
fn of_twenty_that_start_together_one_agent_comes_and_it_is_nobodys() {
    let mine = Mine::new();
    let starting: Vec<_> = (0..20)
        .map(|_| {
            let mut command = mine.command(&[]);
            command.envs([AUTOSTART, ("REVENIUM_METERING_API_KEY", KEY), ("SECRET", "hunter2")]);
            // Its end is read, so an agent that had it would keep this test waiting.
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
        })
        .collect();
    let said: Vec<Value> = starting
        .into_iter()
        .map(|child| {
            let ended: Ended = child.wait_with_output().expect("ends").into();
            assert_eq!(ended.code, Some(0), "{ended:?}");
            serde_json::from_str(&ended.stdout).expect("one line of JSON")
        })
        .collect();
    let answer = |state| json!({"state": state, "socket": mine.socket(), "version": "0.1.0"});
    assert_eq!(said.iter().filter(|said| **said == answer("started")).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|said| **said == answer("running")).count(), 19, "{said:?}");

    let pid = mine.pid();
    assert_eq!(mine.running(), [pid]);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let session = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3));
    assert_eq!(session, Some(&*pid.to_string()), "a session of its own");
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).expect("it runs");
    assert_eq!((link("cwd"), link("exe")), ("/".into(), mine.copy("0.1.0")));
    assert_eq!((link("fd/0"), link("fd/2")), ("/dev/null".into(), mine.data("agent.log")));
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("it runs");
    assert_no_secret(&[&environment]);
    assert!(environment.contains("XDG_RUNTIME_DIR=") && !environment.contains("AUTOSTART"), "{environment}");
    for (path, expected) in [
        (mine.copy("0.1.0"), 0o700),
        (mine.copy("0.1.0").with_file_name(""), 0o700),
        (mine.card_path(), 0o600),
        (mine.socket(), 0o600),
        (mine.data(""), 0o700),
        (mine.data("agent.log"), 0o600),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    let card = mine.card();
    assert_eq!((&card["per_user"], &card["version"]), (&json!(true), &json!("0.1.0")));
    assert_eq!(
        (&card["relay"], &card["gateway"], &card["admin"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    mine.kill(Signal::TERM);
    mine.wait_ended();
    assert_eq!(
        names(&mine.user.path("run/revenium")),
        Vec::<String>::new(),
        "nothing stays beside the socket"
    );
}

#[test]
fn an_agent_has_no_descriptor_of_whoever_started_it() {
    let mine = Mine::new();
    let program = env!("CARGO_BIN_EXE_revenium-agent");
    let mut command = mine.user.command("sh", &["-c", &format!("exec {program} start 7</dev/zero")]);
    let ended: Ended = command.envs([AUTOSTART]).output().expect("runs").into();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let open = fs::read_dir(format!("/proc/{}/fd", mine.pid())).expect("it runs").flatten();
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    assert!(!open.contains(&"/dev/zero".into()), "{open:?}");
}

#[test]
fn signals_that_an_application_blocks_or_ignores_are_not_the_agents() {
    let mine = Mine::new();
    let program = env!("CARGO_BIN_EXE_revenium-agent");
    let start = |signals: &str| -> Ended {
        let mut command = mine.user.command("env", &[signals, program, "start"]);
        command.envs([AUTOSTART]).output().expect("runs").into()
    };
    // As an application does that waits for its own end in a thread.
    let ended = start("--block-signal=TERM");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    mine.kill(Signal::TERM);
    mine.wait_ended();

    // As one does that never waits for its children.
    fs::create_dir_all(mine.socket()).expect("in its place");
    let ended = start("--ignore-signal=CHLD");
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("exists and is not a socket"), "{}", ended.stderr);
}

#[test]
fn an_older_agent_stays_if_the_newer_one_cannot_be_copied() {
    let mine = Mine::new();
    mine.start(&[]);
    let first = mine.pid();
    mine.say_version("0.0.9");
    // As on a full disk: there is no room for it.
    fs::remove_file(mine.copy("0.1.0")).expect("removed");
    fs::create_dir_all(mine.copy("0.1.0").join("taken")).expect("made");
    let ended = mine.start_in(&[AUTOSTART], &[]);
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.stderr.contains("cannot copy this program"), "{}", ended.stderr);
    assert_eq!(mine.running(), [first]);
}

#[test]
fn an_older_agent_gives_way_and_a_newer_one_stays() {
    let mine = Mine::new();
    mine.start(&[]);
    let first = mine.pid();
    mine.say_version("99.0.0");
    assert_eq!(mine.start(&[])["version"], "99.0.0");
    assert_eq!(mine.pid(), first);

    mine.say_version("0.0.9");
    let old = mine.copy("0.0.9");
    fs::create_dir(old.with_file_name("")).expect("made");
    fs::copy(env!("CARGO_BIN_EXE_revenium-agent"), &old).expect("copied");
    assert_eq!(mine.start(&[])["state"], "taken_over");
    assert_ne!(mine.pid(), first);
    assert_eq!(mine.running(), [mine.pid()]);
    assert!(!old.exists(), "nobody runs it any more");
    assert_eq!(mine.card()["version"], "0.1.0");
}

#[test]
fn an_agent_that_a_person_started_is_used_and_never_stopped() {
    let mine = Mine::new();
    let mut theirs = mine.user.agent(&["run", "--per-user"]).stderr(Stdio::null()).spawn().expect("starts");
    until("it is up", || mine.card_path().exists(), |is_up| *is_up);
    mine.say_version("0.0.1");
    assert_eq!(mine.start(&[]), json!({"state": "running", "socket": mine.socket(), "version": "0.0.1"}));
    assert_eq!(theirs.try_wait().expect("asked"), None, "it runs on");
    assert_eq!(mine.running(), Vec::<i32>::new(), "and no other");
    theirs.kill().expect("runs");
    theirs.wait().expect("ends");
}

#[test]
fn where_there_should_be_none_start_says_why_and_leaves_nothing() {
    let mine = Mine::new();
    let own = mine.user.config("config.toml");
    let not_started = |variables: &[(&str, &str)]| {
        let ended = mine.start_in(variables, &[]);
        assert_eq!((ended.code, &*ended.stderr), (Some(4), ""), "{ended:?}");
        let said: Value = serde_json::from_str(&ended.stdout).expect("one line of JSON");
        assert_eq!(said["state"], "not_started");
        assert!(said["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{said}");
        said["code"].as_str().expect("a code").to_owned()
    };
    assert_eq!(not_started(&[("REVENIUM_AGENT_AUTOSTART", "0")]), "forbidden");
    assert_eq!(not_started(&[AUTOSTART, ("REVENIUM_METERING_DISABLED", "1")]), "disabled");
    assert_eq!(not_started(&[("AWS_LAMBDA_FUNCTION_NAME", "f")]), "serverless");
    assert_eq!(not_started(&[("CI", "true")]), "ci");
    fs::create_dir_all(own.with_file_name("")).expect("made");
    fs::write(&own, "").expect("written");
    assert_eq!(not_started(&[]), "own_configuration");

    let unclear = mine.start_in(&[("REVENIUM_AGENT_AUTOSTART", "yes")], &[]);
    assert_eq!(unclear.code, Some(78));
    assert!(unclear.stderr.contains("REVENIUM_AGENT_AUTOSTART is \"yes\""), "{}", unclear.stderr);
    assert_eq!(names(&mine.user.path("home")), [".config"]);
    assert_eq!(names(&mine.user.path("run")), Vec::<String>::new());
    // A configuration is no reason against one that is asked for.
    assert_eq!(mine.start(&[])["state"], "started");
}

#[test]
fn root_and_users_beside_the_machines_agent_get_none() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root is root, and may have another /run");
        return;
    }
    let mine = Mine::new();
    let code = |ended: Ended| {
        assert_eq!(ended.code, Some(4), "{ended:?}");
        serde_json::from_str::<Value>(&ended.stdout).expect("one line of JSON")["code"].clone()
    };
    let mut as_root = Command::new(env!("CARGO_BIN_EXE_revenium-agent"));
    let as_root =
        as_root.arg("start").env_clear().env("HOME", mine.user.path("home")).output().expect("runs");
    assert_eq!(code(as_root.into()), "root");

    let start = mine.command(&[]);
    for install in [
        "mount -t tmpfs t /run && mkdir /run/revenium && : > /run/revenium/agent.sock && exec \"$@\"",
        // There are keys in it, so this user may not even look.
        "mount -t tmpfs t /etc && mkdir -m 0 /etc/revenium-agent && : > /etc/revenium-agent/config.toml \
         && exec \"$@\"",
    ] {
        let mut beside = Command::new("unshare");
        beside.args(["--mount", "sh", "-ec", install, "sh"]).arg(start.get_program()).args(start.get_args());
        beside.env_clear().envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert_eq!(code(beside.output().expect("runs").into()), "system_agent", "{install}");
    }
    assert_eq!(names(&mine.user.path("home")), Vec::<String>::new());
}

#[test]
fn a_log_that_has_become_large_is_moved_aside() {
    let mine = Mine::new();
    fs::create_dir_all(mine.data("")).expect("made");
    fs::write(mine.data("agent.log"), vec![b'x'; 1 << 20]).expect("written");
    mine.start(&[]);
    assert_eq!(fs::metadata(mine.data("agent.log.1")).expect("is there").len(), 1 << 20);
    // While it runs, too.
    let log = fs::OpenOptions::new().append(true).open(mine.data("agent.log")).expect("is there");
    log.set_len(3 << 20).expect("grown");
    until(
        "it is moved",
        || fs::metadata(mine.data("agent.log.1")).expect("is there").len(),
        |len| *len >= 3 << 20,
    );
    let link = || fs::read_link(format!("/proc/{}/fd/2", mine.pid())).expect("it runs");
    until("it goes on in another", link, |log| *log == mine.data("agent.log"));
    assert_eq!(fs::metadata(mine.data("agent.log")).expect("is there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_keeps_the_agent_from_starting_is_said() {
    let mine = Mine::new();
    fs::create_dir_all(mine.user.path("run/revenium/agent.sock")).expect("in its place");
    let ended = mine.start_in(&[AUTOSTART], &[]);
    assert_eq!((ended.code, &*ended.stdout), (Some(78), ""), "{ended:?}");
    assert!(ended.stderr.contains("exists and is not a socket"), "{}", ended.stderr);
    assert!(ended.stderr.contains("agent.log"), "{}", ended.stderr);
}
