//! Long work says how far it is: bars on a terminal, lines and status elsewhere.
//!
//! The work is made long by strace, which delays each read of the log, or each flush: what is waited for
//! is then there for seconds, on any machine.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Agent, Home, Line, Producer, Sandbox, Terminal, completion, names, until, unused_address,
};

/// Each a chunk of the log, and so two reads for whoever passes it.
const EVENTS: u64 = 150;

/// With it, passing the log once takes two seconds; opening it passes it twice.
const DELAY: &str = "7ms";
const LONG_DELAY: &str = "20ms";

const RUN: [&str; 5] = ["run", "--ready-file", "ready", "--config", "config.toml"];

/// A stopped agent with a log of many chunks and no index, and where its events will be sent.
fn without_index() -> (Home, String) {
    let home = Home::new();
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), "");
    let agent = home.start();
    Producer::new(1).run(&home.socket(), EVENTS, 1).expect("durable");
    home.wait_status("the index has them", |status| status["profiles"][0]["waiting"] == EVENTS);
    assert_eq!(agent.stop().code, Some(0));
    for index in below_store(&home, "index-") {
        fs::remove_dir_all(index).expect("removed");
    }
    (home, address)
}

fn below_store(home: &Home, prefix: &str) -> Vec<PathBuf> {
    let store = home.path("data").join("store");
    names(&store).into_iter().filter(|name| name.starts_with(prefix)).map(|name| store.join(name)).collect()
}

