//! `exec`: the command has the agent's address, and is otherwise as if it had been started directly.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, KEY};

/// Variables of a command that is run with these arguments and in this environment; and what was warned of.
fn variables(home: &Home, args: &[&str], around: &[(&str, &str)]) -> (BTreeMap<String, String>, String) {
    let mut command = exec(home, args, &["env"]);
    let output = command.envs(around.iter().copied()).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let variables = String::from_utf8(output.stdout).expect("UTF-8");
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let ours = variables.filter(|(name, _)| name.starts_with("REVENIUM"));
    let ours = ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    (ours, String::from_utf8(output.stderr).expect("UTF-8"))
}

fn exec(home: &Home, args: &[&str], command: &[&str]) -> Command {
    let mut exec = home.command(&["exec"]);
    exec.args(args).arg("--").args(command).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    exec
}

fn map(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_command_is_told_where_socket_spool_and_relay_are_and_no_key() {
    let home = Home::new();
    home.configure("relay.listen = \"127.0.0.1:0\"\n");
    let agent = home.start();
    let relay = agent.ready["relay"].as_str().expect("is on").to_owned();
    let (socket, spool) = (home.socket().display().to_string(), home.path("spool").display().to_string());
    let all = map(&[
        ("REVENIUM_AGENT_SOCKET", &socket),
        ("REVENIUM_AGENT_SPOOL", &spool),
        ("REVENIUM_METERING_BASE_URL", &format!("http://{relay}")),
    ]);
    let config = ["--config", "config.toml", "--relay", &relay];
    assert_eq!(variables(&home, &config, &[]), (all.clone(), String::new()));

    // The URL was the upstream's; which spool is meant, the caller knows.
    let around =
        [("REVENIUM_METERING_BASE_URL", "https://api.revenium.ai"), ("REVENIUM_AGENT_SPOOL", "/mine")];
    let mut theirs = all;
    theirs.insert("REVENIUM_AGENT_SPOOL".to_owned(), "/mine".to_owned());
    assert_eq!(variables(&home, &config, &around).0, theirs);

    let send = "--model m --provider Anthropic --input-tokens 1 --output-tokens 1";
    let send = format!("exec {} send {send}", env!("CARGO_BIN_EXE_revenium-agent"));
    let sent = exec(&home, &config, &["sh", "-c", &send]).output().expect("runs");
    assert_eq!(String::from_utf8_lossy(&sent.stdout), "durable: 1 event\n");
    agent.stop();
}

#[test]
fn the_relay_is_the_configured_one_with_its_token_and_its_absence_is_told_to_who_has_a_key() {
    let home = Home::new();
    let agent = home.start();
    let config = ["--config", "config.toml"];
    let (found, warned) = variables(&home, &config, &[]);
    assert_eq!((found.get("REVENIUM_METERING_BASE_URL"), warned.as_str()), (None, ""));
    let with_key = [("REVENIUM_METERING_API_KEY", KEY)];
    let (_, warned) = variables(&home, &config, &with_key);
    assert!(warned.contains("the agent's relay is off"), "{warned}");

    home.write("token", "0123456789abcdef");
    home.configure("relay.listen = \"0.0.0.0:8793\"\nrelay.token_file = \"token\"\n");
    let (found, warned) = variables(&home, &config, &with_key);
    let url = "http://127.0.0.1:8793/token/0123456789abcdef";
    assert_eq!((found["REVENIUM_METERING_BASE_URL"].as_str(), warned.as_str()), (url, ""));
    agent.stop();
}

#[test]
fn a_named_socket_is_the_agents_and_a_variable_of_no_use_is_none() {
    let home = Home::new();
    let socket = |args: &[&str], value: &str| {
        let (found, _) = variables(&home, args, &[("REVENIUM_AGENT_SOCKET", value)]);
        found["REVENIUM_AGENT_SOCKET"].clone()
    };
    let here = home.path("mine.sock").display().to_string();
    assert_eq!(socket(&["--socket", "mine.sock"], "/theirs.sock"), here, "emitters take absolute paths only");
    assert_eq!(socket(&[], "/theirs.sock"), "/theirs.sock");
    for useless in ["", "relative.sock"] {
        assert_eq!(socket(&["--config", "config.toml"], useless), home.socket().display().to_string());
    }
}

#[test]
fn no_agent_keeps_no_command_from_running() {
    let home = Home::new();
    let (found, warned) = variables(&home, &["--config", "config.toml"], &[]);
    assert_eq!(found["REVENIUM_AGENT_SOCKET"], home.socket().display().to_string());
    assert!(warned.contains(&format!("no agent answers at {}", home.socket().display())), "{warned}");
    // Neither does a configuration of one's own that is wrong.
    std::fs::create_dir_all(home.path(".config/revenium-agent")).expect("made");
    home.write(".config/revenium-agent/config.toml", "socket.path = 1\n");
    let (_, warned) = variables(&home, &[], &[]);
    assert!(warned.contains("config.toml:1: socket.path: "), "{warned}");
    let named = home.command(&["exec", "--config", ".config/revenium-agent/config.toml", "env"]).output();
    assert_eq!(named.expect("runs").status.code(), Some(78), "one that is named has to be right");
}

#[test]
fn arguments_input_output_and_exit_code_are_the_commands_own() {
    let home = Home::new();
    let script = "cat; echo \"$1\" \"$2\"; echo $$; exit 7";
    let mut command = exec(&home, &[], &["sh", "-c", script, "sh", "--socket", "two words"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let pid = child.id();
    child.stdin.take().expect("piped").write_all(b"typed\n").expect("taken");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("typed\n--socket two words\n{pid}\n"));
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn a_signal_ends_the_command_and_its_dispositions_are_the_usual_ones() {
    let home = Home::new();
    let child = exec(&home, &[], &["sh", "-c", "echo ready; exec sleep 600"]).stdout(Stdio::piped()).spawn();
    let mut child: Child = child.expect("starts");
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut ready).expect("runs");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("runs");
    assert_eq!(child.wait().expect("ends").signal(), Some(Signal::TERM.as_raw()));
    // Rust programs ignore it, and whoever they become would, too.
    let piped = exec(&home, &[], &["sh", "-c", "kill -PIPE $$"]).output().expect("runs");
    assert_eq!(piped.status.signal(), Some(Signal::PIPE.as_raw()));
}

#[test]
fn a_command_that_cannot_be_run_ends_as_shells_have_it() {
    let home = Home::new();
    home.write("data.txt", "no program");
    for (command, code) in [("no-such-command", 127), ("./no-such-command", 127), ("./data.txt", 126)] {
        let output = exec(&home, &[], &[command]).output().expect("runs");
        assert_eq!(output.status.code(), Some(code), "{command}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("cannot run {command}: ")), "{said}");
    }
}
