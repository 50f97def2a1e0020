//! A client that sends bytes as a test says, and keeps the answer as it came.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::until;

/// A connection, and what came on it and was not looked at.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    came: Vec<u8>,
}

/// An answer: its head, its body without framing, and whether it came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) is_whole: bool,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("listens");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(120))).expect("set");
        Self { stream, came: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sent");
    }

    /// POSTs a body to `/v1/messages`, with more fields.
    pub(crate) fn post(&mut self, fields: &str, body: &str) {
        self.send(format!(
            "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nx-api-key: sk-ant-test\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    /// Reads until `text` has come, and returns all that came so far of this answer.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        loop {
            let came = String::from_utf8_lossy(&self.came).into_owned();
            if came.contains(text) {
                return came;
            }
            assert!(self.more(), "it ended before {text:?} came: {came}");
        }
    }

    /// The next answer. To a HEAD there is no body.
    pub(crate) fn answer(&mut self, is_to_head: bool) -> Answer {
        let mut is_open = true;
        let end = loop {
            match self.came.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end,
                None => assert!(
                    self.more(),
                    "it ended before its head: {:?}",
                    String::from_utf8_lossy(&self.came)
                ),
            }
        };
        let head = String::from_utf8_lossy(&self.came[..end + 2]).into_owned();
        self.came.drain(..end + 4);
        let has = |what: &str| head.to_ascii_lowercase().contains(what);
        let length = head.lines().filter_map(|line| line.split_once(':'));
        let length = length.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let is_empty = is_to_head || [" 100 ", " 204 ", " 304 "].iter().any(|status| has(status));
        let mut body = Vec::new();
        if is_empty {
            return Answer { head, body, is_whole: true };
        }
        if has("transfer-encoding:") && has("chunked\r\n") {
            loop {
                match self.chunk() {
                    Some(chunk) if chunk.is_empty() => return Answer { head, body, is_whole: true },
                    Some(chunk) => body.extend_from_slice(&chunk),
                    None => return Answer { head, body, is_whole: false },
                }
            }
        }
        let length = length.map(|(_, length)| length.trim().parse::<usize>().expect("a number"));
        while is_open && length.is_none_or(|length| self.came.len() < length) {
            is_open = self.more();
        }
        let taken = length.unwrap_or(usize::MAX).min(self.came.len());
        body.extend(self.came.drain(..taken));
        let is_whole = length.is_none_or(|length| length == body.len());
        Answer { head, body, is_whole }
    }

    /// The next chunk; `None` if the connection ends in it.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.came.windows(2).position(|two| two == b"\r\n") {
                let size = String::from_utf8_lossy(&self.came[..end]).into_owned();
                let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
                if self.came.len() >= end + 2 + size + 2 {
                    let chunk = self.came[end + 2..end + 2 + size].to_vec();
                    self.came.drain(..end + 2 + size + 2);
                    return Some(chunk);
                }
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn more(&mut self) -> bool {
        let mut bytes = [0; 64 << 10];
        match self.stream.read(&mut bytes) {
            Ok(count @ 1..) => {
                self.came.extend_from_slice(&bytes[..count]);
                true
            }
            _ => false,
        }
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Returns once a server has seen its client's end.
pub(crate) fn until_gone(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(std::time::Duration::from_millis(10))).expect("set");
    let mut ended = || match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    };
    until("the connection is closed", &mut ended, |ended| *ended);
}
