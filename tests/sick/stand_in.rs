//! An upstream that stores every record at once, and whose first answer to each ends where a test says.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Close,
    Reset,
}

/// The bytes of an answer that come, and what comes after them.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    pub(crate) answer: &'static str,
    pub(crate) bytes: usize,
    pub(crate) ending: Ending,
}

/// One attempt: Idempotency-Key and body.
pub(crate) type Attempt = (String, String);

/// Attempts by the record's `transactionId`.
pub(crate) type Attempts = BTreeMap<String, Vec<Attempt>>;

/// Serves until the test program ends.
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    attempts: Arc<Mutex<Attempts>>,
}

impl StandIn {
    /// The first attempt at a record meets the cut of its `transactionId`, and all others an answer that is whole.
    pub(crate) fn cutting(cuts: BTreeMap<String, Cut>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let attempts: Arc<Mutex<Attempts>> = Arc::default();
        let (cuts, kept) = (Arc::new(cuts), Arc::clone(&attempts));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (cuts, kept) = (Arc::clone(&cuts), Arc::clone(&kept));
                // An error is the end of a connection, which is what this is about.
                thread::spawn(move || drop(serve(stream, &cuts, &kept)));
            }
        });
        Self { address, attempts }
    }

    pub(crate) fn attempts(&self) -> Attempts {
        lock(&self.attempts).clone()
    }
}

fn lock(attempts: &Mutex<Attempts>) -> MutexGuard<'_, Attempts> {
    attempts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, cuts: &BTreeMap<String, Cut>, kept: &Mutex<Attempts>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some((transaction, attempt)) = request(&mut stream)? {
        let cut = cuts.get(&transaction).unwrap_or_else(|| panic!("never sent: {transaction}"));
        let is_first = {
            let mut attempts = lock(kept);
            let of_record = attempts.entry(transaction).or_default();
            of_record.push(attempt);
            of_record.len() == 1
        };
        let bytes = if is_first { cut.bytes } else { cut.answer.len() };
        stream.get_mut().write_all(&cut.answer.as_bytes()[..bytes])?;
        if is_first {
            if cut.ending == Ending::Reset {
                set_socket_linger(stream.get_ref(), Some(Duration::ZERO))?;
            }
            return Ok(());
        }
    }
    Ok(())
}

/// The next request, whole; `None` at the end.
fn request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<(String, Attempt)>> {
    let (mut key, mut length) = (String::new(), 0);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("idempotency-key") => value.clone_into(&mut key),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().expect("a number");
            }
            None if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8(body).expect("UTF-8");
    let event: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let transaction = event["transactionId"].as_str().expect("has one").to_owned();
    Ok(Some((transaction, (key, body))))
}
