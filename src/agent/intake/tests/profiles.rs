//! Whose account an event is for, what a hello changes, and what becomes of refused events.

use super::*;
use crate::intake::DEAD_REASON_REFUSED_AT_INTAKE;
use crate::queue::AppendError;

#[tokio::test]
async fn a_hello_gives_its_profile_to_events_that_name_none() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send("{\"hello\":{\"v\":1,\"profile\":\"team-a\",\"later\":true}}\n").await;
    let named = event(2).replacen('{', "{\"profile\":\"default\",", 1) + "\n";
    client.send([line(1), named].concat()).await;
    assert_eq!(client.answers(2).await, [Said::Ok, Said::Ok]);
    let lanes: Vec<String> =
        rig.queue.stored().iter().map(|record| record.lane.profile.to_string()).collect();
    assert_eq!(lanes, ["team-a", "default"]);
    // A queue takes all of an append or none, and profiles have budgets of their own.
    assert_eq!(rig.queue.batches(), [1, 1]);
}

#[tokio::test]
async fn a_hello_that_cannot_be_honoured_is_refused_and_nothing_after_it_is_taken() {
    for (hello, field) in [
        ("{\"hello\":{\"v\":2,\"producer\":\"x\"}}\n", "hello.v"),
        ("{\"hello\":{\"v\":1,\"profile\":\"no name\"}}\n", "hello.profile"),
        ("{\"hello\":{\"v\":1,\"producer\":\"12\"}}\n", "hello.producer"),
        ("{\"hello\":{\"v\":1,\"profile\":\"team-a\"\n", ""),
        ("{ \"hello\" : 1 }\n", "hello"),
    ] {
        let rig = Rig::start();
        let mut client = rig.connect().await;
        client.send([hello, &line(1)].concat()).await;
        assert_eq!(client.answer().await, refused(None, "invalid", field), "{hello}");
        assert_eq!(client.next().await, None);
        assert_eq!(rig.queue.stored().len(), 0, "{hello}");
    }
}

#[tokio::test]
async fn a_hello_of_a_future_version_is_told_which_version_is_spoken() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send("{\"hello\":{\"v\":2}}\n").await;
    let mut text = String::new();
    client.lines.read_line(&mut text).await.unwrap();
    assert!(text.contains("version 2 is not spoken here; say v 1"), "{text}");
}

#[tokio::test]
async fn a_second_hello_ends_the_connection() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send([&line(1), "{\"hello\":{\"v\":1,\"profile\":\"team-a\"}}\n", &line(2)].concat()).await;
    assert_eq!(client.answers(2).await, [Said::Ok, refused(None, "invalid", "hello")]);
    assert_eq!(client.next().await, None);
    assert_eq!(rig.queue.ids(), [1]);
}

#[tokio::test]
async fn an_event_for_an_unknown_profile_is_refused_and_kept_as_a_dead_letter() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send("{\"hello\":{\"v\":1,\"profile\":\"team-b\"}}\n").await;
    client.send([line(1), line(2)].concat()).await;
    let refusal = || refused(None, "invalid", "profile");
    assert_eq!(client.answers(2).await, [refusal(), refusal()]);
    let letters = rig.queue.stored();
    assert_eq!(letters.len(), 2);
    for (letter, id) in letters.iter().zip(1..) {
        assert_eq!(&*letter.lane.profile, "team-b");
        assert_eq!(letter.body, event(id));
        assert_eq!(letter.dead.as_ref().unwrap().reason, DEAD_REASON_REFUSED_AT_INTAKE);
    }
    assert_eq!((rig.tally.count("kept"), rig.tally.count("stored")), (2, 0));
}

#[tokio::test]
async fn dead_letters_are_kept_apart_from_good_events_so_that_neither_fails_the_other() {
    let rig = Rig::start();
    rig.queue.hold();
    let mut client = rig.connect().await;
    let unknown = event(2).replacen('{', "{\"profile\":\"team-b\",", 1) + "\n";
    client.send([line(1), unknown, line(3)].concat()).await;
    rig.queue.waiting(3).await;
    rig.queue.let_through(None);
    rig.queue.let_through(Some(AppendError::Disk("full of letters".into())));
    rig.queue.let_through(None);
    assert_eq!(client.answers(3).await, [Said::Ok, refused(None, "invalid", "profile"), Said::Ok]);
    assert_eq!(rig.tally.count("not kept"), 1);
}

#[tokio::test]
async fn a_users_refused_events_are_kept_up_to_its_bound_and_refused_beyond_it() {
    let limits = Limits {
        kept_refusals_per_second_per_uid_max: 0,
        kept_refusals_burst_per_uid: 3,
        ..Limits::default()
    };
    let rig = Rig::with(limits, Allow::default());
    for _ in 0..2 {
        let mut client = rig.connect().await;
        client.send("{\"profile\":\"nobody\"}\n".repeat(5)).await;
        assert_eq!(client.rest().await.len(), 5);
    }
    assert_eq!(rig.queue.stored().len(), 3);
    assert_eq!((rig.tally.count("kept"), rig.tally.count("not kept")), (3, 7));
}
