//! Keys that are handed over, and events that name a key by its fingerprint.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::intake::Guests;
use crate::keyring::Keyring;
use crate::secret::Secret;
use crate::tasks::Stop;
use crate::tenant::fingerprint;

const KEY: &str = "rev_mk_0123456789abcdefghij";
const CONFIGURED: &str = "hak_9876543210zyxwvutsrq";

/// An intake that is handed keys, and a profile `team` with a key of its own.
fn rig() -> (Rig, Arc<Keyring>) {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Arc::new(Keyring::open(dir.path().join("keys")).unwrap());
    let rig = Rig::of(dir, Arc::default(), Limits::default(), Allow::default(), tenants(&keyring));
    (rig, keyring)
}

fn tenants(keyring: &Arc<Keyring>) -> Arc<Tenants> {
    let team = watch::channel(Some(Secret::new(CONFIGURED))).1;
    let profiles = vec![("default".into(), watch::channel(None).1), ("team".into(), team)];
    Arc::new(Tenants::new(profiles, Some(keyring.clone()), Vec::<&str>::new()))
}

fn hello(key: &str, more: &str) -> String {
    let profile = fingerprint(key.as_bytes());
    format!("{{\"hello\":{{\"v\":1,\"profile\":\"{profile}\",\"key_at_hand\":true{more}}}}}\n")
}

fn handed(key: &str, more: &str) -> String {
    format!("{{\"key\":{{\"value\":\"{key}\"{more}}}}}\n")
}

fn lanes(rig: &Rig) -> Vec<String> {
    rig.queue.stored().iter().map(|record| record.lane.profile.to_string()).collect()
}

#[tokio::test]
async fn a_key_that_is_at_hand_is_asked_for_once_and_kept_for_the_next_agent() {
    let (rig, keyring) = rig();
    let of_key = fingerprint(KEY.as_bytes());
    let mut client = rig.connect().await;
    client.send([hello(KEY, ""), line(1)].concat()).await;
    assert_eq!(client.answers(2).await, [Said::WantKey, Said::Ok], "events need not wait for it");
    client.send([handed(KEY, ""), line(2)].concat()).await;
    assert_eq!(client.answer().await, Said::Ok, "a key that is taken gets no answer");
    assert_eq!(lanes(&rig), [of_key.clone(), of_key.clone()]);
    assert_eq!(keyring.follow().borrow()[&*of_key].key, Secret::new(KEY));

    let dir = rig.dir.path().join("keys");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join(&of_key))), (0o700, 0o600));
    let kept = Keyring::open(dir).unwrap().follow().borrow().clone();
    assert_eq!(kept, *keyring.follow().borrow());

    let mut again = rig.connect().await;
    again.send([hello(KEY, ""), line(3)].concat()).await;
    assert_eq!(again.answer().await, Said::Ok, "it is known by now");
}

#[tokio::test]
async fn a_key_is_asked_for_again_if_it_is_for_another_url() {
    let (rig, keyring) = rig();
    for url in ["", ",\"url\":\"https://one.example\"", ",\"url\":\"http://127.0.0.1:1\""] {
        let mut client = rig.connect().await;
        client.send(hello(KEY, url)).await;
        assert_eq!(client.answer().await, Said::WantKey, "{url}");
        client.send([handed(KEY, url), line(1)].concat()).await;
        assert_eq!(client.answer().await, Said::Ok);
    }
    let kept = keyring.follow().borrow().values().map(|kept| kept.url.clone()).collect::<Vec<_>>();
    assert_eq!(kept, [Some("http://127.0.0.1:1".to_owned())]);
}

#[tokio::test]
async fn events_of_a_key_that_a_profile_has_are_that_profiles_and_its_key_is_not_asked_for() {
    let (rig, keyring) = rig();
    let mut client = rig.connect().await;
    let named = event(2).replacen('{', &format!("{{\"profile\":\"{}\",", fingerprint(KEY.as_bytes())), 1);
    client.send([hello(CONFIGURED, ""), line(1), named + "\n"].concat()).await;
    assert_eq!(client.answers(2).await, [Said::Ok, Said::Ok]);
    assert_eq!(lanes(&rig), ["team".to_owned(), fingerprint(KEY.as_bytes())]);
    client.send(handed(CONFIGURED, "")).await;
    assert_eq!(client.answer().await, refused(None, "denied", "key"));
    assert_eq!(keyring.follow().borrow().len(), 0);
}

