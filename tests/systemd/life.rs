//! The service's life: ready, killed, hung, stopped.

use crate::load::Load;
use crate::machine::Machine;
use crate::support::{KEY, Line, Producer, completion, until};

#[test]
fn it_is_ready_once_its_socket_answers_and_its_status_says_how_it_does() {
    let machine = Machine::new();
    machine.start();
    // As an application in another container does, of whose process the agent's kernel tells nothing.
    let mut line = Line::connect(&machine.path("/run/revenium/agent.sock"));
    assert_eq!(line.ask(&completion("m"))["ok"], true);
    assert_eq!((machine.show("SubState").as_str(), machine.show("NRestarts").as_str()), ("running", "0"));
    let status = machine.wait_show("StatusText", |status| status.starts_with("1 waiting, oldest "));
    assert!(status.contains(" s; last delivered: not since start; degraded: "), "{status}");
    // For the admin's eyes it is on the service's page, and the log is the journal's.
    let page = machine.sh("systemctl status revenium-agent").out;
    assert!(page.contains("Status: \"1 waiting, oldest ") && page.contains(" started socket="), "{page}");
}

#[test]
fn killed_under_load_it_comes_back_with_all_that_it_had_acknowledged() {
    let machine = Machine::new();
    machine.start();
    let load = Load::begin(&machine);
    for kills in ["1", "2"] {
        load.wait_more(200);
        machine.run("systemctl kill --signal KILL revenium-agent");
        machine.wait_show("NRestarts", |restarts| restarts == kills);
    }
    load.wait_more(200);
    machine.wait_stored(load.finish().events);
}

#[test]
fn stopped_under_load_it_ends_well_and_has_all_that_it_had_acknowledged() {
    let machine = Machine::new();
    machine.start();
    let load = Load::begin(&machine);
    load.wait_more(200);
    machine.run("systemctl stop revenium-agent");
    assert_eq!((machine.show("Result").as_str(), machine.show("ExecMainStatus").as_str()), ("success", "0"));
    assert!(machine.journal().contains("every connection was answered and closed"), "{}", machine.journal());
    machine.start();
    load.wait_more(200);
    machine.wait_stored(load.finish().events);
}

#[test]
fn what_was_delivered_is_on_its_page_with_how_long_ago() {
    let machine = Machine::new();
    // Where the configuration says that the upstream is.
    let sandbox = format!("revenium-agent sandbox --listen 127.0.0.1:9 --key {KEY}=team");
    machine.run(&format!("systemd-run --quiet --unit=sandbox {sandbox}"));
    machine.start();
    let mut line = Line::connect(&machine.path("/run/revenium/agent.sock"));
    assert_eq!(line.ask(&completion("m"))["ok"], true);
    machine.wait_show("StatusText", |status| {
        let delivered = status.strip_prefix("0 waiting; last delivered: ");
        delivered.is_some_and(|ago| ago.contains(" ago"))
    });
}

#[test]
fn a_log_that_takes_longer_to_open_than_a_start_may_is_given_the_time() {
    /// Each a chunk of the log, and so two reads for whoever passes it.
    const EVENTS: u64 = 150;
    let machine = Machine::new();
    machine.start();
    Producer::new(1).run(&machine.path("/run/revenium/agent.sock"), EVENTS, 1).expect("durable");
    machine.wait_stored(EVENTS);
    machine.run("systemctl stop revenium-agent; rm -r /var/lib/revenium-agent/store/index-*");
    let segments = machine.run("ls -d /var/lib/revenium-agent/store/seg-*");
    let paths: String = segments.lines().map(|path| format!(" -P {path}")).collect();
    // Traced by a process beside it, so that the service's is the agent.
    machine.drop_in(&format!(
        "[Service]\nTimeoutStartSec=4s\nSystemCallFilter=\nExecStart=\nExecStart=/usr/bin/strace -D -f -qq \
         -o /dev/null -e trace=pread64 -e inject=pread64:delay_enter=30ms{paths} /usr/bin/revenium-agent run\n"
    ));
    machine.start();
    assert_eq!((machine.show("SubState").as_str(), machine.show("NRestarts").as_str()), ("running", "0"));
    let at = |name: &str| machine.show(name).parse::<u64>().expect("a number");
    let took_us = at("ActiveEnterTimestampMonotonic") - at("InactiveExitTimestampMonotonic");
    assert!(took_us > 4_000_000, "it was opened in {took_us} us: this shows nothing");
}

