//! The relay over real sockets, with a queue whose durability the test decides.

use std::net::SocketAddr;
use std::{sync::Arc, time::Duration};

use revenium_event::limits::BODY_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::{sync::watch, task::JoinHandle};

use super::{Limits, Settings, serve};
use crate::intake::tests::fake::{FakeQueue, Tally};
use crate::queue::*;
use crate::{tasks::Stop, tenant::Tenants, web::Waiting::Ours};

const COMPLETIONS: &str = "/meter/v2/ai/completions";
const EVENT: &str =
    r#"{"model":"claude-sonnet-4","inputTokenCount":1,"outputTokenCount":2,"transactionId":"t1"}"#;
const STOP_MAX: Duration = Duration::from_secs(30);

struct Rig<Q = FakeQueue> {
    address: SocketAddr,
    queue: Arc<Q>,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
}

impl Rig {
    async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        Self::before(Arc::default(), limits).await
    }
}

impl<Q: Queue> Rig<Q> {
    async fn before(queue: Arc<Q>, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = Settings {
            tenants: Tenants::by_name([]),
            is_strict: false,
            token: None,
            hosts: Vec::new(),
            instance: "me".into(),
            limits,
            lines: crate::intake::Limits::default(),
        };
        let (sender, stop) = Stop::pair();
        let serving = serve(listener, Ours, queue.clone(), settings, Arc::<Tally>::default(), stop, STOP_MAX);
        Self { address, queue, stop: sender, served: tokio::spawn(serving) }
    }

    async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    async fn stopped(self) -> Arc<Q> {
        self.stop.send_replace(true);
        self.served.await.unwrap();
        self.queue
    }
}

/// A client that sends what it is told, byte by byte if need be.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer: its status, its head in lower case, its body.
#[derive(Debug)]
struct Said {
    status: u16,
    head: String,
    body: String,
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn post(&mut self, body: &str) -> Said {
        self.send(request(body, "")).await;
        self.answer().await.expect("an answer")
    }

    /// The next answer that is not a 100; `None` at the end of the connection.
    async fn answer(&mut self) -> Option<Said> {
        loop {
            let head = self.until_blank_line().await?;
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            while self.read.len() < length {
                assert!(self.more().await, "the body of {head} ended too soon");
            }
            let body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
            if status != 100 {
                return Some(Said { status, head, body });
            }
        }
    }

    async fn until_blank_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap().to_ascii_lowercase());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads some; false at the end.
    async fn more(&mut self) -> bool {
        let mut bytes = [0; 2 << 10];
        let count = self.stream.read(&mut bytes).await.unwrap_or(0);
        self.read.extend_from_slice(&bytes[..count]);
        count > 0
    }
}

fn request(body: &str, headers: &str) -> String {
    format!("{}{body}", head(body.len(), headers))
}

fn head(length: usize, headers: &str) -> String {
    format!(
        "POST {COMPLETIONS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n"
    )
}

/// A valid event of exactly so many bytes.
fn event_of(bytes: usize) -> String {
    let start = r#"{"model":"claude-sonnet-4","provider":"x","inputTokenCount":1,"outputTokenCount":2,"totalTokenCount":3,"costType":"AI","isStreamed":false,"stopReason":"END","requestDuration":0,"requestTime":"2026-11-23T07:44:07Z","completionStartTime":"2026-11-23T07:44:07Z","responseTime":"2026-11-23T07:44:07Z","transactionId":"t1","filler":""#;
    format!("{start}{}\"}}", "x".repeat(bytes - start.len() - 2))
}

