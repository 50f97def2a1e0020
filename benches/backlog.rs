//! What a long outage of the upstream costs: a million events that wait.
//!
//! Resident memory once it is quiet, bytes on disk, the time to reopen after kill -9, and to make the
//! index anew. Marks: 100 MiB resident and idle; reopened within a second.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Agent, Home};
use load::Until;
use support::event::EVENT_BYTES;
use support::table::{Table, marked, per_second};
use support::{Mode, folder, median};

#[path = "support/disk.rs"]
mod disk;
#[path = "../tests/support/mod.rs"]
mod harness;
#[path = "support/load.rs"]
mod load;
mod support;

const RESIDENT_MIB_MAX: f64 = 100.0;
const REOPEN_S_MAX: f64 = 1.0;
/// Quiet: its processor time did not grow by more than this share of the time between two looks.
const QUIET_SHARE: f64 = 0.05;
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What does not become quiet by then is measured as it is.
const QUIET_AFTER_MAX: Duration = Duration::from_secs(30);

fn main() {
    let mode = Mode::of_environment();
    let events = mode.pick(50_000, 1_000_000);
    let dir = folder("backlog-");
    let home = Home::new_in(dir.path());
    home.configure("profiles.default.url = \"http://127.0.0.1:9\"\n");
    let mut floor = disk::flushes(dir.path(), 500);
    let agent = home.start();
    let sent = load::send(&home.socket(), 0, 4, 2_000, Until::Events(events));
    floor.extend(disk::flushes(dir.path(), 500));
    wait_quiet(&agent);
    let idle = resident_mib(&agent);
    let disk_bytes = bytes_on_disk(&home.path("data"));
    agent.kill();
    let mut table = Table::new(&["what", "figure", "of", "ratio"]);
    #[expect(clippy::cast_precision_loss)]
    let (fill, of_bytes) = {
        let fill = sent.events as f64 / sent.took.as_secs_f64();
        (fill, disk_bytes as f64 / (sent.events as f64 * EVENT_BYTES as f64))
    };
    let mut row = |what: &str, figure: String, of: &str, ratio: String| {
        table.row(&[what.to_owned(), figure, of.to_owned(), ratio]);
    };
    let flush = median(&floor).as_secs_f64();
    row(
        "taken in",
        format!("{}/s", per_second(fill)),
        "floor, one event a flush",
        marked(fill * flush, None, false),
    );
    row("on disk", format!("{} MiB", disk_bytes >> 20), "the events' bytes", marked(of_bytes, None, false));
    let resident = |mib: f64| (format!("{mib:.0} MiB"), marked(mib / RESIDENT_MIB_MAX, Some(1.0), true));
    let (figure, ratio) = resident(idle);
    row("resident, idle", figure, "mark, 100 MiB", ratio);
    let (started, ready, resident_after) = reopen(&home, mode);
    let (figure, ratio) = resident(resident_after);
    row("resident, idle, reopened", figure, "mark, 100 MiB", ratio);
    for (what, took) in [("kill -9 to started", started), ("kill -9 to /readyz 200", ready)] {
        let took = took.as_secs_f64();
        row(what, format!("{took:.2} s"), "mark, 1 s", marked(took / REOPEN_S_MAX, Some(1.0), true));
        row("", String::new(), "floor, flushes", marked(took / flush, None, false));
    }
    row("index made anew", format!("{:.2} s", make_anew(&home, mode).as_secs_f64()), "", String::new());
    println!("\nbacklog: {} events of {EVENT_BYTES} bytes wait, upstream closed", sent.events);
    table.print();
}

/// Medians of the time to the ready file and to readiness, and the memory of the last.
fn reopen(home: &Home, mode: Mode) -> (Duration, Duration, f64) {
    let rounds = mode.pick(1, 3);
    let (mut started, mut ready, mut resident) = (Vec::new(), Vec::new(), 0.0);
    for round in 1..=rounds {
        let began = Instant::now();
        let agent = home.start();
        started.push(began.elapsed());
        wait_ready(&agent, began);
        ready.push(began.elapsed());
        if round == rounds {
            wait_quiet(&agent);
            resident = resident_mib(&agent);
        }
        agent.kill();
    }
    (median(&started), median(&ready), resident)
}

/// The median of the time to readiness when the index is gone.
fn make_anew(home: &Home, mode: Mode) -> Duration {
    let mut took = Vec::new();
    for _ in 0..mode.pick(1, 3) {
        let store = home.path("data").join("store");
        for name in harness::names(&store).iter().filter(|name| name.starts_with("index-")) {
            std::fs::remove_dir_all(store.join(name)).expect("removed");
        }
        let began = Instant::now();
        let agent = home.start();
        wait_ready(&agent, began);
        took.push(began.elapsed());
        agent.kill();
    }
    median(&took)
}

fn wait_ready(agent: &Agent, began: Instant) {
    while agent.get("/readyz").0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "it is never ready:\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn wait_quiet(agent: &Agent) {
    let (began, mut before) = (Instant::now(), processor_s(agent));
    while began.elapsed() < QUIET_AFTER_MAX {
        std::thread::sleep(LOOK_EVERY);
        let now = processor_s(agent);
        if now - before < QUIET_SHARE * LOOK_EVERY.as_secs_f64() {
            return;
        }
        before = now;
    }
}

/// Processor time that it has used.
fn processor_s(agent: &Agent) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.pid())).expect("it runs");
    let after_name = stat.rsplit(')').next().expect("has a name");
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    // USER_HZ is 100 on every architecture that we build for.
    ticks / 100.0
}

fn resident_mib(agent: &Agent) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it runs");
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<f64>().ok()).expect("has VmRSS") / 1024.0
}

/// As `du` counts.
fn bytes_on_disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("listed").map(|entry| entry.expect("listed"));
    let of = |entry: std::fs::DirEntry| {
        let meta = entry.metadata().expect("looked at");
        if meta.is_dir() { bytes_on_disk(&entry.path()) } else { meta.blocks() * 512 }
    };
    entries.map(of).sum()
}
