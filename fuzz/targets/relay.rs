//! Requests to the relay, down to their bytes: each is answered as HTTP or the connection ends.
#![no_main]

mod support;

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use revenium_agent::intake;
use revenium_agent::relay::{Limits, Settings, serve};
use revenium_agent::tasks::Stop;
use revenium_agent::tenant::Tenants;
use revenium_agent::web::Waiting;
use support::{Quiet, Taker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RELAY: OnceCell<(Runtime, SocketAddr)> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    RELAY.with(|relay| {
        let (runtime, address) = relay.get_or_init(start);
        let answer = runtime.block_on(ask(*address, bytes));
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
    });
});

fn start() -> (Runtime, SocketAddr) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let settings = Settings {
        tenants: Tenants::by_name(["default".into()]),
        is_strict: false,
        token: None,
        hosts: Vec::new(),
        instance: "me".into(),
        limits: Limits::default(),
        lines: intake::Limits::default(),
    };
    let (sender, stop) = Stop::pair();
    // It is never stopped.
    std::mem::forget(sender);
    let most = Duration::from_secs(1);
    runtime.spawn(serve(listener, Waiting::Ours, Arc::new(Taker), settings, Arc::new(Quiet), stop, most));
    (runtime, address)
}

/// Sends it all, says that this was all, and reads to the end.
async fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // No port is left waiting for what may still come: there are only so many.
    stream.set_zero_linger().expect("it may be said");
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut answer).await;
    answer
}
