//! Guests, over TCP, and a stop: it goes on taking what is sent, so what a guest may still say is ours to bound.

use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::advance;

use super::*;
use crate::intake::Guests;
use crate::tasks::Stop;

/// One guest, and what ends its connection.
struct Guest {
    client: TcpStream,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
}

async fn guest(queue: &Arc<FakeQueue>, limits: Limits) -> Guest {
    let tenants = Tenants::by_name(["default".into()]);
    let guests = Guests::new(queue.clone(), tenants, limits, Arc::<Tally>::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (seat, (stop, stopped)) = (guests.seat().unwrap(), Stop::pair());
    let served = tokio::spawn(async move { guests.serve(stream, &[], seat, stopped).await });
    Guest { client, stop, served }
}

#[tokio::test]
async fn a_guest_that_goes_on_sending_cannot_hold_up_a_stop_and_has_its_answers() {
    // Far more than half a second's work.
    const LINES_MAX: u64 = 400_000;
    let queue: Arc<FakeQueue> = Arc::default();
    let Guest { client, stop, served } = guest(&queue, Limits::default()).await;
    let mut sender = client.into_std().unwrap();
    sender.set_nonblocking(false).unwrap();
    let answers = sender.try_clone().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let sees_it = is_over.clone();
    let sending = std::thread::spawn(move || {
        let mut hello = Vec::new();
        Hello { v: 1, producer: Some(PRODUCER), ..Hello::default() }.write(&mut hello);
        sender.write_all(&hello).unwrap();
        (1..=LINES_MAX)
            .any(|n| sees_it.load(Ordering::Relaxed) || sender.write_all(numbered(n, n).as_bytes()).is_err())
    });
    let reading = std::thread::spawn(move || {
        let mut answers = std::io::BufReader::new(answers).lines();
        // The agent stops when it has answered once.
        answers.next().unwrap().unwrap();
        stop.send_replace(true);
        let last = answers.by_ref().map(Result::unwrap).last();
        // It has seen the end, and no reset, which may throw away answers that were not read yet.
        is_over.store(true, Ordering::Relaxed);
        last
    });
    served.await.unwrap();
    let last = reading.join().unwrap();
    assert!(sending.join().unwrap(), "all of it was read");
    let stored = queue.ids().len() as u64;
    assert_eq!(last.map(|last| Said::of(&last)), Some(Said::Upto(stored)), "all that was taken was answered");
}

#[tokio::test(start_paused = true)]
async fn what_a_guest_had_sent_before_a_stop_is_taken_however_long_that_takes() {
    let queue: Arc<FakeQueue> = Arc::default();
    queue.hold();
    let limits = Limits { in_flight_batches_max: 1, batch_lines_max: 10, ..Limits::default() };
    let Guest { mut client, stop, served } = guest(&queue, limits).await;
    client.write_all(line(0).as_bytes()).await.unwrap();
    queue.waiting(1).await;
    client.write_all((1..1_000).map(line).collect::<String>().as_bytes()).await.unwrap();
    stop.send_replace(true);
    tokio::task::yield_now().await;
    advance(Duration::from_secs(60)).await;
    queue.release();
    let mut answers = BufReader::new(client).lines();
    let mut count = 0;
    while answers.next_line().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!((count, queue.ids().len()), (1_000, 1_000));
    served.await.unwrap();
}
