//! Stops and restarts, and an agent that is not there.

use std::io::Write;
use std::sync::mpsc;

use rustix::process::Signal;

use crate::gateway::{Gateway, outline, spooled};
use crate::provider::{self, Provider};
use crate::support::{Home, until};

/// A provider that begins a stream and ends it when told to.
fn slow() -> (Provider, mpsc::Sender<()>) {
    let (finish, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let provider = Provider::start(move |_, stream| {
        let begin = [provider::STREAM.to_vec(), provider::message_start("msg_1", 25), provider::delta("one")]
            .concat();
        stream.write_all(&begin).expect("sent");
        wait.lock().expect("one at a time").recv().expect("goes on");
        stream.write_all(&provider::message_end(15)).is_ok()
    });
    (provider, finish)
}

#[test]
fn a_stop_cuts_no_answer_and_ends_idle_connections() {
    let home = Home::new();
    let (provider, finish) = slow();
    let gateway = Gateway::start(&home, &provider);
    let mut idle = gateway.client();
    let mut client = gateway.client();
    client.post("", r#"{"model":"m","stream":true}"#);
    client.read_until("one");
    gateway.signal(Signal::TERM);
    // The idle one is closed while the other is being answered.
    crate::client::until_gone(&mut idle.stream);
    finish.send(()).expect("waits");
    assert!(client.answer(false).is_whole);
    let (code, log) = gateway.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(spooled(&home).iter().map(outline).collect::<Vec<_>>(), [("msg_1", "END", 25, 15)]);
}

#[test]
fn a_stop_that_takes_too_long_cuts_the_answer_and_bills_what_was_seen() {
    let home = Home::new();
    let (provider, _finish) = slow();
    let gateway = Gateway::start_with(&home, &provider.url(), "gateway.stop_deadline = \"0s\"\n");
    let mut client = gateway.client();
    client.post("", r#"{"model":"m","stream":true}"#);
    client.read_until("one");
    let (code, log) = gateway.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!client.answer(false).is_whole);
    assert_eq!(spooled(&home).iter().map(outline).collect::<Vec<_>>(), [("msg_1", "CANCELLED", 25, 1)]);
}

#[test]
fn a_call_does_not_share_the_fate_of_the_agent() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let (provider, finish) = slow();
    let gateway = Gateway::start(&home, &provider);
    let agent = home.start();
    let mut client = gateway.client();
    client.post("", r#"{"model":"m","stream":true}"#);
    client.read_until("one");
    agent.kill();
    finish.send(()).expect("waits");
    assert!(client.answer(false).is_whole);
    until("the event is in the spool", || spooled(&home).len(), |count| *count == 1);
    let agent = home.start();
    let billed = sandbox.wait_billed(1);
    assert!(billed.values().all(|body| body.contains("\"msg_1\"")), "{billed:?}");
    gateway.stop();
    agent.stop();
}

#[test]
fn a_stop_lets_slow_clients_read_the_last_bytes_of_their_answers() {
    let home = Home::new();
    // Of some size the kernel's buffers hold all but a rest, which the gateway has when the provider is done.
    let sizes: Vec<usize> = (10..=24).map(|at| at * 200_000).collect();
    let provider = Provider::start(|request, stream| {
        let want = request.head.lines().find_map(|line| line.strip_prefix("want: ")).expect("is asked for");
        let body = vec![b' '; want.parse().expect("a size")];
        stream.write_all(&provider::whole("200 OK", "content-type: application/json\r\n", &body)).is_ok()
    });
    let gateway = Gateway::start(&home, &provider);
    let mut idle = gateway.client();
    idle.post("want: 1\r\n", "{}");
    assert!(idle.answer(false).is_whole);
    let mut clients: Vec<_> = sizes.iter().map(|_| gateway.client()).collect();
    for (client, size) in clients.iter_mut().zip(&sizes) {
        client.post(&format!("want: {size}\r\n"), r#"{"model":"claude-opus-4"}"#);
    }
    for client in &clients {
        // Its answer has begun.
        assert!(client.stream.peek(&mut [0]).expect("comes") > 0);
    }
    until("the first are given", || spooled(&home).len(), |count| *count >= 4);
    gateway.signal(Signal::TERM);
    crate::client::until_gone(&mut idle.stream);
    for (client, size) in clients.iter_mut().zip(&sizes) {
        assert_eq!(client.answer(false).body.len(), *size);
    }
    let (code, log) = gateway.end();
    assert_eq!(code, Some(0), "{log}");
}
