//! The client against a stand-in on loopback that keeps what it was sent, byte for byte.

use std::sync::Mutex;

use revenium_store::{Lane, Seq};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// Connection, head and body of each request.
type Requests = Arc<Mutex<Vec<(usize, String, Vec<u8>)>>>;

/// Answers every request of every connection with the same bytes, until it is dropped.
struct StandIn {
    address: String,
    requests: Requests,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::listening(answer.into(), None).await
    }

    /// The same over TLS, with a certificate of `fixtures/ca.pem` for `localhost`.
    async fn answering_over_tls(answer: impl Into<Vec<u8>>) -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("fixtures/server.pem"));
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/server.key"));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.expect("a certificate")], key.expect("its key"));
        Self::listening(answer.into(), Some(TlsAcceptor::from(Arc::new(config.expect("a pair"))))).await
    }

    async fn listening(answer: Vec<u8>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let requests = Requests::default();
        let kept = requests.clone();
        let answer: Arc<[u8]> = answer.into();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for id in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (kept, answer, tls) = (kept.clone(), answer.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(id, stream, kept, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(id, stream, kept, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, requests, task }
    }

    fn base(&self) -> Base {
        Base::parse(&format!("http://{}/meter/v2", self.address), false).expect("loopback")
    }

    fn requests(&self) -> Vec<(usize, String, Vec<u8>)> {
        self.requests.lock().expect("unpoisoned").clone()
    }
}

async fn serve(
    id: usize,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    kept: Requests,
    answer: Arc<[u8]>,
) {
    let mut read = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(n) => read.extend_from_slice(&buffer[..n]),
            }
        };
        let head = String::from_utf8(read[..end].to_vec()).expect("an ASCII head").to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        while read.len() < end + length {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(n) => read.extend_from_slice(&buffer[..n]),
            }
        }
        let body = read[end..end + length].to_vec();
        read.drain(..end + length);
        kept.lock().expect("unpoisoned").push((id, head, body));
        if answer.is_empty() || stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn options() -> Options {
    Options { request_timeout: Duration::from_secs(5), ..Options::new("i-1".to_owned()) }
}

fn route_of(code: u8) -> Option<&'static str> {
    (code == 0).then_some("/meter/v2/ai/completions")
}

fn client(options: &Options, base: Base) -> Client {
    Client::new(options, &[Target { profile: "default".into(), base }], route_of).expect("a client")
}

fn record(route: u8, key: &str) -> Record {
    Record {
        seq: Seq(1),
        lane: Lane { profile: "default".into(), route },
        key: key.into(),
        body: Bytes::from_static(br#"{"cost":0.10}"#),
        received_at_ms: 0,
        attempts: 0,
        first_attempt_at_ms: 0,
    }
}

fn key() -> ApiKey {
    ApiKey::new("rev_mk_1").expect("a key")
}

const CREATED: &str = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_record_is_one_post_with_its_bytes_and_key_over_a_kept_connection() {
    let upstream = StandIn::answering(CREATED).await;
    let client = client(&options(), upstream.base());
    for _ in 0..2 {
        let reply = client.send(&record(0, "k-1"), &key()).await.expect("an answer");
        assert_eq!((reply.status, reply.body.as_ref(), reply.body_is_whole), (201, b"{}".as_ref(), true));
    }
    let requests = upstream.requests();
    let [(0, head, body), (0, _, again)] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(body, br#"{"cost":0.10}"#);
    assert_eq!(body, again);
    let mut lines: Vec<&str> = head.trim_end().lines().collect();
    lines[1..].sort_unstable();
    let host = format!("host: {}", upstream.address);
    let version = concat!("user-agent: revenium-agent/", env!("CARGO_PKG_VERSION"));
    let expected = [
        "post /meter/v2/ai/completions http/1.1",
        "accept: application/json",
        "content-length: 13",
        "content-type: application/json",
        &host,
        "idempotency-key: k-1",
        version,
        "x-api-key: rev_mk_1",
        "x-revenium-agent: i-1",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = StandIn::answering(CREATED).await;
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} X\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
            elsewhere.address
        );
        let upstream = StandIn::answering(answer).await;
        let reply =
            client(&options(), upstream.base()).send(&record(0, "k"), &key()).await.expect("an answer");
        assert_eq!(reply.status, status);
    }
    assert_eq!(elsewhere.requests(), vec![]);
}

