//! What is answered, in which order, and never too early.

use super::*;
use crate::queue::AppendError;

#[tokio::test]
async fn answers_come_in_the_order_of_the_lines_and_a_bad_line_hurts_no_other() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send([&line(1), "not json\n", &line(2), "\n \r\n", "{\"model\":NaN}\n", &line(3)].concat()).await;
    let bad = || refused(None, "invalid", "");
    assert_eq!(client.answers(5).await, [Said::Ok, bad(), Said::Ok, bad(), Said::Ok]);
    assert_eq!(client.rest().await, []);
    assert_eq!(rig.queue.ids(), [1, 2, 3]);
    assert_eq!(rig.queue.batches(), [3]);
    assert_eq!(rig.tally.count("stored"), 3);
    assert_eq!(rig.tally.count("kept") + rig.tally.count("not kept"), 0);
}

#[tokio::test]
async fn the_answer_names_the_key_under_which_the_event_will_be_sent() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send(line(1)).await;
    let mut text = String::new();
    client.lines.read_line(&mut text).await.unwrap();
    let record = &rig.queue.stored()[0];
    assert_eq!(text, format!("{{\"ok\":true,\"id\":\"{}\"}}\n", record.key));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_before_its_append_has_returned() {
    let rig = Rig::start();
    rig.queue.hold();
    let mut client = rig.connect().await;
    client.send(line(1)).await;
    rig.queue.waiting(1).await;
    client.send([line(2), "junk\n".into()].concat()).await;
    rig.queue.waiting(2).await;
    // Time stands still until everybody waits, so an answer that could come has come.
    tokio::time::timeout(Duration::from_secs(1), client.answer()).await.unwrap_err();
    rig.queue.let_through(None);
    assert_eq!(client.answer().await, Said::Ok);
    tokio::time::timeout(Duration::from_secs(1), client.answer()).await.unwrap_err();
    rig.queue.let_through(None);
    assert_eq!(client.answers(2).await, [Said::Ok, refused(None, "invalid", "")]);
}

#[tokio::test]
async fn later_lines_are_handed_over_while_earlier_ones_are_in_the_flush() {
    let rig = Rig::start();
    rig.queue.hold();
    let mut client = rig.connect().await;
    for id in 1..=3 {
        client.send(line(id)).await;
        rig.queue.waiting(usize::try_from(id).unwrap()).await;
    }
    rig.queue.release();
    assert_eq!(client.answers(3).await, [Said::Ok, Said::Ok, Said::Ok]);
}

#[tokio::test]
async fn numbered_events_get_one_answer_a_batch() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    let events: String = (1..=100).map(|n| numbered(n, n)).collect();
    let mut hello = Vec::new();
    Hello { v: 1, producer: Some(PRODUCER), ..Hello::default() }.write(&mut hello);
    client.send([&hello, events.as_bytes()].concat()).await;
    assert_eq!(client.answer().await, Said::Upto(100));
    let records = rig.queue.stored();
    let numbers: Vec<u64> = records.iter().map(|record| record.number.unwrap().1).collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    assert!(records.iter().all(|record| record.number.unwrap().0.0 == *PRODUCER.as_bytes()));
    assert_eq!(client.rest().await, []);
}

#[tokio::test]
async fn a_refused_number_is_named_before_the_answer_that_covers_it() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.hello().await;
    client.send([&numbered(1, 1), "{\"n\":2,\"oops\n", &numbered(3, 3)].concat()).await;
    assert_eq!(client.answers(2).await, [refused(2, "invalid", ""), Said::Upto(3)]);
    assert_eq!(rig.queue.ids(), [1, 3]);
}

#[tokio::test]
async fn a_number_used_twice_is_a_resend_or_a_conflict() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.hello().await;
    client.send([numbered(1, 1), numbered(2, 2)].concat()).await;
    assert_eq!(client.answer().await, Said::Upto(2));
    client.send([numbered(1, 1), numbered(2, 99)].concat()).await;
    assert_eq!(client.answers(2).await, [refused(2, "conflict", ""), Said::Upto(1)]);
    assert_eq!(rig.queue.ids(), [1, 2]);
    assert_eq!((rig.tally.count("stored"), rig.tally.count("duplicate")), (2, 1));
}

#[tokio::test]
async fn numbers_that_were_refused_and_come_again_are_not_covered_by_what_was_answered_before() {
    let limits = Limits { batch_lines_max: 1, ..Limits::default() };
    let rig = Rig::with(limits, Allow::default());
    let mut client = rig.connect().await;
    client.hello().await;
    client.send(numbered(9, 9)).await;
    assert_eq!(client.answer().await, Said::Upto(9));
    client.send([numbered(2, 2), numbered(5, 5)].concat()).await;
    // An `upto` of 9 here would promise 5 before it is durable.
    assert_eq!(client.answers(2).await, [Said::Upto(2), Said::Upto(5)]);
}

#[tokio::test]
async fn a_number_and_a_producer_need_each_other() {
    let rig = Rig::start();
    let mut anonymous = rig.connect().await;
    anonymous.send(numbered(1, 1)).await;
    assert_eq!(anonymous.answer().await, refused(1, "invalid", "n"));
    let mut producer = rig.connect().await;
    producer.hello().await;
    producer.send(line(1)).await;
    assert_eq!(producer.answer().await, refused(None, "invalid", "n"));
    assert_eq!(rig.queue.ids(), [0; 0]);
}

#[tokio::test]
async fn equal_anonymous_lines_are_appended_as_often_as_they_come() {
    let rig = Rig::start();
    let client = {
        let mut client = rig.connect().await;
        let same = event(1).replace(r#","transactionId":"t1""#, "") + "\n";
        client.send(same.repeat(1000)).await;
        client
    };
    assert_eq!(client.rest().await, vec![Said::Ok; 1000]);
    let keys: std::collections::HashSet<_> =
        rig.queue.stored().into_iter().map(|record| (record.key_is_identity, record.key)).collect();
    assert_eq!(keys.len(), 1000);
    assert!(keys.iter().all(|(is_identity, _)| !is_identity));
}

#[tokio::test]
async fn what_the_queue_cannot_take_is_refused_with_its_reason_and_the_connection_goes_on() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    let full = AppendError::Full { budget: "store".into(), bytes: 10, bytes_max: 10 };
    for (error, code) in [
        (full, "full"),
        (AppendError::Disk("no such device".into()), "disk"),
        (AppendError::Closing, "stopping"),
        (AppendError::OutOfBounds("key".into()), "invalid"),
        (AppendError::TooManyGaps { runs_max: 1024 }, "full"),
    ] {
        rig.queue.fail_with(Some(error));
        client.send([line(1), line(2)].concat()).await;
        assert_eq!(client.answers(2).await, [refused(None, code, ""), refused(None, code, "")]);
    }
    rig.queue.fail_with(None);
    client.send(line(3)).await;
    assert_eq!(client.answer().await, Said::Ok);
    assert_eq!(rig.queue.ids(), [3]);
}

#[tokio::test]
async fn a_failed_batch_between_good_ones_is_refused_by_number() {
    let rig = Rig::start();
    rig.queue.hold();
    let mut client = rig.connect().await;
    client.hello().await;
    for n in 1..=3 {
        client.send(numbered(n, n)).await;
        rig.queue.waiting(usize::try_from(n).unwrap()).await;
    }
    rig.queue.let_through(None);
    rig.queue.let_through(Some(AppendError::Disk("gone".into())));
    rig.queue.let_through(None);
    assert_eq!(client.answers(3).await, [Said::Upto(1), refused(2, "disk", ""), Said::Upto(3)]);
}
