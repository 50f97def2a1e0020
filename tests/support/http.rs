//! An HTTP client that sends exactly what a test says, over a kept connection.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::wait::AT_MOST;

/// A connection to the relay.
pub(crate) struct Http {
    stream: TcpStream,
    address: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: serde_json::Value,
}

impl Http {
    pub(crate) fn connect(address: &str) -> Self {
        Self::try_connect(address).expect("listens")
    }

    pub(crate) fn try_connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(AT_MOST))?;
        Ok(Self { stream, address: address.to_owned() })
    }

    /// POSTs JSON to `path`, with more headers.
    pub(crate) fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send(path, headers, body).expect("sent");
        self.answer().expect("answered")
    }

    pub(crate) fn send(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<()> {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        self.stream.write_all(format!("{request}\r\n{body}").as_bytes())
    }

    /// The next answer; `None` if the connection ends before it.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut read = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let end = read.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
                if read.len() >= end + 4 + length {
                    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                    let body = serde_json::from_slice(&read[end + 4..]).unwrap_or_default();
                    return Some(Answer { status: status.expect("has a status"), head, body });
                }
            }
            match self.stream.read(&mut bytes) {
                Ok(count @ 1..) => read.extend_from_slice(&bytes[..count]),
                _ => return None,
            }
        }
    }
}