#[tokio::test]
async fn a_body_is_read_to_its_bound_and_no_further() {
    let mut answer = b"HTTP/1.1 400 Bad\r\ncontent-length: 100000\r\n\r\n".to_vec();
    answer.resize(answer.len() + 100_000, b'x');
    let upstream = StandIn::answering(answer).await;
    let reply = client(&options(), upstream.base()).send(&record(0, "k"), &key()).await.expect("an answer");
    assert_eq!((reply.body.len(), reply.body_is_whole), (BODY_BYTES_MAX, false));
}

#[tokio::test]
async fn an_echoed_key_is_not_kept() {
    let upstream = StandIn::answering("HTTP/1.1 401 No\r\ncontent-length: 16\r\n\r\nno such rev_mk_1").await;
    let reply = client(&options(), upstream.base()).send(&record(0, "k"), &key()).await.expect("an answer");
    assert_eq!(reply.body.as_ref(), b"no such ***");
}

#[tokio::test]
async fn silence_and_refused_connections_are_unheard_and_name_no_url() {
    let silent = StandIn::answering("").await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    for base in [silent.base(), Base::parse(&format!("http://{gone}"), false).expect("loopback")] {
        let error = client(&options(), base).send(&record(0, "k"), &key()).await.expect_err("no answer");
        let SendError::Unheard(words) = &error else { panic!("{error:?}") };
        assert!(!words.contains("127.0.0.1") && !words.is_empty(), "{words}");
    }
}

#[tokio::test]
async fn what_can_never_be_a_request_is_told_apart() {
    let upstream = StandIn::answering(CREATED).await;
    let client = client(&options(), upstream.base());
    let mut foreign = record(0, "k");
    foreign.lane.profile = "other".into();
    let rows = [
        (record(9, "k"), "no way to send it: no route 9"),
        (record(0, "k\n"), "cannot be sent: its Idempotency-Key cannot be a header"),
        (foreign, "no way to send it: no profile `other`"),
    ];
    for (record, words) in rows {
        let error = client.send(&record, &key()).await.expect_err("not sendable");
        assert_eq!(error.to_string(), words);
    }
    assert_eq!(upstream.requests(), vec![]);
}

#[tokio::test]
async fn a_proxy_that_is_set_gets_the_request() {
    let proxy = StandIn::answering(CREATED).await;
    let options = Options { proxy: Some(format!("http://{}", proxy.address)), ..options() };
    let base = Base::parse("http://127.0.0.1:1", false).expect("loopback");
    let reply = client(&options, base).send(&record(0, "k"), &key()).await.expect("an answer");
    assert_eq!(reply.status, 201);
    let requests = proxy.requests();
    assert!(requests[0].1.starts_with("post http://127.0.0.1:1/meter/v2/ai/completions "), "{requests:?}");
}

#[tokio::test]
async fn a_certificate_of_ones_own_authority_is_trusted_only_with_ca_file() {
    let upstream = StandIn::answering_over_tls(CREATED).await;
    let port = upstream.address.rsplit(':').next().expect("a port").to_owned();
    let base = Base::parse(&format!("https://localhost:{port}"), false).expect("a URL");
    let ca_pem = Some(include_bytes!("fixtures/ca.pem").to_vec());
    let trusting = client(&Options { ca_pem, ..options() }, base.clone());
    assert_eq!(trusting.send(&record(0, "k"), &key()).await.expect("an answer").status, 201);
    let error = client(&options(), base).send(&record(0, "k"), &key()).await.expect_err("not trusted");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(upstream.requests().len(), 1, "nothing was sent to whom was not trusted");
}

/// A proxy of the environment sees neither the key nor the records of plain loopback traffic. In a
/// process of its own, since the environment is the process's.
#[test]
fn plain_loopback_bypasses_the_environments_proxy() {
    let own = std::env::current_exe().expect("a path");
    let test = "upstream::client::tests::a_record_is_one_post_with_its_bytes_and_key_over_a_kept_connection";
    let nowhere = "http://127.0.0.1:1";
    let ran = std::process::Command::new(own)
        .args(["--exact", test])
        .envs([("HTTP_PROXY", nowhere), ("http_proxy", nowhere), ("ALL_PROXY", nowhere)])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn wrong_settings_are_named() {
    let made = |options: Options| Client::new(&options, &[], route_of).err().map(|error| error.to_string());
    let proxy = Options { proxy: Some("http://[".to_owned()), ..options() };
    assert_eq!(made(proxy).as_deref(), Some("`proxy` is not a proxy's URL"));
    let ca = Options { ca_pem: Some(b"not pem".to_vec()), ..options() };
    assert_eq!(made(ca).as_deref(), Some("`ca_file` holds no PEM certificate"));
    let instance = Options { instance: "a\nb".to_owned(), ..options() };
    assert_eq!(made(instance).as_deref(), Some("the instance's name cannot be sent as a header"));
}
