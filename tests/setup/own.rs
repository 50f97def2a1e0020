//! `setup` as a user: what is written, what is kept, what Revenium said.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{KEY, OTHER_KEY, Terminal, assert_no_secret, until, unused_address};
use crate::user::{Ended, User, identity, mode, read};

#[test]
fn a_user_gets_key_configuration_and_unit_and_sees_that_revenium_took_the_event() {
    let user = User::new();
    let sandbox = user.sandbox(KEY);
    let ended = user.setup(KEY, &["--url", &sandbox.url(), "--relay", "127.0.0.1:8793"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("{} accepted it (201, id ", sandbox.url())), "{}", ended.stdout);
    assert!(ended.stdout.contains("REVENIUM_METERING_BASE_URL=http://127.0.0.1:8793\n"), "{}", ended.stdout);
    assert_no_secret(&[&ended.stdout]);

    assert_eq!(read(&user.config("key")), format!("{KEY}\n"));
    assert_eq!((mode(&user.config("")), mode(&user.config("key"))), (0o700, 0o600));
    let billed = sandbox.billed().into_values().collect::<Vec<_>>();
    let [body] = &billed[..] else { panic!("one event: {billed:?}") };
    let event: Value = serde_json::from_str(body).expect("is JSON");
    for (member, value) in [
        ("taskType", Value::from("setup-test")),
        ("inputTokenCount", 0.into()),
        ("outputTokenCount", 0.into()),
        ("totalTokenCount", 0.into()),
    ] {
        assert_eq!(event[member], value, "{member}");
    }
}

