//! The log holds the loops' thread: the watchdog is told for how long.

use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};

use tokio::time::advance;

use super::*;

/// Time passes while nothing else runs: the clock is turned by the first poll.
fn hang(time: Duration) {
    let _ = pin!(advance(time)).poll(&mut Context::from_waker(Waker::noop()));
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_hangs_in_a_claim_is_overdue_until_it_turns_again() {
    let mut stage = Stage::new(Script::new(|_| Said::created()));
    let drain = stage.drain();
    let status = drain.status();
    let (tell, told) = mpsc::channel();
    let hanging = status.clone();
    stage.queue.next_claim(move || {
        let before = hanging.overdue(Instant::now());
        hang(seconds(40));
        tell.send((before, hanging.overdue(Instant::now()))).expect("is heard");
    });
    stage.queue.add("p", 0, 1);
    let later = async {
        sleep(seconds(60)).await;
        status.overdue(Instant::now())
    };
    let (ended, later) = tokio::join!(drain.run(sleep(seconds(70))), later);
    ended.expect("no panic");
    let (before, after) = told.recv().expect("was claimed");
    assert_eq!(before, None);
    assert!(after >= Some(seconds(30)), "{after:?}");
    assert_eq!((later, stage.queue.delivered()), (None, 1));
}
