//! More clients than there is room for: the relay serves those that send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Home, Http, KEY, Line, completion, until};

const RELAY: &str = "relay.listen = \"127.0.0.1:0\"\n";
const COMPLETIONS: &str = "/meter/v2/ai/completions";
const CROWD: usize = 10_000;

#[test]
fn ten_thousand_idle_connections_keep_nobody_from_sending() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).expect("the limit can be raised");
    let home = Home::new();
    home.configure(RELAY);
    let agent = home.start();
    let relay = agent.ready["relay"].as_str().expect("is on");
    let crowd: Vec<TcpStream> =
        (0..CROWD).map(|_| TcpStream::connect(relay).expect("the test may open so many files")).collect();
    for id in ["a", "b"] {
        assert_eq!(
            Http::connect(relay).post(COMPLETIONS, &[("x-api-key", KEY)], &completion(id)).status,
            201
        );
    }
    let connections = agent.metric("revenium_agent_connections");
    assert!(connections <= 1025.0, "{connections} connections at a time");
    drop(crowd);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn large_bodies_that_do_not_come_keep_nobody_from_sending() {
    let home = Home::new();
    home.configure(RELAY);
    let agent = home.start();
    let relay = agent.ready["relay"].as_str().expect("is on");
    // One MiB each, which is more than all bodies may have together.
    let half: Vec<TcpStream> = (0..70)
        .map(|_| {
            let mut stream = TcpStream::connect(relay).expect("listens");
            let head = format!(
                "POST {COMPLETIONS} HTTP/1.1\r\nHost: {relay}\r\nContent-Type: application/json\r\n\
                 Content-Length: 1048576\r\n\r\n{{"
            );
            stream.write_all(head.as_bytes()).expect("sent");
            stream
        })
        .collect();
    until("all are being read", || agent.metric("revenium_agent_connections"), |count| *count >= 70.0);
    assert_eq!(Http::connect(relay).post(COMPLETIONS, &[("x-api-key", KEY)], &completion("a")).status, 201);
    for mut stream in half {
        stream.set_nonblocking(true).expect("set");
        let error = stream.read(&mut [0]).expect_err("it was answered before it had run out of time");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn without_file_descriptors_the_relay_goes_on_once_there_are_some() {
    let home = Home::new();
    home.configure(RELAY);
    let mut command = home.command(&["run", "--config", "config.toml", "--ready-file", "ready"]);
    let program = command.get_program().to_owned();
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    // The same command with few files; prlimit is of util-linux, which every Debian has.
    command = {
        let mut few = std::process::Command::new("prlimit");
        few.arg("--nofile=64:64").arg(program).args(args).env_clear();
        few.env("HOME", home.path("")).env("PATH", "/usr/bin:/bin").current_dir(home.path(""));
        few
    };
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let ready = until(
        "it is ready",
        || std::fs::read(home.path("ready")).unwrap_or_default(),
        |ready| !ready.is_empty(),
    );
    let ready: serde_json::Value = serde_json::from_slice(&ready).expect("is JSON");
    let relay = ready["relay"].as_str().expect("is on");
    // Lines take files, too, and are never sent away for others.
    let lines: Vec<Line> = (0..60).map(|_| Line::connect(&home.socket())).collect();
    let crowd: Vec<TcpStream> =
        (0..60).map(|_| TcpStream::connect(relay).expect("the kernel accepts")).collect();
    drop(lines);
    let said = Http::connect(relay).post(COMPLETIONS, &[("x-api-key", KEY)], &completion("x"));
    assert_eq!(said.status, 201, "{said:?}");
    let mut line = Line::connect(&home.socket());
    line.send(format!("{}\n", completion("y")).as_bytes());
    assert_eq!(line.answer().expect("answered")["ok"], true);
    drop(crowd);
    child.kill().expect("is running");
    child.wait().expect("ends");
}
