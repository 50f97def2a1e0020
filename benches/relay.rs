//! Durable answers of the real binary's relay, to clients that send as Revenium's SDK for Python does.
//!
//! Nothing is delivered meanwhile: the upstream is a closed port. Clients run on the same cores, each a
//! thread with one request outstanding. Two floors are measured around each row: one event appended to a
//! prewritten file and flushed, and the same request to a server that keeps nothing (hyper, as the
//! relay). `cargo bench --bench relay -- 64` measures only that many connections.
//! Marks: 64 connections 12,000/s; one connection's p50 at most 2.5 flushes and one such round trip.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::{Home, KEY};
use support::event::{EVENT_BYTES, events};
use support::table::{Table, marked, micros, per_second};
use support::{Mode, folder, median, quantile};
use upstream::Upstream;

#[path = "support/disk.rs"]
mod disk;
#[path = "../tests/support/mod.rs"]
mod harness;
mod support;
#[path = "support/upstream.rs"]
mod upstream;

/// Connections, and the mark in events a second.
const ROWS: [(u64, Option<f64>); 3] = [(1, None), (16, None), (64, Some(12_000.0))];
const P50_FLUSHES_MAX: f64 = 2.5;

fn main() {
    let mode = Mode::of_environment();
    let time = Duration::from_millis(mode.pick(500, 8_000));
    let count = mode.pick(200, 1_000);
    let dir = folder("relay-");
    let home = Home::new_in(dir.path());
    home.configure("profiles.default.url = \"http://127.0.0.1:9\"\nrelay.listen = \"127.0.0.1:0\"\n");
    let agent = home.start();
    let relay = agent.ready["relay"].as_str().expect("is on").to_owned();
    let bare = Upstream::start(&format!("{KEY}=bench"), 0);
    let bare = bare.url.strip_prefix("http://").expect("is http").to_owned();
    println!("\nrelay: durable {EVENT_BYTES}-byte events, upstream closed, {time:?} a row");
    let mut table = Table::new(&[
        "connections",
        "events",
        "p50 us",
        "p99 us",
        "flush p50 us",
        "round trip p50 us",
        "flushes beside the round trip",
        "events/s",
        "of mark",
    ]);
    let wanted: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    for (row, (connections, mark)) in (0..).zip(ROWS) {
        if !wanted.is_empty() && !wanted.contains(&connections) {
            continue;
        }
        let floors = || (disk::flushes(dir.path(), count), round_trips(&bare, count));
        let (mut flushes, mut trips) = floors();
        let began = Instant::now();
        let latencies = post(&relay, row * 1_000, connections, began + time);
        let took = began.elapsed();
        let (more_flushes, more_trips) = floors();
        flushes.extend(more_flushes);
        trips.extend(more_trips);
        let (flush, trip, p50) = (median(&flushes), median(&trips), quantile(&latencies, 0.5));
        let cost = p50.saturating_sub(trip).as_secs_f64() / flush.as_secs_f64();
        let cost_mark = (connections == 1).then_some(P50_FLUSHES_MAX);
        let rate = support::rate(latencies.len(), took);
        table.row(&[
            connections.to_string(),
            latencies.len().to_string(),
            micros(p50),
            micros(quantile(&latencies, 0.99)),
            micros(flush),
            micros(trip),
            marked(cost, cost_mark, true),
            per_second(rate),
            mark.map_or_else(|| "-".to_owned(), |mark| marked(rate / mark, Some(1.0), false)),
        ]);
    }
    table.print();
    agent.kill();
}

/// How long `count` requests to a server that keeps nothing took, one after the other.
fn round_trips(address: &str, count: usize) -> Vec<Duration> {
    let mut client = Client::connect(address).expect("listens");
    let bodies = events(5, 64);
    let trip = |n: usize| client.post(&format!("trip-{n}"), &bodies[n % bodies.len()]).expect("is answered");
    (0..count).map(trip).collect()
}

/// Posts by so many connections until the deadline; how long each request took.
fn post(address: &str, first: u64, connections: u64, deadline: Instant) -> Vec<Duration> {
    let bodies = events(first + 1, 1024);
    std::thread::scope(|scope| {
        let client = |k: u64| {
            let bodies = &bodies;
            scope.spawn(move || -> io::Result<Vec<Duration>> {
                let mut client = Client::connect(address)?;
                let mut took = Vec::new();
                for (n, body) in bodies.iter().cycle().enumerate() {
                    if Instant::now() >= deadline {
                        break;
                    }
                    took.push(client.post(&format!("{:08}-{n:08}", first + k), body)?);
                }
                Ok(took)
            })
        };
        let threads: Vec<_> = (0..connections).map(client).collect();
        let each = threads.into_iter().map(|thread| thread.join().expect("no client panics"));
        each.flat_map(|took| took.expect("every event is taken")).collect()
    })
}

/// A kept connection with the headers of the SDK.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::new(), answer: vec![0; 4096] })
    }

    /// Sends one event and waits for its answer.
    fn post(&mut self, key: &str, body: &[u8]) -> io::Result<Duration> {
        self.request.clear();
        write!(
            self.request,
            "POST /meter/v2/ai/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip, deflate\r\n\
             Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n\
             User-Agent: ReveniumMetering/Python 6.8.2\r\nX-Stainless-Lang: python\r\n\
             X-Stainless-Package-Version: 6.8.2\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n\
             X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.7\r\nx-api-key: {KEY}\r\n\
             X-Stainless-Async: false\r\nIdempotency-Key: {key}\r\nx-stainless-retry-count: 0\r\n\
             x-stainless-read-timeout: 10.0\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        self.request.extend_from_slice(body);
        let began = Instant::now();
        self.stream.write_all(&self.request)?;
        // An answer is below 1 KiB and comes in one piece.
        let count = self.stream.read(&mut self.answer)?;
        let took = began.elapsed();
        let answer = &self.answer[..count];
        if !answer.starts_with(b"HTTP/1.1 201") || !answer.ends_with(b"}") {
            return Err(io::Error::other(String::from_utf8_lossy(answer).into_owned()));
        }
        Ok(took)
    }
}
