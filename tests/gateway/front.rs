//! What may stand before a provider: TLS, and a proxy that makes tunnels.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The authority of both certificates.
pub(crate) const CA: &str = include_str!("fixtures/ca.pem");
/// One for `localhost` and `provider.test`.
pub(crate) const CERTIFICATE: &[u8] = include_bytes!("fixtures/server.pem");
/// One for the same that was good until 2020.
pub(crate) const EXPIRED: &[u8] = include_bytes!("fixtures/expired.pem");

/// The port at which TLS is taken off what goes to `provider`. Its thread ends with the test's process.
pub(crate) fn tls(provider: &str, certificate: &[u8]) -> u16 {
    let certificate = CertificateDer::from_pem_slice(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/server.key")).expect("its key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a pair")));
    let provider = provider.to_owned();
    let at = listen(move |stream| {
        let (acceptor, provider) = (acceptor.clone(), provider.clone());
        async move {
            let Ok(mut client) = acceptor.accept(stream).await else { return };
            let mut server = TcpStream::connect(provider).await.expect("listens");
            // Either side may break off.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    at.port()
}

/// A proxy, and what it was asked.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that finds every host at this port of this machine, or with none refuses to.
    pub(crate) fn start(finds: Option<u16>) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        let address = listen(move |mut client| {
            let kept = kept.clone();
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.expect("a head"));
                }
                kept.lock().expect("no panic while locked").push(String::from_utf8(head).expect("text"));
                let Some(port) = finds else {
                    let _ = client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
                    return;
                };
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("sent");
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.expect("listens");
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
        Self { address, asked }
    }

    /// The heads of all requests.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic while locked").clone()
    }
}

fn listen<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("has an address");
    listener.set_nonblocking(true).expect("set");
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("taken over");
            loop {
                tokio::spawn(serve(listener.accept().await.expect("accepted").0));
            }
        });
    });
    address
}
