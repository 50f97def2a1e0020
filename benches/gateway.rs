//! What the real binary's gateway adds to a call, beside the same call without it and, where nginx and LiteLLM are
//! installed, through these.
//!
//! The provider is a thread of this program that answers at once, a stream piece by piece as a model does, every
//! half millisecond; calls with and without a proxy take turns. Of a stream each piece is timed, from its writing
//! to its reading.
//! No agent is there, so events go to the spool. Marks: with one connection at most 0.1 ms more at the median and
//! 0.3 ms at the 99th percentile, for JSON and for a stream; at 1,000 calls a second at most 1 ms more at the 99th.

use std::io::{self, Read, Write};
use std::iter;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Home, until};
use litellm::Litellm;
use nginx::Nginx;
use support::table::{Table, marked, micros};
use support::{Mode, folder, quantile};

#[path = "../tests/support/mod.rs"]
mod harness;
#[path = "support/litellm.rs"]
mod litellm;
#[path = "support/nginx.rs"]
mod nginx;
mod support;

/// Between two pieces of a stream.
const PIECE: Duration = Duration::from_micros(500);

/// Connections that share 1,000 calls a second.
const PACED: u32 = 16;
const CALLS_PER_SECOND: u32 = 1_000;

/// The caller's; LiteLLM takes no simple one.
const KEY: &str = "sk-ant-bench-5f0e8a37c2d94b61";

const REQUEST: &str = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\
    x-api-key: KEY\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n\
    x-revenium-task-type: bench\r\nAccept-Encoding: identity\r\n";

fn main() {
    let mode = Mode::of_environment();
    let count = mode.pick(300, 5_000);
    let time = Duration::from_millis(mode.pick(500, 8_000));
    let dir = folder("gateway-");
    let home = Home::new_in(dir.path());
    let provider = provider();
    let gateway = Gateway::start(&home, &provider);
    let nginx = Nginx::start(dir.path(), &provider);
    let mut ways = vec![Way { name: None, address: &gateway.address }];
    ways.extend(nginx.as_ref().map(|nginx| Way { name: Some("through nginx"), address: &nginx.address }));
    println!("\ngateway: calls with it and without it in turns, us; added is the difference");
    let mut table = Table::new(&[
        "calls", "of", "bare p50", "p50", "added", "of mark", "bare p99", "p99", "added", "of mark",
    ]);
    for (name, is_stream) in [("JSON, one connection", false), ("pieces of a stream, one connection", true)] {
        let count = if is_stream { count / 10 } else { count };
        let (bare, took) = in_turns(&provider, &ways, is_stream, count);
        for (way, with) in ways.iter().zip(&took) {
            table.row(&way.row(name, &bare, with, (100.0, 300.0)));
        }
    }
    let bare = paced(&provider, time);
    for way in &ways {
        table.row(&way.row("JSON, 1,000 a second", &bare, &paced(way.address, time), (1_000.0, 1_000.0)));
    }
    // Started only now, as it keeps a core busy, and with fewer calls, as each takes milliseconds.
    let litellm = Litellm::start(dir.path(), &provider, KEY);
    for (name, is_stream) in [("JSON through LiteLLM", false), ("pieces through LiteLLM", true)] {
        let way = litellm.as_ref().map(|litellm| Way { name: Some(name), address: &litellm.address });
        let (bare, took) = in_turns(&provider, way.as_slice(), is_stream, count / 20);
        for (way, with) in way.iter().zip(&took) {
            table.row(&way.row(name, &bare, with, (100.0, 300.0)));
        }
    }
    table.print();
    for (name, is_here) in [("nginx", nginx.is_some()), ("LiteLLM", litellm.is_some())] {
        if !is_here {
            println!("  {name} is not here, so not beside it; benches/support/ says where it is looked for");
        }
    }
}

/// Calls the provider and then goes each way, over and over: how long it took without any and by each, call by call
/// or piece by piece.
fn in_turns(
    provider: &str,
    ways: &[Way<'_>],
    is_stream: bool,
    count: usize,
) -> (Vec<Duration>, Vec<Vec<Duration>>) {
    let mut clients: Vec<_> =
        iter::once(provider).chain(ways.iter().map(|way| way.address)).map(Client::connect).collect();
    let mut took = vec![Vec::new(); clients.len()];
    // What is not warm yet does not count.
    for n in 0..count + 20 {
        for (client, took) in clients.iter_mut().zip(&mut took) {
            let one = client.call(is_stream);
            if n >= 20 {
                took.extend(one);
            }
        }
    }
    let with = took.split_off(1);
    (took.concat(), with)
}

/// [`PACED`] connections through `address` that share the pace for `time`; how long each call took.
fn paced(address: &str, time: Duration) -> Vec<Duration> {
    let began = Instant::now() + Duration::from_millis(50);
    thread::scope(|scope| {
        let one = |k| {
            let at = began + Duration::from_secs(1) * k / CALLS_PER_SECOND;
            scope.spawn(move || Client::connect(address).paced(at, time))
        };
        let threads: Vec<_> = (0..PACED).map(one).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no client panics")).collect()
    })
}

/// What calls may go through.
struct Way<'a> {
    /// `None` is the gateway, which has marks to meet.
    name: Option<&'a str>,
    address: &'a str,
}

