//! Senders that come and go, and an agent that stops.

use super::*;

#[tokio::test]
async fn a_last_line_without_its_newline_counts_once_the_sender_has_shut_its_side_down() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send([line(1), event(2)].concat()).await;
    assert_eq!(client.rest().await, [Said::Ok, Said::Ok]);
    assert_eq!(rig.queue.ids(), [1, 2]);
}

#[tokio::test]
async fn half_a_line_at_the_end_is_refused() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send([&line(1), "{\"model\":\"m"].concat()).await;
    assert_eq!(client.rest().await, [Said::Ok, refused(None, "invalid", "")]);
    assert_eq!(rig.queue.ids(), [1]);
}

#[tokio::test]
async fn what_a_vanished_sender_had_sent_is_stored() {
    let rig = Rig::start();
    rig.queue.hold();
    let mut client = rig.connect().await;
    client.send(line(0)).await;
    rig.queue.waiting(1).await;
    client.send((1..500).map(line).collect::<String>()).await;
    drop(client);
    rig.queue.release();
    rig.tally.reaches("closed", 1).await;
    assert_eq!(rig.queue.ids(), (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_resend_after_a_lost_answer_is_acknowledged_and_stored_once() {
    let rig = Rig::start();
    rig.queue.hold();
    let mut client = rig.connect().await;
    client.hello().await;
    client.send([numbered(1, 1), numbered(2, 2)].concat()).await;
    rig.queue.waiting(1).await;
    drop(client);
    rig.queue.release();
    let mut client = rig.connect().await;
    client.hello().await;
    client.send([numbered(1, 1), numbered(2, 2), numbered(3, 3)].concat()).await;
    assert_eq!(client.rest().await.last(), Some(&Said::Upto(3)));
    assert_eq!(rig.queue.ids(), [1, 2, 3]);
}

#[tokio::test]
async fn stopping_reads_every_connection_to_the_end_and_answers_it() {
    let mut rig = Rig::start();
    rig.queue.hold();
    let mut busy = rig.connect().await;
    busy.send(line(0)).await;
    rig.queue.waiting(1).await;
    // None of the following is read before the stop: the runtime is ours until the next await.
    let lines: String = (1..400).map(line).collect();
    assert_eq!(busy.out.try_write(lines.as_bytes()).unwrap(), lines.len());
    let waiting = std::os::unix::net::UnixStream::connect(rig.path()).unwrap();
    let lines: String = (400..500).map(line).collect();
    std::io::Write::write_all(&mut &waiting, lines.as_bytes()).unwrap();
    rig.stop();
    rig.queue.release();
    let path = rig.path();
    let queue = Arc::clone(&rig.queue);
    let mut waiting = {
        waiting.set_nonblocking(true).unwrap();
        Client::new(UnixStream::from_std(waiting).unwrap())
    };
    assert_eq!(busy.answers(400).await, vec![Said::Ok; 400]);
    assert_eq!(waiting.answers(100).await, vec![Said::Ok; 100]);
    assert_eq!((busy.next().await, waiting.next().await), (None, None));
    assert_eq!(rig.stopped().await, Served { cut_off: 0 });
    let mut ids = queue.ids();
    ids.sort_unstable();
    assert_eq!(ids, (0..500).collect::<Vec<_>>());
    assert!(!path.exists());
}

#[tokio::test]
async fn once_the_agent_stops_a_sender_can_add_nothing_and_knows_it() {
    let mut rig = Rig::start();
    rig.queue.hold();
    let mut client = rig.connect().await;
    client.send(line(1)).await;
    rig.queue.waiting(1).await;
    rig.stop();
    let error = loop {
        // Blank lines: written before the stop arrived or not, they mean nothing.
        if let Err(error) = client.out.write_all(b"\n").await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    rig.queue.release();
    assert_eq!(client.answer().await, Said::Ok);
    assert_eq!(client.next().await, None);
    assert_eq!(rig.stopped().await, Served { cut_off: 0 });
}

#[tokio::test]
async fn half_a_line_at_the_stop_is_left_to_its_sender() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send([&line(1), "{\"model\":\"m\","].concat()).await;
    assert_eq!(client.answer().await, Said::Ok);
    assert_eq!(rig.stopped().await, Served { cut_off: 0 });
    assert_eq!(client.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_at_its_deadline_even_if_the_disk_never_answers() {
    let rig = Rig::start();
    rig.queue.hold();
    let mut client = rig.connect().await;
    client.send(line(1)).await;
    rig.queue.waiting(1).await;
    let began = tokio::time::Instant::now();
    assert_eq!(rig.stopped().await, Served { cut_off: 1 });
    assert!(began.elapsed() >= STOP_WITHIN);
    assert_eq!(client.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_does_not_read_cannot_hold_up_a_stop() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send("x\n".repeat(100_000)).await;
    rig.tally.reaches("opened", 1).await;
    let began = tokio::time::Instant::now();
    assert_eq!(rig.stopped().await, Served { cut_off: 0 });
    assert!(began.elapsed() < STOP_WITHIN / 10, "took {:?}", began.elapsed());
}
