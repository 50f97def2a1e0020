//! Senders that do not wait for answers: read now and then, and nothing that they sent is left behind.

use super::super::connection::LOOK_EVERY;
use super::*;

/// A patient sender whose first event was answered, so that it is left.
async fn left(rig: &Rig) -> Client {
    let mut client = rig.connect().await;
    let hello = format!("{{\"hello\":{{\"v\":1,\"producer\":\"{PRODUCER}\",\"patient\":true}}}}\n");
    client.send(hello + &numbered(1, 1)).await;
    assert_eq!(client.answer().await, Said::Upto(1));
    client
}

/// Sent at once: the runtime is ours until the next await.
fn send_now(client: &Client, lines: &str) {
    assert_eq!(client.out.try_write(lines.as_bytes()).unwrap(), lines.len());
}

/// Lets everybody do what can be done now.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_it_sends_while_it_is_left_is_one_batch_at_the_next_look() {
    let rig = Rig::start();
    let mut client = left(&rig).await;
    for n in 2..10 {
        send_now(&client, &numbered(n, n));
        settle().await;
    }
    tokio::time::advance(LOOK_EVERY / 2).await;
    settle().await;
    assert_eq!(rig.queue.ids(), [1], "nobody has looked yet");
    assert_eq!(client.answer().await, Said::Upto(9));
    assert_eq!(rig.queue.batches(), [1, 8]);
    // At the one after that nothing is there, so it is watched again, and answered without a look.
    tokio::time::advance(LOOK_EVERY * 3).await;
    settle().await;
    let before = Instant::now();
    client.send(numbered(10, 10)).await;
    assert_eq!(client.answer().await, Said::Upto(10));
    assert_eq!(Instant::now(), before);
}

#[tokio::test(start_paused = true)]
async fn to_answer_it_is_no_look() {
    let rig = Rig::start();
    let mut client = left(&rig).await;
    rig.queue.hold();
    send_now(&client, &numbered(2, 2));
    rig.queue.waiting(1).await;
    send_now(&client, &numbered(3, 3));
    rig.queue.release();
    assert_eq!(client.answer().await, Said::Upto(2));
    assert_eq!(rig.queue.ids(), [1, 2]);
    assert_eq!(client.answer().await, Said::Upto(3));
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_its_answers_is_never_left() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.hello().await;
    let before = Instant::now();
    for n in 1..10 {
        client.send(numbered(n, n)).await;
        assert_eq!(client.answer().await, Said::Upto(n));
    }
    assert_eq!(Instant::now(), before);
}

#[tokio::test]
async fn what_it_sent_while_it_is_left_is_taken_when_the_agent_stops() {
    let mut rig = Rig::start();
    let client = left(&rig).await;
    send_now(&client, &(2..100).map(|n| numbered(n, n)).collect::<String>());
    rig.stop();
    assert_eq!(client.rest().await.last(), Some(&Said::Upto(99)));
    let queue = Arc::clone(&rig.queue);
    rig.served.await.unwrap();
    assert_eq!(queue.ids(), (1..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_it_sent_while_it_is_left_is_taken_when_it_vanishes() {
    let rig = Rig::start();
    let client = left(&rig).await;
    send_now(&client, &(2..100).map(|n| numbered(n, n)).collect::<String>());
    drop(client);
    rig.tally.reaches("closed", 1).await;
    assert_eq!(rig.queue.ids(), (1..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn without_room_for_a_batch_it_is_read_once_there_is_some() {
    let limits = Limits { in_flight_batches_max: 1, ..Limits::default() };
    let rig = Rig::with(limits, Allow::default());
    let mut client = left(&rig).await;
    rig.queue.hold();
    send_now(&client, &numbered(2, 2));
    rig.queue.waiting(1).await;
    send_now(&client, &numbered(3, 3));
    // Many looks later. The clock is paused: it moves only when nobody has anything to do.
    tokio::time::sleep(LOOK_EVERY * 10).await;
    rig.queue.release();
    assert_eq!(client.answers(2).await, [Said::Upto(2), Said::Upto(3)]);
}