#[tokio::test]
async fn a_key_that_is_refused_is_kept_nowhere_and_events_go_on() {
    let (rig, keyring) = rig();
    let many = "\",\"url\":\"https://".to_owned() + &"x".repeat(400);
    for (hello, key, code, field) in [
        ("{\"hello\":{\"v\":1}}\n".to_owned(), handed(KEY, ""), "invalid", "key"),
        (hello(KEY, ""), handed(CONFIGURED, ""), "invalid", "key.value"),
        (hello(KEY, ""), handed("sk-ant-0123456789", ""), "invalid", "key.value"),
        (hello(KEY, ""), handed(KEY, ",\"url\":\"http://revenium.example\""), "invalid", "key.url"),
        (hello(KEY, ""), handed(&format!("{KEY}{many}"), ""), "invalid", "key.url"),
        (hello(KEY, ""), "{\"key\":\"rev_mk_0123456789abcdefghij\"}\n".to_owned(), "invalid", "key"),
        (hello("rev_mk_other_0123456789", ""), handed(KEY, ""), "invalid", "key.value"),
    ] {
        let mut client = rig.connect().await;
        let wants = hello.contains("key_at_hand");
        client.send([hello, key.clone(), line(1)].concat()).await;
        if wants {
            assert_eq!(client.answer().await, Said::WantKey);
        }
        assert_eq!(client.answers(2).await, [refused(None, code, field), Said::Ok], "{key}");
    }
    // Whatever else it looks like, it is no event to be mended by a person.
    let mut client = rig.connect().await;
    let odd =
        format!("{{\"n\":1,\"key\":{{\"value\":\"{KEY}\"}}}}\n{{\"\\u006bey\":{{\"value\":\"{KEY}\"}}}}\n");
    client.send(odd).await;
    assert_eq!(client.rest().await.len(), 2);
    assert!(rig.queue.stored().iter().all(|record| record.dead.is_none()));
    assert_eq!(keyring.follow().borrow().len(), 0);
    assert_eq!(fs::read_dir(rig.dir.path().join("keys")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_agent_that_takes_no_keys_asks_for_none_and_keeps_the_events_apart() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send([hello(KEY, ""), line(1), handed(KEY, "")].concat()).await;
    assert_eq!(client.answers(2).await, [Said::Ok, refused(None, "denied", "key")]);
    assert_eq!(lanes(&rig), [fingerprint(KEY.as_bytes())]);
}

#[tokio::test]
async fn with_too_many_unknown_keys_an_event_is_to_be_sent_again_and_not_kept_as_wrong() {
    let rig = Rig::start();
    for key in 0..65 {
        let mut client = rig.connect().await;
        client.send([hello(&format!("hak_{key}"), ""), line(key)].concat()).await;
        let expected = if key < 64 { Said::Ok } else { refused(None, "full", "profile") };
        assert_eq!(client.answer().await, expected, "{key}");
    }
    assert_eq!(rig.queue.stored().len(), 64);
}

#[tokio::test]
async fn of_guests_no_key_is_wanted_or_taken() {
    let (rig, keyring) = rig();
    let of_key = fingerprint(KEY.as_bytes());
    let guests =
        Guests::new(rig.queue.clone(), tenants(&keyring), Limits::default(), Arc::<Tally>::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (seat, (_sender, stop)) = (guests.seat().unwrap(), Stop::pair());
    let sent = [hello(KEY, ""), handed(KEY, ""), line(1)].concat();
    // Some of it came with what was read before.
    let (begun, rest) = sent.split_at(20);
    let talking = async {
        client.write_all(rest.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        answers
    };
    let ((), answers) = tokio::join!(guests.serve(stream, begun.as_bytes(), seat, stop), talking);
    let answers: Vec<&str> = answers.lines().collect();
    assert!(answers[0].contains("takes none here") && answers[1].contains("\"ok\":true"), "{answers:?}");
    assert_eq!(answers.len(), 2);
    assert!(keyring.follow().borrow().is_empty());
    assert_eq!(lanes(&rig), [of_key]);
}
