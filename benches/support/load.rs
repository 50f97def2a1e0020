//! Producers on the agent's socket: numbered events, so many outstanding, cumulative answers.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::support::event::events;

/// Bytes after which lines are handed over, whatever else fits the window.
const WRITE_BYTES: usize = 64 << 10;

/// How much to send.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// So many events, by all connections together.
    Events(u64),
    /// What can be sent in this time; what is outstanding then is waited for.
    Passed(Duration),
}

/// What came of it.
pub(crate) struct Sent {
    pub(crate) events: u64,
    pub(crate) took: Duration,
    /// Of each event, from its line to its answer; only with one outstanding.
    pub(crate) latencies: Vec<Duration>,
}

/// Sends by `connections`, each with a producer of its own, `window` outstanding. Producers are
/// numbered from `first`; each may send once to a store.
pub(crate) fn send(socket: &Path, first: u64, connections: u64, window: u64, until: Until) -> Sent {
    let bodies = events(first + 1, 1024);
    let began = Instant::now();
    let each: Vec<io::Result<(u64, Vec<Duration>)>> = std::thread::scope(|scope| {
        let run = |k| {
            let bodies = &bodies;
            scope.spawn(move || {
                let (events, deadline) = match until {
                    Until::Events(all) => (all / connections, None),
                    Until::Passed(time) => (u64::MAX, Some(began + time)),
                };
                produce(socket, first + k, window, events, deadline, bodies)
            })
        };
        let threads: Vec<_> = (0..connections).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("no producer panics")).collect()
    });
    let took = began.elapsed();
    let mut sent = Sent { events: 0, took, latencies: Vec::new() };
    for one in each {
        let (events, latencies) = one.expect("every event is taken");
        sent.events += events;
        sent.latencies.extend(latencies);
    }
    sent
}

fn produce(
    socket: &Path,
    producer: u64,
    window: u64,
    events: u64,
    deadline: Option<Instant>,
    bodies: &[Vec<u8>],
) -> io::Result<(u64, Vec<Duration>)> {
    let mut stream = UnixStream::connect(socket)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    writeln!(stream, "{{\"hello\":{{\"v\":1,\"producer\":\"{producer:032x}\"}}}}")?;
    let (mut sent, mut durable) = (0, 0);
    let (mut lines, mut answer, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let goes_on = deadline.is_none_or(|deadline| Instant::now() < deadline);
        let began = Instant::now();
        while goes_on && sent < events && sent < durable + window && lines.len() < WRITE_BYTES {
            sent += 1;
            write!(lines, "{{\"n\":{sent},")?;
            lines.extend_from_slice(&bodies[body_of(producer, sent, bodies.len())][1..]);
            lines.push(b'\n');
        }
        let is_full = sent == durable + window || sent == events || lines.is_empty();
        stream.write_all(&lines)?;
        lines.clear();
        if !is_full {
            continue;
        }
        if durable == sent {
            return Ok((sent, latencies));
        }
        answer.clear();
        answers.read_until(b'\n', &mut answer)?;
        durable = durable.max(upto(&answer)?);
        if window == 1 {
            latencies.push(began.elapsed());
        }
    }
}

fn body_of(producer: u64, n: u64, bodies: usize) -> usize {
    usize::try_from((producer * 31 + n) % bodies as u64).expect("a slice is that long")
}

/// The number in `{"ok":true,"upto":7}`.
fn upto(answer: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(answer).map_err(io::Error::other)?.trim_end();
    let number = text.strip_prefix("{\"ok\":true,\"upto\":").and_then(|rest| rest.strip_suffix('}'));
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| io::Error::other(format!("not a cumulative answer: {text}")))
}