#[test]
fn what_is_on_its_way_when_it_is_stopped_has_the_time_that_it_is_given() {
    let machine = Machine::new();
    machine.drop_in("[Service]\nTimeoutStopSec=5s\n");
    machine.write("/run/silent.py", "0644", SILENT);
    machine.run("systemd-run --quiet --unit=silent python3 /run/silent.py");
    until("the upstream listens", || machine.sh("test -e /run/listens").code, |code| *code == Some(0));
    machine.start();
    let mut line = Line::connect(&machine.path("/run/revenium/agent.sock"));
    assert_eq!(line.ask(&completion("m"))["ok"], true);
    until("the event is on its way", || machine.sh("test -e /run/asked").code, |code| *code == Some(0));
    machine.run("systemctl stop revenium-agent");
    assert_eq!((machine.show("Result").as_str(), machine.show("ExecMainStatus").as_str()), ("success", "0"));
}

#[test]
fn an_outage_feeds_the_watchdog_and_a_process_or_a_log_that_hangs_starves_it() {
    let machine = Machine::new();
    machine.drop_in("[Service]\nWatchdogSec=2s\n");
    machine.start();
    let socket = machine.path("/run/revenium/agent.sock");
    // The upstream is away from the start, and an event waits for it.
    assert_eq!(Line::connect(&socket).ask(&completion("m"))["ok"], true);
    let fed_for = || {
        let microseconds = |name: &str| machine.show(name).parse::<u64>().expect("a number");
        microseconds("WatchdogTimestampMonotonic") - microseconds("ActiveEnterTimestampMonotonic")
    };
    until("it is fed for three times its wait", fed_for, |us| *us > 6_000_000);
    assert_eq!(machine.show("NRestarts"), "0");

    machine.run("systemctl kill --signal STOP revenium-agent");
    machine.wait_show("NRestarts", |restarts| restarts == "1");
    machine.wait_show("SubState", |state| state == "running");

    // A flush that does not return, in the committer and nowhere else.
    machine.write("/run/hang.sh", "0755", HANG);
    machine.run("systemd-run --quiet --unit=hang sh /run/hang.sh");
    until("the committer is held", || machine.sh("cat /run/held").out, |held| held.contains("attached"));
    let event = completion("m").replacen('{', "{\"transactionId\":\"t-1\",", 1);
    let mut line = Line::connect(&socket);
    line.send(format!("{event}\n").as_bytes());
    let starved = || machine.journal().matches("Watchdog timeout").count();
    until("the watchdog is starved", starved, |count| *count == 2);
    // What holds the thread holds its end as well.
    machine.run("systemctl kill --signal KILL hang");
    machine.wait_show("NRestarts", |restarts| restarts == "2");
    assert!(line.answer().is_none(), "what was not flushed was not acknowledged");
    machine.wait_show("SubState", |state| state == "running");
    // Whether it had been written depends on which flush it was. Sent again, it is stored once either way.
    assert_eq!(Line::connect(&socket).ask(&event)["ok"], true);
    machine.wait_stored(2);
}

/// Makes the next flush of the committer's thread take for ever.
const HANG: &str = r#"
pid=$(systemctl show revenium-agent -p MainPID --value)
for task in /proc/$pid/task/*; do
    if [ "$(cat "$task/comm")" = store-commit ]; then
        exec strace -p "${task##*/}" -e trace=fdatasync,fsync -e inject=fdatasync,fsync:delay_enter=1000000000 2> /run/held
    fi
done
echo no committer >&2
exit 1
"#;

/// An upstream that takes requests and answers none.
const SILENT: &str = r#"
import socket
listener = socket.create_server(('127.0.0.1', 9))
open('/run/listens', 'w').close()
kept = []
while True:
    kept.append(listener.accept()[0])
    if kept[-1].recv(65536):
        open('/run/asked', 'w').close()
"#;
