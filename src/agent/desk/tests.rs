//! The desk over a real log, without HTTP and without a drain.

use std::collections::BTreeSet;

use revenium_store::Options;
use tempfile::TempDir;

use super::*;
use crate::drain::Reason;
use crate::queue::{DeadNote, End, Lane, NewRecord, Seq};

const LONG: Duration = Duration::from_secs(20);

const BODY: &str =
    r#"{"model":"m","provider":"p","inputTokenCount":1,"outputTokenCount":2,"transactionId":"t"}"#;

fn open(dir: &TempDir) -> Arc<Store> {
    let options = Options { segment_bytes: 16 << 20, free_reserve_bytes: 0, ..Options::new(dir.path()) };
    let store = Store::open(options).expect("opens");
    assert!(store.wait_ready(LONG));
    Arc::new(store)
}

fn desk_of(store: &Arc<Store>) -> Desk {
    let profiles: Vec<Arc<str>> = vec!["default".into(), "b".into()];
    let claims = Arc::new(Claims::open(store, profiles.clone()));
    Desk::new(store.clone(), profiles, claims)
}

fn record(profile: &str, dead: Option<Reason>) -> NewRecord {
    NewRecord {
        lane: Lane { profile: profile.into(), route: 0 },
        key: "ace5d465-1c35-5d3c-8b15-7e57a4a0bfc3".into(),
        number: None,
        key_is_identity: false,
        fingerprint: 1,
        received_at_ms: 1_795_000_000_000,
        body: BODY.into(),
        dead: dead.map(|reason| DeadNote {
            reason: reason.code(),
            status: 422,
            words: "no".into(),
            at_ms: 7,
        }),
        replaces: None,
        is_part: false,
    }
}

async fn dead(store: &Store, count: usize) {
    let records = (0..count).map(|_| record("default", Some(Reason::RefusedByUpstream))).collect();
    store.append(records).await.expect("durable");
}

async fn page(desk: &Desk, request: LettersRequest) -> Page {
    match desk.letters(request).await.expect("answered") {
        Answer::Page(page) => page,
        Answer::Done(done) => panic!("{done:?}"),
    }
}

async fn done(desk: &Desk, request: LettersRequest) -> Done {
    match desk.letters(request).await.expect("answered") {
        Answer::Done(done) => done,
        Answer::Page(page) => panic!("{page:?}"),
    }
}

