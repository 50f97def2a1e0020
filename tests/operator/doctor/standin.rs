//! Something that answers in Revenium's place: always the same, in clear or over TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::Home;

/// It answers until the test ends.
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

/// An answer without further headers.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

impl StandIn {
    /// Answers every request with the same; with nothing, never.
    pub(crate) fn answering(answer: &str) -> Self {
        Self::start("127.0.0.1", answer, None)
    }

    /// The same over TLS, with a certificate for `localhost`, of an authority that nobody knows.
    pub(crate) fn over_tls(ip: &str, answer: &str) -> Self {
        const FIXTURES: (&[u8], &[u8]) = (
            include_bytes!("../../../src/agent/upstream/fixtures/server.pem"),
            include_bytes!("../../../src/agent/upstream/fixtures/server.key"),
        );
        let certificate = CertificateDer::from_pem_slice(FIXTURES.0).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(FIXTURES.1).expect("its key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
        Self::start(ip, answer, Some(Arc::new(config.expect("a pair"))))
    }

    fn start(ip: &str, answer: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (answer, asked) = (answer.to_owned(), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        std::thread::spawn(move || {
            // Kept open, so that whoever waits for an answer waits.
            let mut silent = Vec::new();
            for stream in listener.incoming().flatten() {
                if answer.is_empty() {
                    silent.push(stream);
                    continue;
                }
                match &tls {
                    None => serve(stream, &answer, &counted),
                    Some(config) => {
                        let connection = ServerConnection::new(config.clone()).expect("a connection");
                        serve(StreamOwned::new(connection, stream), &answer, &counted);
                    }
                }
            }
        });
        Self { address, asked }
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Answers on the control socket of this folder, where an agent would.
pub(crate) fn answer_for_an_agent(home: &Home, answer: &str) {
    fs::create_dir(home.path("data")).expect("made");
    let listener = UnixListener::bind(home.path("data/control.sock")).expect("bound");
    let answer = answer.to_owned();
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| serve(stream, &answer, &AtomicUsize::new(0)));
    });
}

/// Reads one request and answers it; whoever only connects is let go.
fn serve(mut stream: impl Read + Write, answer: &str, asked: &AtomicUsize) {
    let mut read = Vec::new();
    let mut bytes = [0; 4096];
    while !read.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(count @ 1..) => read.extend_from_slice(&bytes[..count]),
            _ => return,
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    // The asker may have had enough.
    let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
}

/// A folder whose events would go to `url`, with `more` in its configuration.
pub(crate) fn home(url: &str, more: &str) -> Home {
    let home = Home::new();
    configure(&home, url, more);
    home
}

/// The same for a folder that is there.
pub(crate) fn configure(home: &Home, url: &str, more: &str) {
    home.configure(&format!(
        "profiles.default.url = \"{url}\"\nstore.segment_bytes = \"16MiB\"\n\
         store.capacity_bytes = \"128MiB\"\nstore.free_reserve_bytes = \"1MiB\"\n{more}"
    ));
}