/// Fails unless everything is delivered, once, by an agent that was started as ever.
fn assert_delivered_once(home: &Home, address: &str, agent: Agent) {
    let sandbox = home.sandbox_on(address, &[]);
    home.wait_drained();
    sandbox.wait_billed(usize::try_from(EVENTS).expect("few"));
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_long_start_says_how_far_it_is_and_killed_in_the_middle_it_begins_again() {
    let (home, address) = without_index();
    let log = below_store(&home, "seg-");
    let opening = home.launch(&mut home.slowed("pread64", LONG_DELAY, &log, &RUN));
    opening.wait_for("log: being read");
    let status = home.status();
    let waits = status["waiting_for"].to_string();
    let is_told = waits.contains("log: being read: ") && waits.contains(" to go");
    assert!(is_told && !waits.contains(": 0 %"), "{waits}");
    assert!(status["reasons"].to_string().contains("not ready: log: being read: "), "{status}");
    assert!(!opening.log().contains('\u{1b}'), "{}", opening.log());
    opening.kill();

    let manager = UnixDatagram::bind(home.path("notify")).expect("bound");
    let mut slowed = home.slowed("pread64", DELAY, &log, &RUN);
    let making = home.launch(slowed.env("NOTIFY_SOCKET", home.path("notify")));
    // It does not answer at once.
    let status = || home.run(&["status", "--json"]).stdout;
    let status = until("the index is made", status, |status| status.contains("[\"index: being made anew: "));
    assert!(status.contains(" % of ") && status.contains("\"health\":\"degraded\""), "{status}");
    making.wait_for("started");
    let told = hear(&manager, "index: being made anew: ");
    assert!(told.iter().any(|line| line.starts_with("STATUS=starting: log: being read: ")));
    let last = told.last().expect("was heard");
    assert!(last.contains("; degraded: not ready: index: ") && last.contains(" % of "), "{last}");
    let nth = |text: &str| told.iter().position(|line| line.starts_with(text));
    let opened = told.iter().rposition(|line| line.starts_with("STATUS=starting: log: ")).expect("was heard");
    assert_eq!(told.iter().filter(|line| *line == "READY=1").count(), 1, "{told:#?}");
    assert!(nth("READY=1") > Some(opened), "{told:#?}");
    assert!(nth("EXTEND_TIMEOUT_USEC=").is_some_and(|at| Some(at) < nth("READY=1")), "{told:#?}");
    making.kill();

    let agent = home.start();
    agent.wait_for("the index is being made anew from the log");
    agent.wait_for("the index is made anew ");
    assert_delivered_once(&home, &address, agent);
}

/// The lines that a service manager hears, up to one with `text`.
fn hear(manager: &UnixDatagram, text: &str) -> Vec<String> {
    manager.set_nonblocking(true).expect("set");
    let (mut heard, mut message) = (Vec::new(), [0; 4096]);
    let mut listen = || {
        while let Ok(bytes) = manager.recv(&mut message) {
            let lines = std::str::from_utf8(&message[..bytes]).expect("UTF-8").lines();
            heard.extend(lines.map(str::to_owned));
        }
        heard.clone()
    };
    let is_said = |heard: &Vec<String>| heard.last().is_some_and(|line| line.contains(text));
    until("the service manager hears it", &mut listen, is_said)
}

/// What a person sees of it: the last text of each line.
fn screen(drawn: &str) -> Vec<&str> {
    drawn.split("\r\n").map(|line| line.rsplit("\r\u{1b}[K").next().unwrap_or_default()).collect()
}

fn on_terminal(home: &Home, terminal: &Terminal, mut command: std::process::Command) -> Child {
    let command = command.env("TERM", "xterm").stderr(terminal.stdio()).stdout(terminal.stdio());
    command.current_dir(home.path("")).spawn().expect("starts")
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("is running");
}

#[test]
fn on_a_terminal_a_long_start_has_a_bar_below_whole_log_lines_and_takes_it_away() {
    let (home, address) = without_index();
    let log = below_store(&home, "seg-");
    let terminal = Terminal::new(72);
    let mut agent = on_terminal(&home, &terminal, home.slowed("pread64", DELAY, &log, &RUN));
    terminal.wait_for("log: being read [#");
    terminal.wait_for("index: being made anew [#");
    // A line in the middle of it.
    Line::connect(&home.socket()).send(b"no event\n");
    terminal.wait_for("the index is made anew ");
    let ended = |drawn: &String| screen(drawn).last() == Some(&"");
    until("the bar goes", || terminal.drawn(), ended);
    signal(&agent, Signal::INT);
    assert_eq!(agent.wait().expect("ends").code(), Some(0));
    let drawn = terminal.wait_for("stopped");
    for line in screen(&drawn) {
        assert!(line.is_empty() || line.contains("INFO") || line.contains("WARN"), "{line:?} in\n{drawn}");
    }
    assert!(!drawn.contains("cannot claim"), "what is expected is no warning:\n{drawn}");
    for bar in drawn.split("\r\u{1b}[K").filter(|text| text.starts_with("index: being made anew [")) {
        assert!(bar.chars().count() < 72, "{bar}");
    }
    assert_delivered_once(&home, &address, home.start());
}

#[test]
fn a_flush_has_a_bar_on_a_terminal_and_no_control_characters_elsewhere() {
    let home = Home::new();
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), "drain.backoff_max = \"1s\"\n");
    let agent = home.start();
    Producer::new(1).run(&home.socket(), 20, 20).expect("durable");
    let flush = ["flush", "--deadline", "1h", "--config", "config.toml"];
    let terminal = Terminal::new(100);
    let mut waits = on_terminal(&home, &terminal, home.command(&flush));
    terminal.wait_for("\r\u{1b}[Kflushing [..");
    let interrupted = Terminal::new(100);
    let mut given_up = on_terminal(&home, &interrupted, home.command(&flush));
    interrupted.wait_for("0 of 20 events, 0 %");
    signal(&given_up, Signal::INT);
    assert_eq!(given_up.wait().expect("ends").code(), None);
    let drawn = interrupted.drawn();
    assert!(!drawn.contains("\u{1b}[?"), "a mode of the terminal was changed: {drawn:?}");

    for (name, value) in [("TERM", "dumb"), ("NO_COLOR", "1")] {
        let plain = Terminal::new(100);
        let mut command = home.command(&["flush", "--deadline", "300ms", "--config", "config.toml"]);
        command.env("TERM", "xterm").env(name, value);
        let mut late = command.stderr(plain.stdio()).spawn().expect("starts");
        assert_eq!(late.wait().expect("ends").code(), Some(1));
        assert!(!plain.drawn().contains('\u{1b}'), "{name}: {:?}", plain.drawn());
    }
    let piped = home.launch(&mut home.command(&flush));
    piped.wait_for("0 of 20 events, 0 %");
    piped.signal(Signal::INT);
    let piped = piped.end();
    assert!(piped.code.is_none() && !piped.stderr.contains(['\u{1b}', '\r']), "{:?}", piped.stderr);
    let late = home.run(&["flush", "--deadline", "300ms"]);
    assert!(late.code == Some(1) && !late.stderr.contains('\u{1b}'), "{}", late.stderr);

    let sandbox = home.sandbox_on(&address, &[]);
    assert_eq!(waits.wait().expect("ends").code(), Some(0));
    let drawn = terminal.wait_for("flushed: everything that was durable is out");
    assert_eq!(screen(&drawn).concat(), "flushed: everything that was durable is out", "{drawn:?}");
    sandbox.wait_billed(20);
    agent.stop();
}

const LETTERS: usize = 600;

const RETRY: [&str; 5] = ["dlq", "retry", "--all", "--config", "config.toml"];