fn retry(after: u64, upto: Option<u64>) -> LettersRequest {
    LettersRequest::Retry { filter: Filter::default(), after, upto, new_transaction_id: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_told_and_retried_page_by_page_and_what_dies_meanwhile_is_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(&dir);
    let desk = desk_of(&store);
    dead(&store, 600).await;
    let (mut after, mut pages, mut seen) = (Some(0), 0, BTreeSet::new());
    while let Some(from) = after {
        let filter = Filter::default();
        let page = page(&desk, LettersRequest::List { filter, after: from, max: usize::MAX }).await;
        seen.extend(page.letters.iter().map(|letter| letter.seq));
        (after, pages) = (page.next, pages + 1);
    }
    assert_eq!((seen.len(), pages), (600, 3));

    let first = done(&desk, retry(0, None)).await;
    assert_eq!((first.done, first.next, first.failed.len()), (256, Some(256), 0));
    dead(&store, 5).await;
    let second = done(&desk, retry(256, Some(first.upto))).await;
    let third = done(&desk, retry(512, Some(first.upto))).await;
    assert_eq!((second.done, third.done, third.next), (256, 88, None));
    let left = page(&desk, LettersRequest::List { filter: Filter::default(), after: 0, max: 100 }).await;
    assert_eq!(left.letters.len(), 5, "as many as died meanwhile");
    let lanes = store.lanes();
    assert_eq!((lanes[0].waiting, lanes[0].ledger.dead, store.stats().imbalance), (600, 5, 0));
    // Asked for a second time, they are gone.
    assert_eq!(done(&desk, retry(0, Some(first.upto))).await.done, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_looks_at_a_bounded_number_of_letters_however_few_fit() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(&dir);
    let desk = desk_of(&store);
    for _ in 0..5 {
        dead(&store, 1000).await;
    }
    let filter = Filter { profile: Some("b".to_owned()), ..Filter::default() };
    let first = page(&desk, LettersRequest::List { filter: filter.clone(), after: 0, max: 10 }).await;
    assert_eq!((first.letters.len(), first.next), (0, Some(2048)));
    let many = Filter { seqs: (0..257).collect(), ..Filter::default() };
    let error = desk.letters(LettersRequest::List { filter: many, after: 0, max: 10 }).await;
    assert_eq!(error.expect_err("too many").to_string(), "257 numbers at once; at most 256 are taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_retry_and_discard_the_same_letters_end_each_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(&dir);
    let desk = desk_of(&store);
    dead(&store, 200).await;
    let discard = || LettersRequest::Discard { filter: Filter::default(), after: 0, upto: None };
    let (one, two, three) =
        tokio::join!(done(&desk, retry(0, None)), done(&desk, discard()), done(&desk, retry(0, None)));
    assert_eq!(one.done + two.done + three.done, 200);
    assert!(store.wait_settled(LONG));
    let lane = &store.lanes()[0];
    assert_eq!((lane.waiting + lane.ledger.discarded, lane.ledger.dead), (200, 0), "{lane:?}");
    assert_eq!(lane.ledger.received, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_the_same_bytes_under_the_next_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(&dir);
    let desk = desk_of(&store);
    store.append(vec![record("key-0abc", Some(Reason::RefusedByUpstream))]).await.expect("durable");
    store.append(vec![record("gone", Some(Reason::RefusedByUpstream))]).await.expect("durable");
    let done = done(&desk, retry(0, None)).await;
    assert_eq!((done.done, done.failed.len()), (1, 1));
    assert_eq!(done.failed[0].error.field.as_deref(), Some("profile"), "{done:?}");
    assert!(store.wait_followed(LONG));
    let lane = Lane { profile: "key-0abc".into(), route: 0 };
    let claimed = store.claim(&lane, End::Oldest, 10, u64::MAX).expect("claimed");
    assert_eq!((claimed.len(), &claimed[0].body[..]), (1, BODY.as_bytes()));
    assert_eq!(&*claimed[0].key, "b1274532-70f1-5f5f-a6e0-de2c539d54f5");
    assert_eq!((claimed[0].received_at_ms, claimed[0].attempts), (1_795_000_000_000, 0));
    assert_eq!(claimed[0].seq, Seq(3));
}

fn claim(profile: &str, claim_as: &str, force: bool) -> ClaimRequest {
    ClaimRequest { profile: profile.to_owned(), claim_as: claim_as.to_owned(), force }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_durable_bounded_and_made_anew_only_by_force() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(&dir);
    let desk = desk_of(&store);
    // The longest names there can be.
    let name = |i: usize| format!("key-{i:060}");
    let records = (0..=CLAIMS_MAX).map(|i| record(&name(i), None)).collect();
    store.append(records).await.expect("durable");
    for (profile, claim_as, field, message) in [
        ("default", "b", "profile", "\"default\" is no unknown key's profile"),
        ("key-", "b", "profile", "\"key-\" is no unknown key's profile"),
        ("key-none", "b", "profile", "no event came with key-none"),
        (&*name(0), "nobody", "claim_as", "profile nobody is not configured here; there is default, b"),
        (&*name(0), &*name(1), "claim_as", "is not configured here"),
    ] {
        let error = desk.claim(claim(profile, claim_as, false)).await.expect_err("is refused");
        let trouble = Trouble::from(error);
        assert_eq!((&*trouble.code, trouble.field.as_deref()), ("invalid", Some(field)));
        assert!(trouble.message.contains(message), "{trouble}");
    }
    assert!(desk.claims.follow().borrow().is_empty(), "nothing came of it");
    for i in 0..CLAIMS_MAX {
        let claimed = desk.claim(claim(&name(i), "b", false)).await.expect("claimed");
        assert_eq!((&*claimed.claimed_as, claimed.was_already), ("b", false));
    }
    let one_more = desk.claim(claim(&name(CLAIMS_MAX), "b", false)).await;
    assert_eq!(one_more, Err(DeskError::TooManyClaims(CLAIMS_MAX)));
    assert!(desk.claim(claim(&name(7), "b", false)).await.expect("as before").was_already);
    let other = desk.claim(claim(&name(7), "default", false)).await.expect_err("is another's");
    assert_eq!(other.to_string(), format!("{} is claimed as b; --force claims it anew", name(7)));
    desk.claim(claim(&name(7), "default", true)).await.expect("by force");
    drop((desk, store));

    let store = open(&dir);
    let claims = Claims::open(&store, vec!["default".into()]);
    let kept = claims.follow().borrow().clone();
    assert_eq!((kept.len(), &*kept[&*name(7)], &*kept[&*name(8)]), (CLAIMS_MAX, "default", "b"));
    store.put_state("claims", b"not JSON");
    assert!(Claims::open(&store, vec!["default".into()]).follow().borrow().is_empty());
}

const CALL: &str = r#"{"call":{"id":"msg_1","model":"claude","usage":{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"compaction","input_tokens":3,"output_tokens":4}]}}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_refused_is_retried_with_what_is_billed_beside_it_under_ids_that_fit() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(&dir);
    let desk = desk_of(&store);
    let letter = NewRecord { body: CALL.into(), ..record("default", Some(Reason::RefusedAtIntake)) };
    store.append(vec![letter]).await.expect("durable");

    let anew =
        LettersRequest::Retry { filter: Filter::default(), after: 0, upto: None, new_transaction_id: true };
    let failed = done(&desk, anew).await;
    assert_eq!((failed.done, failed.failed.len()), (0, 1), "said to be done, it would be known by its id");
    assert_eq!(failed.failed[0].error.field.as_deref(), Some("transactionId"));

    assert_eq!(done(&desk, retry(0, None)).await.done, 1);
    assert!(store.wait_followed(LONG));
    let lane = Lane { profile: "default".into(), route: 0 };
    let claimed = store.claim(&lane, End::Oldest, 10, u64::MAX).expect("claimed");
    let bodies: Vec<serde_json::Value> =
        claimed.iter().map(|record| serde_json::from_slice(&record.body).expect("JSON")).collect();
    let ids = |body: &serde_json::Value| [body["transactionId"].clone(), body["parentTransactionId"].clone()];
    assert_eq!(
        bodies.iter().map(ids).collect::<Vec<_>>(),
        [["msg_1".into(), serde_json::Value::Null], ["msg_1-iteration-0".into(), "msg_1".into()],]
    );
    let stats = &store.lanes()[0];
    assert_eq!((stats.waiting, stats.ledger.received, stats.ledger.dead), (2, 2, 0));
}

/// A client of the relay may have a member of this name; nobody meant facts of a call by it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_with_a_member_call_is_never_billed_by_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(&dir);
    let desk = desk_of(&store);
    let sent = BODY.replacen('{', &format!("{{{},", &CALL[1..CALL.len() - 1]), 1);
    let letter =
        NewRecord { body: sent.clone().into(), ..record("default", Some(Reason::RefusedByUpstream)) };
    store.append(vec![letter]).await.expect("durable");
    let edit = |body: String, new_transaction_id| LettersRequest::Edit { seq: 1, body, new_transaction_id };
    for new_transaction_id in [false, true] {
        let mended = sent.replace("\"inputTokenCount\":1", "\"inputTokenCount\":9");
        let error = desk.letters(edit(mended, new_transaction_id)).await.expect_err("is refused");
        assert_eq!(Trouble::from(error).field.as_deref(), Some("call"));
    }
    let without = BODY.replace("\"inputTokenCount\":1", "\"inputTokenCount\":9");
    assert_eq!(done(&desk, edit(without, false)).await.done, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_says_where_an_event_goes_beside_whatever_else_it_has() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(&dir);
    let desk = desk_of(&store);
    let with = |members: &str| BODY.replacen('{', &format!("{{{members},"), 1);
    let letter = |body: String| NewRecord { body: body.into(), ..record("b", Some(Reason::RefusedAtIntake)) };
    // Of two members, one has a name that is no text.
    store.append(vec![letter(with(r#""\ud800":1,"profile":"b""#))]).await.expect("durable");
    let edit = |body| LettersRequest::Edit { seq: 1, body, new_transaction_id: false };
    assert_eq!(done(&desk, edit(with(r#""\ud800":1,"profile":"default""#))).await.done, 1);
    assert!(store.wait_settled(LONG));
    let lanes = store.lanes();
    let waiting = lanes.iter().find(|lane| lane.waiting > 0).expect("it waits");
    assert_eq!(&*waiting.lane.profile, "default");
}
