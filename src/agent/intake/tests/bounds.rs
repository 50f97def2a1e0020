//! Senders that send too much, too fast, too long lines, or don't listen.

use revenium_event::limits::LINE_BYTES_MAX;

use super::*;

#[tokio::test]
async fn a_line_that_is_too_long_is_refused_and_skipped_and_the_connection_goes_on() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.hello().await;
    let filler = |n: u64, bytes: usize| {
        let head = format!("{{\"n\":{n},\"x\":\"");
        format!("{head}{}\"}}\n", "y".repeat(bytes - head.len() - 2))
    };
    let sending = async {
        client.out.write_all(numbered(1, 1).as_bytes()).await.unwrap();
        client.out.write_all(filler(2, LINE_BYTES_MAX + 1).as_bytes()).await.unwrap();
        client.out.write_all(filler(3, 10 * LINE_BYTES_MAX).as_bytes()).await.unwrap();
        client.out.write_all(numbered(4, 4).as_bytes()).await.unwrap();
        client.out.shutdown().await.unwrap();
    };
    let mut said = String::new();
    let (_, read) = tokio::join!(sending, client.lines.read_to_string(&mut said));
    read.unwrap();
    let said: Vec<Said> = said.lines().map(Said::of).filter(|said| *said != Said::Upto(1)).collect();
    assert_eq!(said, [refused(2, "too_large", ""), refused(3, "too_large", ""), Said::Upto(4)]);
    assert_eq!(rig.queue.ids(), [1, 4]);
}