#[tokio::test]
async fn nothing_is_answered_before_it_is_durable() {
    let rig = Rig::start().await;
    rig.queue.hold();
    let mut client = rig.client().await;
    client.send(request(EVENT, "")).await;
    rig.queue.waiting(1).await;
    // Whatever the relay would say before it has the flush would be there by the time another client is served.
    let mut other = rig.client().await;
    other.send(format!("GET {COMPLETIONS} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    assert_eq!(other.answer().await.unwrap().status, 405);
    assert_eq!(client.stream.try_read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    rig.queue.release();
    assert_eq!(client.answer().await.unwrap().status, 201);
}

/// A log that has no room for a body until the test opens it: unlike one that is only slow to flush, it has
/// not taken what it was asked to append, and forgets whoever stops asking.
struct Gated {
    gate: tokio::sync::Semaphore,
    asked: tokio::sync::Notify,
    behind: FakeQueue,
}

impl Queue for Gated {
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        self.asked.notify_one();
        let _open = self.gate.acquire().await;
        self.behind.append(records).await
    }
    async fn claim(&self, lane: &Lane, end: End, max: usize, now_ms: u64) -> Result<Vec<Record>, ReadError> {
        self.behind.claim(lane, end, max, now_ms).await
    }
    fn settle(&self, seq: Seq, settlement: Settlement) {
        self.behind.settle(seq, settlement);
    }
    fn lanes(&self) -> Vec<LaneStats> {
        self.behind.lanes()
    }
    async fn changed(&self) {
        self.behind.changed().await;
    }
    fn stats(&self) -> QueueStats {
        self.behind.stats()
    }
    fn put_state(&self, name: &str, value: &[u8]) {
        self.behind.put_state(name, value);
    }
    fn state(&self, name: &str) -> Option<Vec<u8>> {
        self.behind.state(name)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_vanished_client_had_sent_is_stored() {
    let queue = Gated {
        gate: tokio::sync::Semaphore::new(0),
        asked: tokio::sync::Notify::new(),
        behind: FakeQueue::default(),
    };
    let rig = Rig::before(Arc::new(queue), Limits::default()).await;
    let mut client = rig.client().await;
    client.send(request(EVENT, "")).await;
    rig.queue.asked.notified().await;
    // As when it is killed with an answer unread: a reset, which ends the request's own future.
    client.stream.set_zero_linger().unwrap();
    drop(client);
    // The clock is paused, so this is over once nobody has anything left to do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.queue.gate.add_permits(1);
    assert_eq!(rig.stopped().await.behind.ids(), [1]);
}

#[tokio::test]
async fn a_log_that_cannot_take_an_event_is_a_503_that_says_when_to_try_again() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    let full = AppendError::Full { budget: "store".to_owned(), bytes: 9, bytes_max: 9 };
    for (error, code, after) in [
        (full, "full", 5),
        (AppendError::Disk("EIO".to_owned()), "disk", 5),
        (AppendError::Closing, "stopping", 1),
    ] {
        rig.queue.fail_with(Some(error));
        let said = client.post(EVENT).await;
        assert_eq!(said.status, 503, "{said:?}");
        assert!(said.head.contains(&format!("retry-after: {after}\r\n")), "{said:?}");
        assert!(said.body.contains(&format!("\"code\":\"{code}\"")), "{said:?}");
    }
    rig.queue.fail_with(None);
    assert_eq!(rig.client().await.post(EVENT).await.status, 201);
    assert_eq!(rig.stopped().await.ids(), [1]);
}

#[tokio::test]
async fn a_body_may_have_a_mebibyte_and_not_a_byte_more_however_it_is_sent() {
    let rig = Rig::start().await;
    let largest = event_of(BODY_BYTES_MAX);
    let larger = event_of(BODY_BYTES_MAX + 1);
    let chunked = |body: &str| {
        let (one, two) = body.split_at(100);
        format!(
            "POST {COMPLETIONS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
            one.len(),
            two.len()
        )
    };
    for (sent, status) in [
        (request(&largest, ""), 201),
        (chunked(&largest), 201),
        (request(&larger, ""), 400),
        (chunked(&larger), 400),
        // Larger than what is read and thrown away: announced, it is refused unread.
        (head(100 << 20, "expect: 100-continue\r\n"), 400),
    ] {
        let mut client = rig.client().await;
        client.send(&sent).await;
        let said = client.answer().await.expect("an answer");
        assert_eq!(said.status, status, "{said:?}");
        if status == 400 {
            assert!(said.body.contains("\"code\":\"too_large\""), "{said:?}");
            assert!(client.answer().await.is_none(), "the connection ends");
        }
    }
    assert_eq!(rig.stopped().await.ids(), [1, 1]);
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_told() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    client.send(head(EVENT.len(), "expect: 100-continue\r\n")).await;
    assert!(client.until_blank_line().await.unwrap().starts_with("http/1.1 100 "));
    client.send(EVENT).await;
    assert_eq!(client.answer().await.unwrap().status, 201);
}

#[tokio::test]
async fn a_connection_is_kept_and_requests_in_it_may_follow_at_once() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    client.send(request(EVENT, "").repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(client.answer().await.unwrap().status, 201);
    }
    assert_eq!(client.post("[]").await.status, 400, "a refusal does not end it");
    assert_eq!(client.post(EVENT).await.status, 201);
}

#[tokio::test]
async fn what_is_wrong_with_an_event_is_said_and_the_event_is_kept() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    for (body, headers, code, field, is_kept) in [
        (r#"{"model":"m","provider":"x","inputTokenCount":1}"#, "", "invalid", "\"outputTokenCount\"", true),
        (r#"{"model":"m"}"#, "", "invalid", "\"provider\"", true),
        ("[1]", "", "invalid", "null", true),
        ("{\"model\":", "", "invalid", "null", false),
        ("", "", "invalid", "null", false),
        (EVENT, "idempotency-key: a b\r\n", "invalid_idempotency_key", "\"Idempotency-Key\"", true),
        (EVENT, "idempotency-key: \u{e9}\r\n", "invalid_idempotency_key", "\"Idempotency-Key\"", true),
    ] {
        let before = rig.queue.stored().len();
        client.send(request(body, headers)).await;
        let said = client.answer().await.unwrap();
        assert_eq!(said.status, 400, "{said:?}");
        assert!(said.body.contains(&format!("\"code\":\"{code}\"")), "{body}: {said:?}");
        let stored = rig.queue.stored();
        assert_eq!(stored.len() - before, usize::from(is_kept), "{body}");
        if let Some(letter) = stored.get(before) {
            assert_eq!(&letter.body[..], body.as_bytes());
            assert!(letter.dead.is_some());
            assert!(
                said.body.contains(&format!("\"field\":{field}")) || code != "invalid",
                "{body}: {said:?}"
            );
        }
    }
}

#[tokio::test]
async fn refused_events_are_kept_at_a_bounded_pace() {
    let rig =
        Rig::with(Limits { kept_refusals_burst: 2, kept_refusals_per_second_max: 0, ..Limits::default() })
            .await;
    let mut client = rig.client().await;
    for _ in 0..5 {
        assert_eq!(client.post("{}").await.status, 400);
    }
    assert_eq!(rig.stopped().await.stored().len(), 2);
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_makes_room_and_one_that_is_at_work_does_not() {
    let rig = Rig::with(Limits { connections_max: 2, ..Limits::default() }).await;
    rig.queue.hold();
    let mut at_work = rig.client().await;
    at_work.send(request(EVENT, "")).await;
    rig.queue.waiting(1).await;
    let mut idle = rig.client().await;
    // Half a head, as a slow client sends it, is no work yet.
    idle.send("POST /meter").await;
    let mut third = rig.client().await;
    third.send(request(EVENT, "")).await;
    rig.queue.waiting(2).await;
    rig.queue.release();
    assert_eq!(third.answer().await.unwrap().status, 201);
    assert!(idle.answer().await.is_none(), "its place was needed");
    assert_eq!(at_work.answer().await.unwrap().status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_head_or_a_body_that_does_not_come_ends_its_connection() {
    let rig = Rig::start().await;
    let mut slow_head = rig.client().await;
    slow_head.send("POST /meter/v2").await;
    assert!(slow_head.answer().await.is_none_or(|said| said.status == 408));
    let mut slow_body = rig.client().await;
    slow_body.send(head(100, "")).await;
    slow_body.send("{\"model\"").await;
    let said = slow_body.answer().await.unwrap();
    assert_eq!(said.status, 408, "{said:?}");
    assert!(slow_body.answer().await.is_none());
    let mut half = rig.client().await;
    half.send(head(100, "")).await;
    half.stream.shutdown().await.unwrap();
    assert!(half.answer().await.is_none_or(|said| said.status == 400));
    assert!(rig.stopped().await.stored().is_empty());
}

#[tokio::test]
async fn a_stop_answers_what_is_on_its_way_and_ends_every_connection() {
    let rig = Rig::start().await;
    rig.queue.hold();
    let mut under_way = rig.client().await;
    under_way.send(request(EVENT, "")).await;
    rig.queue.waiting(1).await;
    let mut idle = rig.client().await;
    assert_eq!(idle.post("").await.status, 400);
    // Sent, and not yet accepted by us when the stop comes.
    let mut waiting = rig.client().await;
    waiting.send(request(EVENT, "")).await;
    rig.stop.send_replace(true);
    rig.queue.waiting(2).await;
    rig.queue.release();
    for client in [&mut under_way, &mut waiting] {
        let said = client.answer().await.unwrap();
        assert_eq!(said.status, 201);
        assert!(said.head.contains("connection: close"), "{said:?}");
        assert!(client.answer().await.is_none());
    }
    assert!(idle.answer().await.is_none());
    assert_eq!(rig.stopped().await.ids(), [1, 1]);
}
