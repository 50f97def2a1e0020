//! Reading on, with a clock that stands still but for what the tests let pass.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::sleep;

use super::*;
use crate::gateway::Limits;

const TIME_MAX: Duration = Duration::from_secs(30);
const BYTES_MAX: u64 = 1000;

struct Uncounted;

impl Counter for Uncounted {}

/// How a call ends whose client is gone when `early` bytes of its answer have come, and whose other `late` ones
/// come `after` that.
async fn end(early: u64, late: u64, after: Duration) -> Ended {
    let dir = tempfile::tempdir().expect("a folder");
    let emitter = Emitter::builder().socket(dir.path().join("none")).spool(dir.path().join("spool")).build();
    let limits = Limits { read_on_time_max: TIME_MAX, read_on_bytes_max: BYTES_MAX, ..Limits::default() };
    let settings = Settings { hosts: Vec::new(), credential_from_key: false, limits };
    let seen = Seen::open(dir.path().join("gateway")).expect("is free");
    let (meter, mut follower) = new(&settings, emitter, Arc::new(Uncounted), seen);

    let (here, mut provider) = duplex(1 << 16);
    let (mut requests, connection) = handshake(TokioIo::new(here)).await.expect("begins");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    tasks.spawn(async move {
        provider.read_u8().await.expect("is asked");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", early + late);
        provider.write_all(head.as_bytes()).await.expect("is read");
        provider.write_all(&vec![b' '; usize::try_from(early).expect("few")]).await.expect("is read");
        sleep(after).await;
        // Whoever had enough reads no more.
        let _ = provider.write_all(&vec![b' '; usize::try_from(late).expect("few")]).await;
        std::future::pending().await
    });
    let (head, ()) = Request::post("http://provider/v1/messages").body(()).expect("a request").into_parts();
    let answer = requests.send_request(Request::new(Empty::<Bytes>::new())).await.expect("is answered");
    let exchange = Exchange::new(Route::Messages, &head, &Arc::from("http://provider"), false);
    let mut watch = Watch::new(exchange, meter);
    watch.answered(answer.status(), answer.headers());
    let rest = Rest { body: answer.into_body(), watch };
    read_on(rest, follower.read_on_time_max, follower.read_on_bytes_max).await;
    match follower.finished.recv().await {
        Some(Finished::Call(_, ended)) => ended,
        _ => panic!("it did not end"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_on_for_as_long_as_it_may_take_and_no_longer() {
    let tick = Duration::from_millis(1);
    assert_eq!(end(100, 100, TIME_MAX - tick).await, Ended::Complete);
    assert_eq!(end(100, 100, TIME_MAX + tick).await, Ended::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_on_up_to_as_many_bytes_as_it_may_have_and_no_further() {
    let soon = Duration::from_secs(1);
    assert_eq!(end(BYTES_MAX, 0, soon).await, Ended::Complete);
    assert_eq!(end(1, BYTES_MAX - 1, soon).await, Ended::Complete);
    assert_eq!(end(1, BYTES_MAX, soon).await, Ended::Cancelled);
    assert_eq!(end(BYTES_MAX + 1, 0, soon).await, Ended::Cancelled);
}