#[tokio::test(start_paused = true)]
async fn half_a_line_then_silence_is_dropped_after_a_while() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send([&line(1), "{\"model\":\"m\",\"inp"].concat()).await;
    assert_eq!(client.answers(2).await, [Said::Ok, refused(None, "invalid", "")]);
    assert_eq!(client.next().await, None);
    assert_eq!(rig.queue.ids(), [1]);
    assert_eq!(rig.tally.count("line timed out"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_be_silent_for_as_long_as_it_is_allowed_and_is_then_closed() {
    let limits = Limits { idle_max: Some(Duration::from_secs(1000)), ..Limits::default() };
    let rig = Rig::with(limits, Allow::default());
    let mut client = rig.connect().await;
    for id in 1..=3 {
        tokio::time::sleep(Duration::from_secs(999)).await;
        client.send(line(id)).await;
        assert_eq!(client.answer().await, Said::Ok);
    }
    assert_eq!(client.next().await, None);
    assert_eq!(rig.queue.ids(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn without_such_a_bound_a_connection_may_be_silent_for_ever() {
    let limits =
        Limits { idle_max: None, path_check_every: Duration::from_secs(100_000), ..Limits::default() };
    let rig = Rig::with(limits, Allow::default());
    let mut client = rig.connect().await;
    client.send(line(1)).await;
    assert_eq!(client.answer().await, Said::Ok);
    tokio::time::sleep(Duration::from_secs(1_000_000)).await;
    client.send(line(2)).await;
    assert_eq!(client.answer().await, Said::Ok);
}

#[tokio::test]
async fn what_is_in_flight_is_bounded_and_the_rest_stays_with_the_sender() {
    let limits = Limits { in_flight_batches_max: 2, batch_lines_max: 5, ..Limits::default() };
    let rig = Rig::with(limits, Allow::default());
    rig.queue.hold();
    let mut client = rig.connect().await;
    let lines: String = (0..1000).map(line).collect();
    client.send(&lines[..lines.len() / 10]).await;
    rig.tally.reaches("held back", 1).await;
    assert_eq!(rig.queue.waiting_now(), 2);
    rig.queue.release();
    client.send(&lines[lines.len() / 10..]).await;
    assert_eq!(client.rest().await, vec![Said::Ok; 1000]);
    assert_eq!(rig.queue.ids(), (0..1000).collect::<Vec<_>>());
    assert!(rig.queue.batches().iter().all(|records| *records <= 5));
}

#[tokio::test]
async fn all_connections_together_stay_within_the_common_bound() {
    let limits = Limits { in_flight_bytes_total_max: 4096, batch_lines_max: 1, ..Limits::default() };
    let rig = Rig::with(limits, Allow::default());
    rig.queue.hold();
    let mut clients = Vec::new();
    for id in 0..10 {
        let mut client = rig.connect().await;
        client.send([line(id), line(id + 100)].concat()).await;
        clients.push(client);
    }
    // Each batch counts as a kilobyte.
    rig.queue.waiting(4).await;
    rig.tally.reaches("held back", 6).await;
    assert_eq!(rig.queue.waiting_now(), 4);
    rig.queue.release();
    for mut client in clients {
        assert_eq!(client.answers(2).await, [Said::Ok, Said::Ok]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_without_reading_is_held_back_then_given_up_and_hurts_nobody_else() {
    let rig = Rig::start();
    let mut flood = rig.connect().await;
    let writing = tokio::spawn(async move {
        let lines = "x\n".repeat(1_000_000);
        let result = flood.out.write_all(lines.as_bytes()).await;
        (result, flood)
    });
    rig.tally.reaches("held back", 1).await;
    let mut other = rig.connect().await;
    other.send(line(1)).await;
    assert_eq!(other.answer().await, Said::Ok);
    // Nobody moves: the clock goes to the time-out.
    rig.tally.reaches("closed", 1).await;
    let (result, _flood) = writing.await.unwrap();
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(rig.tally.count("stalled"), 1);
    other.send(line(2)).await;
    assert_eq!(other.answer().await, Said::Ok);
}

#[tokio::test(start_paused = true)]
async fn events_of_a_sender_that_never_reads_answers_are_stored_to_the_last() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while client.out.write_all(line(sent).as_bytes()).await.is_ok() {
            sent += 1;
        }
        (sent, client)
    });
    let (sent, _client) = sending.await.unwrap();
    rig.tally.reaches("closed", 1).await;
    let stored = rig.queue.ids();
    assert!(stored.len() as u64 >= sent, "{} of {sent} stored", stored.len());
    assert!(sent > 1000, "only {sent} were sent before the time-out");
}

#[tokio::test(start_paused = true)]
async fn a_user_over_its_pace_is_read_more_slowly_and_loses_nothing() {
    let limits = Limits { lines_per_second_per_uid_max: 100, batch_lines_max: 10, ..Limits::default() };
    let rig = Rig::with(limits, Allow::default());
    let began = tokio::time::Instant::now();
    let mut clients = [rig.connect().await, rig.connect().await];
    for client in &mut clients {
        client.send((0..300).map(line).collect::<String>()).await;
    }
    for client in clients {
        assert_eq!(client.rest().await, vec![Said::Ok; 300]);
    }
    // 600 lines, of which one second's worth may come at once; the clock is the test's own.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(4) && took <= Duration::from_secs(6), "took {took:?}");
    assert!(rig.tally.count("throttled") > 0);
}

#[tokio::test]
async fn connections_are_bounded_and_the_refused_one_is_told() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let rig = Rig::with(limits, Allow::default());
    let (mut first, _second) = (rig.connect().await, rig.connect().await);
    rig.tally.reaches("opened", 2).await;
    let mut third = rig.connect().await;
    assert_eq!(third.answer().await, refused(None, "busy", ""));
    assert_eq!(third.next().await, None);
    first.send(line(1)).await;
    assert_eq!(first.rest().await, [Said::Ok]);
    rig.tally.reaches("closed", 1).await;
    let mut again = rig.connect().await;
    again.send(line(2)).await;
    assert_eq!(again.answer().await, Said::Ok);
}

#[tokio::test]
async fn a_peer_that_is_not_allowed_is_told_what_to_change() {
    let rig = Rig::with(Limits::default(), Allow::strictly(vec![], vec![54321]));
    let mut client = rig.connect().await;
    let mut text = String::new();
    client.lines.read_line(&mut text).await.unwrap();
    assert_eq!(Said::of(&text), refused(None, "denied", ""));
    assert!(text.contains("socket.allow_gids (54321)"), "{text}");
    assert_eq!(client.next().await, None);
    assert_eq!((rig.tally.count("connection Denied"), rig.tally.count("opened")), (1, 0));
}
