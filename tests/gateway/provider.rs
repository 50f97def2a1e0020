//! A provider that does exactly what a test says, byte by byte, and keeps what it was sent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A listening stand-in. Its threads end with their connections.
pub(crate) struct Provider {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<Mutex<usize>>,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    /// The request line and the fields, as they were written.
    pub(crate) head: String,
    /// The body, without its framing; of a large one only the length.
    pub(crate) body: Vec<u8>,
    pub(crate) body_bytes: usize,
}

/// Bytes of a body that are kept.
const KEPT_BYTES: usize = 1 << 20;

impl Provider {
    /// One that answers every request by `answer`, which may write, wait and close as it likes. A connection
    /// goes on while it returns true.
    pub(crate) fn start(answer: impl Fn(&Got, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let address = listener.local_addr().expect("has an address");
        let (got, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (kept, count, answer) = (got.clone(), connections.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("accepted");
                *count.lock().expect("no panic while locked") += 1;
                let (kept, answer) = (kept.clone(), answer.clone());
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    while let Some(request) = read_request(&mut stream) {
                        kept.lock().expect("no panic while locked").push(request.clone());
                        if !answer(&request, &mut stream) {
                            break;
                        }
                    }
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, got, connections }
    }

    /// One that answers everything with these bytes.
    pub(crate) fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, stream| stream.write_all(&answer).is_ok())
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().expect("no panic while locked").clone()
    }

    /// How often it was connected to.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().expect("no panic while locked")
    }
}

/// An answer in one piece.
pub(crate) fn whole(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// A message that states this usage.
pub(crate) fn message(id: &str, input: u64, output: u64) -> String {
    format!(
        r#"{{"id":"{id}","type":"message","role":"assistant","model":"claude-opus-4","content":[{{"type":"text","text":"hello"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":{input},"output_tokens":{output}}}}}"#
    )
}

/// An answer with a message.
pub(crate) fn says(id: &str, input: u64, output: u64) -> Vec<u8> {
    whole("200 OK", "content-type: application/json\r\n", message(id, input, output).as_bytes())
}

/// The head of a stream of events.
pub(crate) const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// One chunk.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The beginning of a message, in a chunk.
pub(crate) fn message_start(id: &str, input: u64) -> Vec<u8> {
    chunk(format!("event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"{id}\",\"type\":\"message\",\"model\":\"claude-opus-4\",\"content\":[],\"stop_reason\":null,\"usage\":{{\"input_tokens\":{input},\"output_tokens\":1}}}}}}\n\n").as_bytes())
}

/// Some text, in a chunk.
pub(crate) fn delta(text: &str) -> Vec<u8> {
    chunk(format!("event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n").as_bytes())
}

/// The end of a message, and the last chunk.
pub(crate) fn message_end(output: u64) -> Vec<u8> {
    let end = format!(
        "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{{\"output_tokens\":{output}}}}}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
    );
    [chunk(end.as_bytes()), b"0\r\n\r\n".to_vec()].concat()
}

fn read_request(stream: &mut TcpStream) -> Option<Got> {
    let head = read_head(stream)?;
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .into_iter()
            .find(|(of, _)| of.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let (mut body, mut body_bytes) = (Vec::new(), 0);
    let mut take = |stream: &mut TcpStream, mut left: usize| -> Option<()> {
        let mut bytes = vec![0; 64 << 10];
        while left > 0 {
            let most = left.min(bytes.len());
            let count = stream.read(&mut bytes[..most]).ok().filter(|count| *count > 0)?;
            let room = KEPT_BYTES.saturating_sub(body.len()).min(count);
            body.extend_from_slice(&bytes[..room]);
            (left, body_bytes) = (left - count, body_bytes + count);
        }
        Some(())
    };
    if let Some(length) = field("content-length") {
        take(stream, length.parse().expect("a number"))?;
    } else if field("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(read_line(stream)?.trim(), 16).expect("a chunk's size");
            take(stream, size)?;
            read_line(stream)?;
            if size == 0 {
                break;
            }
        }
    }
    Some(Got { head, body, body_bytes })
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = String::new();
    loop {
        let line = read_line(stream)?;
        if line == "\r\n" {
            return Some(head);
        }
        head.push_str(&line);
    }
}

fn read_line(stream: &mut TcpStream) -> Option<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while !line.ends_with(b"\n") {
        stream.read(&mut byte).ok().filter(|count| *count > 0)?;
        line.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&line).into_owned())
}
