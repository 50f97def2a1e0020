//! When calls are metered: after the turn they end in, or else by the loop.

use std::future::poll_fn;
use std::sync::Mutex;

use hyper::{Request, StatusCode, header::HeaderMap};
use revenium_anthropic::Route;
use revenium_emitter::Emitter;

use super::*;
use crate::gateway::meter::{self, Follower};
use crate::gateway::seen::Seen;
use crate::gateway::settings::Settings;
use crate::gateway::watch::Watch;
use crate::gateway::{CameTo, Counter, Limits};

/// What came of calls so far.
#[derive(Default)]
struct Counts(Mutex<Vec<CameTo>>);

impl Counter for Counts {
    fn came_to(&self, what: CameTo) {
        self.0.lock().expect("whole").push(what);
    }
}

/// A call whose answer has passed, what is to meter it, and what comes of it.
fn call(dir: &std::path::Path) -> (Watch, Arc<Meter>, Follower, Arc<Counts>) {
    let emitter = Emitter::builder().socket(dir.join("none")).spool(dir.join("spool")).build();
    let settings = Settings { hosts: Vec::new(), credential_from_key: false, limits: Limits::default() };
    let seen = Seen::open(dir.join("gateway")).expect("is free");
    let counts = Arc::new(Counts::default());
    let (meter, follower) = meter::new(&settings, emitter, counts.clone(), seen);
    let (head, ()) = Request::post("http://provider/v1/messages").body(()).expect("a request").into_parts();
    let mut exchange = Exchange::new(Route::Messages, &head, &Arc::from("http://provider"), false);
    exchange.answered(StatusCode::OK, &HeaderMap::new());
    exchange
        .saw(br#"{"id":"msg_1","type":"message","model":"m","usage":{"input_tokens":1,"output_tokens":1}}"#);
    (Watch::new(exchange, meter.clone()), meter, follower, counts)
}

#[tokio::test]
async fn a_call_is_metered_by_its_connection_after_the_turn_that_it_ends_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut watch, _meter, _follower, counts) = call(dir.path());
    let within = counts.clone();
    // It ends its call in its first turn and goes on, as a connection that is kept does.
    let connection = poll_fn(move |_| {
        watch.end(Ended::Complete);
        assert!(within.0.lock().expect("whole").is_empty(), "it was metered before its answer was written");
        Poll::<()>::Pending
    });
    let mut turns = Turns::new(connection);
    let is_pending = poll_fn(|cx| Poll::Ready(Pin::new(&mut turns).poll(cx).is_pending())).await;
    assert!(is_pending);
    assert!(matches!(counts.0.lock().expect("whole")[..], [CameTo::Metered]));
}

#[tokio::test]
async fn a_call_that_ends_in_no_turn_is_metered_by_the_loop() {
    let dir = tempfile::tempdir().expect("a folder");
    let (watch, meter, follower, counts) = call(dir.path());
    drop((watch, meter));
    assert!(counts.0.lock().expect("whole").is_empty(), "it was metered by whoever dropped it");
    follower.follow().await;
    assert!(matches!(counts.0.lock().expect("whole")[..], [CameTo::Metered]));
}

#[tokio::test]
async fn a_call_whose_turn_a_bug_ends_is_metered_by_the_loop() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut watch, meter, follower, counts) = call(dir.path());
    let turns = Turns::new(poll_fn(move |_| -> Poll<()> {
        watch.end(Ended::Complete);
        panic!("as if by a bug")
    }));
    assert!(tokio::spawn(turns).await.is_err_and(|error| error.is_panic()));
    drop(meter);
    follower.follow().await;
    assert!(matches!(counts.0.lock().expect("whole")[..], [CameTo::Metered]));
}