impl Way<'_> {
    fn row(&self, name: &str, bare: &[Duration], with: &[Duration], marks: (f64, f64)) -> Vec<String> {
        let mut cells = vec![self.name.unwrap_or(name).to_owned(), with.len().to_string()];
        for (q, mark) in [(0.5, marks.0), (0.99, marks.1)] {
            let (bare, with) = (quantile(bare, q), quantile(with, q));
            let added = with.saturating_sub(bare);
            cells.extend([micros(bare), micros(with), micros(added)]);
            let of_mark = marked(added.as_secs_f64() * 1e6 / mark, Some(1.0), true);
            cells.push(if self.name.is_none() { of_mark } else { String::new() });
        }
        cells
    }
}

/// The real binary; ended with this value.
struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    fn start(home: &Home, provider: &str) -> Self {
        let url = format!("http://{provider}");
        let mut command = home.command(&[
            "gateway",
            "--listen",
            "127.0.0.1:0",
            "--provider-url",
            &url,
            "--ready-file",
            "ready",
        ]);
        let socket = home.path("agent.sock");
        let child = command.arg("--socket").arg(socket).stderr(Stdio::null()).spawn().expect("starts");
        let read = || std::fs::read_to_string(home.path("ready")).unwrap_or_default();
        let ready = until("the gateway listens", read, |ready| !ready.is_empty());
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("is JSON");
        Self { child, address: ready["gateway"].as_str().expect("an address").to_owned() }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A kept connection.
struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("listens");
        stream.set_nodelay(true).expect("set");
        Self { stream, answer: Vec::with_capacity(64 << 10) }
    }

    /// Makes one call and waits for the end of its answer. How long it took, or each of its pieces.
    fn call(&mut self, is_stream: bool) -> Vec<Duration> {
        let mut pieces = Vec::new();
        let body = format!(
            r#"{{"model":"claude-opus-4","stream":{is_stream},"max_tokens":9,"messages":[{{"role":"user","content":"Hello"}}]}}"#
        );
        let head = REQUEST.replace("KEY", KEY);
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let end: &[u8] = if is_stream { b"\r\n0\r\n\r\n" } else { b"}}" };
        self.answer.clear();
        let mut bytes = [0; 16 << 10];
        let began = Instant::now();
        self.stream.write_all(request.as_bytes()).expect("sent");
        while !self.answer.ends_with(end) {
            let count = self.stream.read(&mut bytes).expect("answered");
            assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&self.answer));
            if is_stream {
                pieces.extend(written(&bytes[..count]).map(|at| since_start().saturating_sub(at)));
            }
            self.answer.extend_from_slice(&bytes[..count]);
        }
        let took = began.elapsed();
        assert!(self.answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.answer));
        if is_stream { pieces } else { vec![took] }
    }

    /// Calls at a pace from `at` on; how long each took from when it was due.
    fn paced(&mut self, mut at: Instant, time: Duration) -> Vec<Duration> {
        let end = at + time;
        let mut took = Vec::new();
        while at < end {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            self.call(false);
            took.push(at.elapsed());
            at += Duration::from_secs(1) * PACED / CALLS_PER_SECOND;
        }
        took
    }
}

/// When this program began to look at the clock, which all of its threads share.
fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// When the pieces in these bytes were written, as they say.
fn written(bytes: &[u8]) -> impl Iterator<Item = Duration> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let at =
        |rest: &str| rest.split('"').next().and_then(|nanos| nanos.parse().ok()).map(Duration::from_nanos);
    let found: Vec<_> = text.split("written at ").skip(1).filter_map(at).collect();
    found.into_iter()
}

/// Answers each call at once; its address.
fn provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("has an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepted");
            // It ends with its client.
            thread::spawn(move || answer(&mut stream));
        }
    });
    address
}

fn answer(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let message = r#"{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-4","content":[{"type":"text","text":"Hello!"}],"stop_reason":"end_turn","usage":{"input_tokens":25,"output_tokens":15}}"#;
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{message}",
        message.len()
    );
    let (mut came, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        while !is_whole(&came) {
            let count = stream.read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            came.extend_from_slice(&bytes[..count]);
        }
        // LiteLLM writes the body anew, with spaces.
        let is_stream = [&b"\"stream\":true"[..], b"\"stream\": true"]
            .iter()
            .any(|asked| came.windows(asked.len()).any(|part| part == *asked));
        came.clear();
        if !is_stream {
            stream.write_all(whole.as_bytes())?;
            continue;
        }
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )?;
        let start = r#"{"type":"message_start","message":{"id":"msg_01","model":"claude-opus-4","usage":{"input_tokens":25,"output_tokens":1}}}"#;
        event(stream, "message_start", start)?;
        for _ in 0..20 {
            let delta =
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"NOW"}}"#;
            event(stream, "content_block_delta", delta)?;
        }
        event(
            stream,
            "message_delta",
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}"#,
        )?;
        event(stream, "message_stop", r#"{"type":"message_stop"}"#)?;
        stream.write_all(b"0\r\n\r\n")?;
    }
}

/// Whether a request has come to the end of its body.
fn is_whole(came: &[u8]) -> bool {
    let text = String::from_utf8_lossy(came).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    body.len() >= length.and_then(|length| length.trim().parse().ok()).unwrap_or(usize::MAX)
}

fn event(stream: &mut TcpStream, name: &str, data: &str) -> io::Result<()> {
    thread::sleep(PIECE);
    let data = data.replace("NOW", &format!("written at {}", since_start().as_nanos()));
    let event = format!("event: {name}\ndata: {data}\n\n");
    stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
}