/// The README's kinds of applications, in order; how the line of each begins, and what it says.
const WAYS: [(&str, &str, &[&str]); 6] = [
    ("Python, with Anthropic's SDK", "Python", &["import revenium_middleware_anthropic"]),
    ("Rust, with reqwest", "Rust, reqwest", &[".with(revenium_middleware::Metering::new(Emitter::new()))"]),
    (
        "Node, or anything that calls Anthropic",
        "calls Anthropic",
        &["export ANTHROPIC_BASE_URL=http://127.0.0.1:8794"],
    ),
    (
        "Claude Code",
        "Claude Code",
        &[r#"{"env":{"ANTHROPIC_BASE_URL":"http://127.0.0.1:8794"}}"#, "~/.claude/settings.json"],
    ),
    (
        "what uses Revenium's SDKs",
        "Revenium's SDKs",
        &["export REVENIUM_METERING_BASE_URL=http://127.0.0.1:8793"],
    ),
    ("anything else", "anything else", &["echo '{\"model\":", "| nc -N -U ", "/revenium/agent.sock"]),
];

#[test]
fn each_kind_of_application_that_the_readme_names_has_a_line() {
    let readme = include_str!("../../README.md").split("| your application | is metered by |").nth(1);
    let table = readme.and_then(|rest| rest.split("\n\n").next()).expect("a table");
    let rows = table.lines().skip(2).filter_map(|row| row.split('|').nth(1));
    let rows: Vec<&str> = rows.map(str::trim).collect();
    assert_eq!(rows, WAYS.map(|(row, ..)| row), "what the README names, and what setup has a line for");

    let user = User::new();
    let said = user.setup(KEY, &["--no-test"]).stdout;
    let line = |label: &str| said.lines().find(|line| line.starts_with(&format!("  {label:17}")));
    let ways = WAYS.map(|(_, label, words)| (label, words));
    let more: [(&str, &[&str]); 2] =
        [("any command", &["revenium-agent exec -- "]), ("Rust", &["revenium_emitter::Emitter::new()"])];
    for (label, words) in ways.into_iter().chain(more) {
        let line = line(label).unwrap_or_else(|| panic!("no line for {label}:\n{said}"));
        for word in words {
            assert!(line.contains(word), "{word:?} is not in {line:?}");
        }
    }
}

#[test]
fn what_turns_the_gateway_on_is_told_until_it_is() {
    let user = User::new();
    let said = user.setup(KEY, &["--no-test"]).stdout;
    let told = said.lines().find_map(|line| line.trim().strip_prefix("once the gateway is on: "));
    let (setting, rest) = told.and_then(|told| told.split_once(" at the top of ")).expect("is told");
    let config = user.config("config.toml");
    assert_eq!(rest, format!("{}, and: systemctl --user restart revenium-agent", config.display()));

    let setting = setting.replace("8794", "8799");
    fs::write(&config, format!("{setting}\n{}", read(&config))).expect("written");
    let ended = user.setup(KEY, &["--no-test"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = ended.stdout;
    assert!(said.contains("  calls Anthropic  export ANTHROPIC_BASE_URL=http://127.0.0.1:8799\n"), "{said}");
    assert!(said.contains(r#""http://127.0.0.1:8799"}} in ~/.claude/settings.json"#), "{said}");
    assert!(!said.contains("once the gateway is on"), "{said}");
}

#[test]
fn the_agent_that_was_set_up_runs_as_its_unit_says_and_delivers() {
    let user = User::new();
    let sandbox = user.sandbox(KEY);
    let ended = user.setup(KEY, &["--url", &sandbox.url(), "--no-test"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "verify", "--recursive-errors=yes"]).arg(user.unit());
    let verified = verify.env("XDG_RUNTIME_DIR", user.path("run")).output();
    let verified: Ended = verified.expect("systemd-analyze runs").into();
    assert_eq!((verified.code, verified.stderr.as_str()), (Some(0), ""));

    let unit = read(&user.unit());
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("starts something");
    // What systemd makes of it for the user.
    let start = start.replace("%E", &user.path("home/.config").display().to_string());
    let mut agent = user.command("sh", &["-c", &format!("exec {start}")]).spawn().expect("starts");
    let event = "--model m --provider Anthropic --input-tokens 1 --output-tokens 2".split(' ');
    let send: Vec<&str> = ["send"].into_iter().chain(event).collect();
    until("it takes events", || user.agent(&send).output().expect("runs").status.code(), |c| *c == Some(0));
    sandbox.wait_billed(1);
    kill_process(Pid::from_child(&agent), Signal::TERM).expect("runs");
    assert_eq!(agent.wait().expect("ends").code(), Some(0));
}

#[test]
fn what_is_waited_for_is_said_before() {
    let user = User::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let terminal = Terminal::new(200);
    let mut setup = user.agent(&["setup", "--url", &url]);
    let setup = setup.env("REVENIUM_METERING_API_KEY", KEY).stdout(terminal.stdio());
    let mut setup = setup.stderr(terminal.stdio()).spawn().expect("starts");
    let drawn = terminal.wait_for("Test event (no tokens, task type setup-test): ");
    assert!(!drawn.contains("cannot be reached"), "only with the answer: {drawn}");
    setup.kill().and_then(|()| setup.wait()).expect("ends");
}

#[test]
fn doctor_names_the_users_own_service() {
    let user = User::new();
    assert_eq!(user.setup(KEY, &["--no-test"]).code, Some(0));
    let said: Ended = user.agent(&["doctor", "--offline"]).output().expect("runs").into();
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    assert_eq!(said.stdout.matches("`systemctl --user start revenium-agent`").count(), 2, "{}", said.stdout);
}

#[test]
fn run_again_it_changes_nothing_and_says_so() {
    let user = User::new();
    let url = format!("http://{}", unused_address());
    assert_eq!(user.setup(KEY, &["--url", &url, "--no-test"]).code, Some(0));
    let files = [user.config("key"), user.config("config.toml"), user.unit()];
    let before: Vec<_> = files.iter().map(|file| identity(file)).collect();
    for args in [&["--no-test", "--url", &url][..], &["--no-test", "--url", &url, "--force", "--replace-key"]]
    {
        let ended = user.setup(KEY, args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        for file in &files {
            let line = format!("  unchanged  {}", file.display());
            assert!(ended.stdout.contains(&line), "{line:?} is not in\n{}", ended.stdout);
        }
    }
    assert_eq!(files.iter().map(|file| identity(file)).collect::<Vec<_>>(), before);
    let kept = user.agent(&["setup", "--no-test"]).output().expect("runs");
    assert_eq!(kept.status.code(), Some(0), "and asks for no key, as there is one");
}

#[test]
fn what_a_person_wrote_is_kept_and_with_force_under_another_name() {
    let user = User::new();
    fs::create_dir_all(user.config("")).expect("made");
    let mine = "# mine\nprofiles.default.api_key_file = \"key\"\n";
    fs::write(user.config("config.toml"), mine).expect("written");
    let config = user.config("config.toml").display().to_string();

    let ended = user.setup(KEY, &["--no-test"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains(&format!("  kept       {config}: ")), "{}", ended.stdout);
    assert_eq!(read(&user.config("config.toml")), mine);

    let ended = user.setup(KEY, &["--no-test", "--force"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let replaced = format!("  replaced   {config}; the old one is config.toml.bak\n");
    assert!(ended.stdout.contains(&replaced), "{}", ended.stdout);
    assert_eq!(read(&user.config("config.toml.bak")), mine);
    assert!(read(&user.config("config.toml")).starts_with("# Written by `revenium-agent setup`"));
}

#[test]
fn a_configuration_with_a_key_of_its_own_is_told() {
    let user = User::new();
    fs::create_dir_all(user.config("")).expect("made");
    fs::write(user.config("config.toml"), format!("profiles.default.api_key = \"{OTHER_KEY}\"\n"))
        .expect("written");
    let ended = user.setup(KEY, &["--no-test"]);
    assert!(ended.stdout.contains("takes its key from elsewhere"), "{}", ended.stdout);

    fs::write(user.config("config.toml"), "colour = 1\n").expect("written");
    let ended = user.setup(KEY, &["--no-test"]);
    assert_eq!(ended.code, Some(78), "{}", ended.stdout);
    assert!(ended.stderr.contains("config.toml:1: colour: unknown key"), "{}", ended.stderr);
}

#[test]
fn a_refused_key_and_an_upstream_that_is_away_are_told_and_what_was_written_stays() {
    let user = User::new();
    let sandbox = user.sandbox(OTHER_KEY);
    let ended = user.setup(KEY, &["--url", &sandbox.url()]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("refused the key (401): the API key is not accepted; "),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("`revenium-agent doctor`"), "{}", ended.stdout);
    assert_no_secret(&[&ended.stdout, &ended.stderr]);
    assert_eq!(read(&user.config("key")), format!("{KEY}\n"));
    assert!(user.unit().exists());

    drop(sandbox);
    let ended = user.setup(KEY, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stdout.contains("cannot be reached: "), "{}", ended.stdout);
    assert!(ended.stdout.contains("Connection refused"), "{}", ended.stdout);
}

#[test]
fn a_home_that_cannot_be_written_or_is_not_said_is_named() {
    let user = User::new();
    fs::set_permissions(user.path("home"), Permissions::from_mode(0o500)).expect("closed");
    let ended = user.setup(KEY, &[]);
    assert_eq!(ended.code, Some(74), "{}", ended.stdout);
    let expected = format!("cannot write {}: Permission denied", user.config("").display());
    assert!(ended.stderr.contains(expected.replace("agent/:", "agent:").as_str()), "{}", ended.stderr);

    let ended: Ended = user.agent(&["setup"]).env_remove("HOME").output().expect("runs").into();
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("neither HOME nor XDG_CONFIG_HOME"), "{}", ended.stderr);
}

#[test]
fn a_dry_run_says_what_would_be_and_writes_nothing() {
    let user = User::new();
    let ended: Ended = user.agent(&["setup", "--dry-run"]).output().expect("runs").into();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    for path in [user.config("key"), user.config("config.toml"), user.unit()] {
        let line = format!("  would write    {}\n", path.display());
        assert!(ended.stdout.contains(&line), "{line:?} is not in\n{}", ended.stdout);
    }
    assert_eq!(fs::read_dir(user.path("home")).expect("listed").count(), 0);
}

#[test]
fn a_url_or_an_address_that_cannot_be_used_is_refused_before_anything_is_written() {
    let user = User::new();
    for (args, words) in [
        (["--url", "http://metering.example"], "would send the API key in clear"),
        (["--url", "api.revenium.ai"], "not an http:// or https:// URL"),
        (["--relay", "0.0.0.0:8793"], "beyond loopback the relay needs a token"),
        (["--relay", "8793"], "write an address and a port"),
    ] {
        let ended = user.setup(KEY, &args);
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert_eq!(fs::read_dir(user.path("home")).expect("listed").count(), 0);
}
