//! A whole machine that is killed with -9, kernel and all, while an agent runs in it.
//!
//! Clients outside send to the agent's relay through the network that QEMU makes, and keep their books; the same disk is
//! booted again, and the storm's oracle judges. Other than `tests/power`, where the agent runs on a file system that
//! forgets, here a real kernel and its file system forget, with all that the agent had not flushed; other than by the
//! storm, the page cache is gone, too.
//!
//! It takes minutes, and what `tests/machine.sh` installs: it does nothing unless `REVENIUM_QEMU_ROUNDS` says how
//! often to kill. `REVENIUM_CRASH_SEED` is where chance begins.

mod parts;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parts::{Parts, TOKEN};
use revenium_agent::sandbox::read_journal;

use crate::agent::{Life, Log};
use crate::caller::Caller;
use crate::dice::{self, Dice};
use crate::event::{Identity, Source};
use crate::oracle::{self, Equals};
use crate::stage::Stage;
use crate::support::{Home, KEY, Sandbox, unused_address};
use crate::upstream::{self, Weather};

const CALLERS: [&str; 4] = ["first", "second", "third", "fourth"];
/// Events of each between two kills, at most.
const MORE_MAX: u64 = 120;
/// A kill comes so long after an acknowledgement at most: within some commits.
const SOON: Duration = Duration::from_millis(30);
/// In so many lives, one is ended while the machine starts.
const STARTING_ONE_IN: u64 = 5;
/// For all to be delivered in the end. The machine is computed, and so slow.
const DRAIN_MAX: Duration = Duration::from_secs(600);
const LOOK_EACH: Duration = Duration::from_millis(200);
/// Looks in a row at which nothing waits, after which nothing will be billed any more.
const IDLE_LOOKS: u32 = 150;

/// Says how it stood if the test fails.
struct Account {
    seed: u64,
    log: Arc<Log>,
}

impl Drop for Account {
    fn drop(&mut self) {
        if thread::panicking() {
            say(&format!(
                "repeat with REVENIUM_CRASH_SEED={}; its last lines:\n{}",
                self.seed,
                self.log.tail()
            ));
        }
    }
}

#[test]
fn what_was_acknowledged_is_billed_once_however_often_its_machine_is_killed() {
    let Some(rounds) = dice::number("REVENIUM_QEMU_ROUNDS") else {
        return say("not run, as it takes minutes: tests/machine.sh runs it");
    };
    let seed = dice::seed("REVENIUM_CRASH_SEED");
    let mut dice = Dice::new(seed);
    let home = Home::new();
    let account = Account { seed, log: Log::new(&home.path("console.log")) };
    let args = ["--key", &format!("{KEY}=default"), "--faults", &dice.throw().to_string()];
    let sandbox = Sandbox::start(&home.path("journal"), &args);
    upstream::set_weather(&sandbox, Weather::Gale, &mut dice);
    let parts = Parts::make(&home, &sandbox);
    let (relay, admin) = (unused_address(), unused_address());
    let boot = || Life::of(parts.command(&relay, &admin), &account.log);

    let stage = Arc::new(Stage::new([1; CALLERS.len()]));
    stage.set_away(true);
    let start = |(who, name)| {
        let source =
            Source { name, identity: Identity::Key, profile: "default", seed: dice.throw(), filler_bytes: 0 };
        Caller::new(who, source, &stage, format!("{relay}/token/{TOKEN}"), None, dice.fork()).start()
    };
    let callers: Vec<_> = CALLERS.into_iter().enumerate().map(start).collect();
    let (mut start_took, mut in_start) = (Duration::from_secs(10), 0);
    for round in 0..rounds {
        let machine = boot();
        if round > 0 && dice.one_in(STARTING_ONE_IN) {
            thread::sleep(dice.duration(start_took));
            machine.kill();
            in_start += 1;
            continue;
        }
        start_took = machine.wait_started();
        stage.set_away(false);
        let before = stage.acknowledged();
        let more = [(); CALLERS.len()].map(|()| dice.between(0..=MORE_MAX));
        stage.allow(&more);
        stage.wait_acknowledged(before + dice.between(0..=more.iter().sum()));
        thread::sleep(dice.duration(SOON));
        machine.kill();
        stage.set_away(true);
    }
    // One last life, to the end.
    let machine = boot();
    machine.wait_started();
    stage.set_away(false);
    stage.wait_quiet();
    stage.finish();
    let books: Vec<_> = callers.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    upstream::set_weather(&sandbox, Weather::Calm, &mut dice);
    let sent: u64 = books.iter().map(|book| book.fates.len() as u64).sum();
    wait_billed(&sandbox, sent, &admin);
    let lost = metric(&admin, "revenium_agent_lost_events");
    let imbalance = metric(&admin, "revenium_agent_ledger_imbalance");
    machine.kill();

    let journal = read_journal(&home.path("journal")).expect("a journal");
    let verdict = oracle::judge(&journal, &books, &Equals { marker: "equal", keys: Vec::new() });
    let acknowledged: u64 = verdict.ways.values().map(|way| way.acknowledged).sum();
    say(&format!(
        "seed {seed}, {rounds} kills, {in_start} of them of a machine that was starting; {sent} events, {acknowledged} \
         acknowledged, {} billed; {} resends; a start took {start_took:.0?}",
        verdict.billed,
        books.iter().map(|book| book.resent).sum::<u64>(),
    ));
    verdict.assert_flawless();
    assert_eq!((lost, imbalance), (0.0, 0.0), "lost and unaccounted for, as the agent says itself");
    account.log.assert_no_errors();
}

/// Returns once so many records are billed; or nothing waits any more, and has not for a while, which is for the
/// oracle to judge.
fn wait_billed(sandbox: &Sandbox, records: u64, admin: &str) {
    let (deadline, mut idle) = (Instant::now() + DRAIN_MAX, 0);
    while upstream::snapshot(sandbox).counts.billed < records && idle < IDLE_LOOKS {
        assert!(Instant::now() < deadline, "not all of {records} are billed after {DRAIN_MAX:?}");
        thread::sleep(LOOK_EACH);
        idle = if metric(admin, "revenium_agent_log_events") == 0.0 { idle + 1 } else { 0 };
    }
}

/// A metric, added up over its labels.
fn metric(admin: &str, name: &str) -> f64 {
    let mut stream = TcpStream::connect(admin).expect("forwarded");
    write!(stream, "GET /metrics HTTP/1.0\r\nhost: {admin}\r\n\r\n").expect("sent");
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).expect("answered");
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    let values = lines.map(|line| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok()));
    let values: Vec<f64> = values.map(|value| value.expect("a number")).collect();
    assert!(!values.is_empty(), "no {name} in\n{metrics}");
    values.iter().sum()
}

/// On stderr itself, which the test harness doesn't hold back.
fn say(what: &str) {
    let _ = writeln!(io::stderr(), "machines that are killed: {what}");
}
