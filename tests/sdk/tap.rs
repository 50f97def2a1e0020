//! What a client sent, byte by byte: a pipe of TCP that keeps what passes towards the relay.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A listening pipe. Its threads end with their connections.
pub(crate) struct Tap {
    address: SocketAddr,
    passed: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A request that passed whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Passed {
    pub(crate) path: String,
    pub(crate) key: Option<String>,
    pub(crate) body: String,
}

impl Tap {
    /// Leads to `target`.
    pub(crate) fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let address = listener.local_addr().expect("has an address");
        let passed = Arc::new(Mutex::new(Vec::new()));
        let (target, kept) = (target.to_owned(), Arc::clone(&passed));
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("accepted");
                // A relay that is away: so it is for the client.
                let Ok(relay) = TcpStream::connect(&target) else { continue };
                let number = {
                    let mut kept = kept.lock().expect("no panic while locked");
                    kept.push(Vec::new());
                    kept.len() - 1
                };
                let (from, to) = (client.try_clone().expect("cloned"), relay.try_clone().expect("cloned"));
                let keep = Arc::clone(&kept);
                thread::spawn(move || {
                    pipe(from, to, |bytes| {
                        keep.lock().expect("no panic while locked")[number].extend_from_slice(bytes);
                    });
                });
                thread::spawn(move || pipe(relay, client, |_| ()));
            }
        });
        Self { address, passed }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request that passed whole so far, connection by connection.
    pub(crate) fn requests(&self) -> Vec<Passed> {
        let connections = self.passed.lock().expect("no panic while locked").clone();
        connections.iter().flat_map(|bytes| requests(bytes)).collect()
    }
}

/// Copies until either side ends. What was kept has reached the other side's kernel.
fn pipe(mut from: TcpStream, mut to: TcpStream, mut keep: impl FnMut(&[u8])) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
        keep(&bytes[..count]);
    }
    // Errors if the other side has closed already.
    let _ = to.shutdown(Shutdown::Write);
}

fn requests(mut bytes: &[u8]) -> Vec<Passed> {
    let mut found = Vec::new();
    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.into_iter().find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let length: usize = header("content-length").expect("is sent by the SDKs").parse().expect("a number");
        let rest = &bytes[end + 4..];
        let Some(body) = rest.get(..length) else { break };
        found.push(Passed {
            path: head.split(' ').nth(1).expect("a path").to_owned(),
            key: header("idempotency-key").map(str::to_owned),
            body: String::from_utf8(body.to_vec()).expect("JSON"),
        });
        bytes = &rest[length..];
    }
    found
}
