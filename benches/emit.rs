//! What emitting costs the application, with the real agent and its log on this disk.
//!
//! `emit` is timed alone: events are built before. Nothing is delivered meanwhile: the upstream is a closed
//! port. The floor is one non-blocking send of as many bytes into a socket that a thread empties, in the same
//! run. The emitter's memory is that of a process of its own, this program again, before and after it has
//! emitted and gone idle.
//! Marks: p50 at most 5 us to the kernel, 500 ns buffered; 2 MiB resident.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::Home;
use revenium_emitter::{Builder, Emitted, Emitter, Event};
use rustix::net::SendFlags;
use support::event::{EVENT_BYTES, events};
use support::table::{Table, marked};
use support::{Mode, folder, quantile};

#[path = "../tests/support/mod.rs"]
mod harness;
mod support;

const KERNEL_P50_MAX: Duration = Duration::from_micros(5);
const BUFFERED_P50_MAX: Duration = Duration::from_nanos(500);
const RESIDENT_MIB_MAX: f64 = 2.0;

/// Events between pauses, in which the agent answers: bursts that memory holds.
const BURST: usize = 100;

const VARIABLE: &str = "REVENIUM_BENCH_IDLE";

fn main() {
    if std::env::var_os(VARIABLE).is_some() {
        return idle();
    }
    let mode = Mode::of_environment();
    let bursts = mode.pick(50, 1_000);
    let dir = folder("emit-");
    let home = Home::new_in(dir.path());
    home.configure("profiles.default.url = \"http://127.0.0.1:9\"\n");
    let agent = home.start();
    let builder = || Emitter::builder().socket(home.socket()).spool(home.path("spool"));
    println!(
        "\nemit: {EVENT_BYTES}-byte events in bursts of {BURST}, upstream closed, {bursts} bursts a row"
    );
    let mut table = Table::new(&["how", "events", "p50 ns", "p99 ns", "p99.9 ns", "of mark"]);
    let mut row = |how: &str, took: &[Duration], mark: Option<Duration>| {
        let nanos = |q| quantile(took, q).as_nanos().to_string();
        let of_mark = mark.map(|mark| quantile(took, 0.5).as_secs_f64() / mark.as_secs_f64());
        table.row(&[
            how.to_owned(),
            took.len().to_string(),
            nanos(0.5),
            nanos(0.99),
            nanos(0.999),
            of_mark.map_or_else(|| "-".to_owned(), |ratio| marked(ratio, Some(1.0), true)),
        ]);
    };
    row("floor: a send", &floor(bursts), None);
    row("to the kernel", &emits(builder(), bursts, Some(Emitted::Sent)), Some(KERNEL_P50_MAX));
    row("buffered", &emits(builder().buffered(true), bursts, Some(Emitted::Queued)), Some(BUFFERED_P50_MAX));
    row("floor: a send", &floor(bursts), None);
    table.print();
    let (before, after) = idle_of_own(&home);
    let mib = |kib: u64| f64::from(u32::try_from(kib).expect("less than 4 TiB")) / 1024.0;
    let cost = mib(after.saturating_sub(before));
    println!("  resident: {:.2} MiB before, {:.2} MiB idle after 1,000 events", mib(before), mib(after));
    println!("  the emitter's: {} MiB\n", marked(cost, Some(RESIDENT_MIB_MAX), true));
    agent.kill();
}

/// How long each `emit` took that came to `wanted`.
fn emits(builder: Builder, bursts: usize, wanted: Option<Emitted>) -> Vec<Duration> {
    let emitter = builder.build();
    let bodies = events(7, BURST);
    let mut took = Vec::with_capacity(bursts * BURST);
    // The first event starts the thread.
    emitter.emit(Event::from_json(&bodies[0]).expect("JSON"));
    for _ in 0..bursts {
        assert!(emitter.flush(Duration::from_secs(30)).is_complete(), "the agent keeps up");
        let burst: Vec<Event> = bodies.iter().map(|body| Event::from_json(body).expect("JSON")).collect();
        for event in burst {
            let began = Instant::now();
            let emitted = emitter.emit(event);
            let passed = began.elapsed();
            if wanted == Some(emitted) {
                took.push(passed);
            }
        }
    }
    let emitted = emitter.stats();
    assert_eq!((emitted.dropped(), emitted.spooled), (0, 0), "nothing went another way");
    took
}

/// How long sends of as many bytes take.
fn floor(bursts: usize) -> Vec<Duration> {
    let (near, mut far) = UnixStream::pair().expect("a pair");
    let reader = std::thread::spawn(move || {
        let mut room = vec![0; 256 << 10];
        while far.read(&mut room).expect("reads") > 0 {}
    });
    let body = &events(7, 1)[0];
    let mut took = Vec::with_capacity(bursts * BURST);
    for _ in 0..bursts {
        std::thread::sleep(Duration::from_micros(500));
        for _ in 0..BURST {
            let began = Instant::now();
            let sent = rustix::net::send(&near, body, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            let passed = began.elapsed();
            if sent == Ok(body.len()) {
                took.push(passed);
            }
        }
    }
    drop(near);
    reader.join().expect("no panic");
    took
}

/// What an idle process has resident, in KiB: without an emitter, and with one that has emitted.
fn idle_of_own(home: &Home) -> (u64, u64) {
    let mut command = Command::new(std::env::current_exe().expect("is there"));
    command.env(VARIABLE, "1").env("REVENIUM_AGENT_SOCKET", home.socket()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut number = || lines.next().expect("says").expect("reads").parse().expect("a number");
    let found = (number(), number());
    child.wait().expect("ends");
    found
}

/// The process that is measured.
fn idle() {
    let mut out = std::io::stdout();
    writeln!(out, "{}", resident_kib()).expect("somebody listens");
    let emitter = Emitter::new();
    for body in events(7, 1_000) {
        emitter.emit(Event::from_json(body).expect("JSON"));
    }
    assert!(emitter.flush(Duration::from_secs(30)).is_complete(), "the agent keeps up");
    writeln!(out, "{}", resident_kib()).expect("somebody listens");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("is in it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
