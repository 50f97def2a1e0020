//! Delivery of a backlog, from the first delivery to the last, with the pace out of the way.
//!
//! Events are taken while the upstream is a closed port; then the agent is started again with a
//! stand-in that only counts. The pace is fixed at the most that the configuration allows, 100,000
//! requests a second. Marks: 8,000/s when it answers at once, 900/s after 300 ms with 300 in flight.

use std::time::{Duration, Instant};

use harness::{Agent, Home, KEY};
use load::Until;
use support::table::{Table, marked, per_second};
use support::{Mode, folder, median};
use upstream::Upstream;

#[path = "support/disk.rs"]
mod disk;
#[path = "../tests/support/mod.rs"]
mod harness;
#[path = "support/load.rs"]
mod load;
mod support;
#[path = "support/upstream.rs"]
mod upstream;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Without a delivery for so long, the measurement has failed.
const QUIET_MAX: Duration = Duration::from_secs(60);

struct Case {
    latency_ms: u64,
    in_flight_max: u32,
    events: u64,
    mark: f64,
}

fn main() {
    let mode = Mode::of_environment();
    let cases = [
        Case { latency_ms: 0, in_flight_max: 0, events: mode.pick(20_000, 200_000), mark: 8_000.0 },
        Case { latency_ms: 300, in_flight_max: 300, events: mode.pick(3_000, 9_000), mark: 900.0 },
    ];
    println!("\ndrain: a backlog delivered to a stand-in that only counts, pace fixed at 100,000/s");
    let mut table =
        Table::new(&["answers after", "in flight", "events", "events/s", "floor/s", "of floor/s", "of mark"]);
    for case in cases {
        let (rate, floor) = measure(&case);
        table.row(&[
            format!("{} ms", case.latency_ms),
            if case.in_flight_max == 0 { "default".to_owned() } else { case.in_flight_max.to_string() },
            case.events.to_string(),
            per_second(rate),
            per_second(floor),
            marked(rate / floor, None, false),
            marked(rate / case.mark, Some(1.0), false),
        ]);
    }
    table.print();
}

/// Deliveries a second, and flushes a second around them.
fn measure(case: &Case) -> (f64, f64) {
    let dir = folder("drain-");
    let home = Home::new_in(dir.path());
    home.configure("profiles.default.url = \"http://127.0.0.1:9\"\n");
    let agent = home.start();
    let sent = load::send(&home.socket(), 0, 4, 256, Until::Events(case.events));
    agent.stop();
    let mut floor = disk::flushes(dir.path(), 500);
    let upstream = Upstream::start(KEY, case.latency_ms);
    home.configure(&format!(
        "profiles.default.url = \"{}\"\ndrain.requests_per_second_max = 100000\ndrain.in_flight_max = {}\n",
        upstream.url, case.in_flight_max
    ));
    let agent = home.start();
    let rate = drained(&agent, sent.events);
    floor.extend(disk::flushes(dir.path(), 500));
    agent.kill();
    (rate, 1.0 / median(&floor).as_secs_f64())
}

fn drained(agent: &Agent, events: u64) -> f64 {
    let mut first: Option<(Instant, u64)> = None;
    let mut last = (Instant::now(), 0);
    loop {
        let (now, count) = (Instant::now(), delivered(agent));
        if count > last.1 {
            last = (now, count);
            first.get_or_insert(last);
        }
        if count >= events {
            break;
        }
        assert!(now - last.0 < QUIET_MAX, "only {count} of {events} were delivered:\n{}", agent.log());
        std::thread::sleep(LOOK_EVERY);
    }
    let first = first.expect("something was delivered");
    assert!(last.1 > first.1, "too few events to measure");
    #[expect(clippy::cast_precision_loss)]
    let rate = (last.1 - first.1) as f64 / (last.0 - first.0).as_secs_f64();
    rate
}

fn delivered(agent: &Agent) -> u64 {
    let metrics = agent.get("/metrics").1;
    let series = "revenium_agent_events_delivered_total{";
    let values = metrics.lines().filter(|line| line.starts_with(series));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
