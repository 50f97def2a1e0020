//! Acknowledgement through the socket of the real binary: numbered events, cumulative answers.
//!
//! Nothing is delivered meanwhile: the upstream is a closed port. Producers run on the same cores.
//! The floor is measured before and after each row: one event appended to a prewritten file and
//! flushed. `cargo bench --bench socket -- 64` measures only that many connections.
//! Marks: one producer's p50 at most 2.5 flushes; 64 producers 30,000/s; pipelined 150,000/s.

use std::time::Duration;

use harness::Home;
use load::Until;
use support::event::EVENT_BYTES;
use support::table::{Table, marked, micros, per_second};
use support::{Mode, folder, median, quantile};

#[path = "support/disk.rs"]
mod disk;
#[path = "../tests/support/mod.rs"]
mod harness;
#[path = "support/load.rs"]
mod load;
mod support;

/// Connections, outstanding on each, and the mark in events a second.
const ROWS: [(u64, u64, Option<f64>); 4] =
    [(1, 1, None), (16, 1, None), (64, 1, Some(30_000.0)), (4, 256, Some(150_000.0))];
const P50_FLUSHES_MAX: f64 = 2.5;

fn main() {
    let mode = Mode::of_environment();
    let time = Duration::from_millis(mode.pick(500, 8_000));
    let flushes = mode.pick(200, 1_000);
    let dir = folder("socket-");
    let home = Home::new_in(dir.path());
    home.configure("profiles.default.url = \"http://127.0.0.1:9\"\n");
    let agent = home.start();
    println!("\nsocket: acknowledged {EVENT_BYTES}-byte events, upstream closed, {time:?} a row");
    let mut table = Table::new(&[
        "connections",
        "outstanding",
        "events",
        "p50 us",
        "p99 us",
        "floor p50 us",
        "p50 of floor",
        "events/s",
        "of floor/s",
        "of mark",
    ]);
    let wanted: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    for (row, (connections, window, mark)) in (0..).zip(ROWS) {
        if !wanted.is_empty() && !wanted.contains(&connections) {
            continue;
        }
        let mut floor = disk::flushes(dir.path(), flushes);
        let sent = load::send(&home.socket(), row * 1_000, connections, window, Until::Passed(time));
        floor.extend(disk::flushes(dir.path(), flushes));
        let latency = |q| (window == 1).then(|| quantile(&sent.latencies, q));
        let flush = median(&floor);
        #[expect(clippy::cast_precision_loss)]
        let rate = sent.events as f64 / sent.took.as_secs_f64();
        let shown = |took: Option<Duration>| took.map_or_else(|| "-".to_owned(), micros);
        let cost = latency(0.5).map(|p50| p50.as_secs_f64() / flush.as_secs_f64());
        let cost_mark = (connections == 1).then_some(P50_FLUSHES_MAX);
        table.row(&[
            connections.to_string(),
            window.to_string(),
            sent.events.to_string(),
            shown(latency(0.5)),
            shown(latency(0.99)),
            micros(flush),
            cost.map_or_else(|| "-".to_owned(), |cost| marked(cost, cost_mark, true)),
            per_second(rate),
            marked(rate / disk::flushes_per_second(&floor), None, false),
            mark.map_or_else(|| "-".to_owned(), |mark| marked(rate / mark, Some(1.0), false)),
        ]);
    }
    table.print();
    agent.kill();
}