/// An agent with so many letters, whose flushes take `delay` each.
fn with_letters(home: &Home, sandbox: &Sandbox, delay: &str) -> Agent {
    home.deliver_to(sandbox, "");
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    let event = completion("m").replace('{', "{\"profile\":\"later\",");
    for _ in 0..LETTERS {
        assert_eq!(line.ask(&event)["code"], "invalid");
    }
    agent.stop();
    let url = sandbox.url();
    home.deliver_to(
        sandbox,
        &format!("profiles.later.url = \"{url}\"\nprofiles.later.api_key_file = \"key\"\n"),
    );
    let agent = home.launch(&mut home.slowed("fdatasync", delay, &[], &RUN));
    agent.wait_for("started");
    home.wait_status("all letters are counted", |status| {
        let is_counted = status["profiles"].to_string().contains(&format!("\"dead\":{LETTERS}"));
        is_counted && status["waiting_for"].as_array().is_some_and(Vec::is_empty)
    });
    agent
}

#[test]
fn many_letters_that_are_retried_have_a_bar_on_a_terminal() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    let agent = with_letters(&home, &sandbox, "300ms");
    let terminal = Terminal::new(100);
    let mut retry = on_terminal(&home, &terminal, home.command(&RETRY));
    assert_eq!(retry.wait().expect("ends").code(), Some(0));
    let drawn = terminal.wait_for("retried: 600 letters");
    assert!(drawn.contains("\r\u{1b}[Kretrying [####"), "{drawn:?}");
    assert!(
        drawn.contains("] 256 of 600 letters, 42 %") && drawn.contains("] 512 of 600 letters"),
        "{drawn:?}"
    );
    assert_eq!(screen(&drawn).concat(), "retried: 600 letters", "{drawn:?}");
    home.wait_drained();
    sandbox.wait_billed(LETTERS);
    agent.stop();
}

#[test]
fn many_letters_that_are_retried_have_lines_elsewhere() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    // The three steps of it take longer than what passes between two lines, and none, of several flushes, as long as
    // the agent waits for one.
    let agent = with_letters(&home, &sandbox, "2s");
    let retry = home.launch(&mut home.command(&RETRY));
    retry.wait_for(" of 600 letters, ");
    retry.signal(Signal::INT);
    let said = retry.end().stderr;
    assert!(said.starts_with("retrying: ") && !said.contains(['\u{1b}', '\r']), "{said:?}");
    agent.kill();
}

#[test]
fn a_file_that_is_sent_has_a_bar_and_refusals_are_named_above_it() {
    let home = Home::new();
    let agent = home.launch(&mut home.slowed("fdatasync", "300ms", &[], &RUN));
    agent.wait_for("started");
    // More than is outstanding at once.
    let events = format!("{}\n", completion("m")).repeat(1_000);
    home.write("events.jsonl", &format!("{events}no event\n{events}"));
    let terminal = Terminal::new(100);
    let send = ["send", "--socket", "agent.sock", "--file", "events.jsonl"];
    let mut send = on_terminal(&home, &terminal, home.command(&send));
    assert_eq!(send.wait().expect("ends").code(), Some(1));
    let drawn = terminal.wait_for("durable: 2000 events");
    assert!(drawn.contains("\r\u{1b}[Ksending [#") && drawn.contains("] 51 % of 156.2 KiB"), "{drawn:?}");
    let shown = screen(&drawn);
    assert!(shown[0].starts_with("line 1001: ") && shown[1..] == ["durable: 2000 events", ""], "{drawn:?}");
    agent.stop();
}

#[test]
fn a_log_that_takes_long_to_count_has_a_bar_on_a_terminal_and_lines_elsewhere() {
    let (home, _) = without_index();
    let log = below_store(&home, "seg-");
    let reconcile = ["reconcile", "--config", "config.toml"];
    let terminal = Terminal::new(100);
    let mut counts = on_terminal(&home, &terminal, home.slowed("pread64", DELAY, &log, &reconcile));
    assert_eq!(counts.wait().expect("ends").code(), Some(0));
    let drawn = terminal.wait_for("no agent runs");
    assert!(drawn.contains("\r\u{1b}[Kcounting the log [#"), "{drawn:?}");
    let said = format!("balanced: each of {EVENTS} events is accounted for; no agent runs");
    assert!(screen(&drawn).contains(&&*said), "{drawn:?}");
    assert!(!screen(&drawn).concat().contains("counting"), "{drawn:?}");

    let piped = home.launch(&mut home.slowed("pread64", LONG_DELAY, &log, &reconcile));
    piped.wait_for("counting the log: ");
    piped.kill();
}
