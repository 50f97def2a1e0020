//! Every row of the upstream's contract, in one table.

use bytes::Bytes;

use super::*;

type Headers<'a> = &'a [(&'static str, &'a str)];

fn reply(status: u16, headers: Headers<'_>, body: &str) -> Reply {
    let mut reply =
        Reply { status, body: Bytes::from(body.to_owned()), body_is_whole: true, ..Reply::default() };
    for (name, value) in headers {
        reply.headers.insert(*name, value.parse().expect("a header value"));
    }
    reply
}

/// The outcome in few words: what a table can be read in.
fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered => "delivered".to_owned(),
        Outcome::Retry(retry) => {
            let after = retry.after.map(|after| format!(" after {after:?}")).unwrap_or_default();
            format!("retry {:?} {:?}{after}", retry.scope, retry.cause).to_lowercase()
        }
        Outcome::Refused(refusal) if refusal.is_mismatch => "refused mismatch".to_owned(),
        Outcome::Refused(_) => "refused".to_owned(),
        Outcome::Blocked(_) => "blocked".to_owned(),
    }
}

fn of(status: u16, headers: Headers<'_>, body: &str) -> Outcome {
    Outcome::of(Ok(&reply(status, headers, body)), 0)
}

#[test]
fn every_row_of_the_contract_has_its_outcome() {
    const CREATED: &str = r#"{"id":"x","resourceType":"metering"}"#;
    const IN_PROGRESS: &str = r#"{"error":"idempotency_key_in_progress"}"#;
    const MISMATCH: &str = r#"{"errors":[{"code":"IDEMPOTENCY_KEY_MISMATCH"}]}"#;
    const JSON: Headers<'static> = &[("content-type", "application/json")];
    const HTML: Headers<'static> = &[("content-type", "text/html; charset=utf-8")];
    const AGAIN: Headers<'static> = &[("x-should-retry", "true")];
    const NEVER: Headers<'static> = &[("x-should-retry", "False")];
    const AFTER: Headers<'static> = &[("retry-after", "1")];
    const NEVER_AFTER: Headers<'static> = &[("x-should-retry", "false"), ("retry-after", "1")];
    let rows: &[(u16, Headers<'_>, &str, &str)] = &[
        // Accepted.
        (201, JSON, CREATED, "delivered"),
        (200, JSON, CREATED, "delivered"),
        (202, &[], "", "delivered"),
        (204, &[], "", "delivered"),
        (201, &[("content-type", "application/hal+json")], "\"ok\"", "delivered"),
        (200, &[("content-type", "text/plain")], "\u{feff} {\"id\":1}", "delivered"),
        (201, AGAIN, CREATED, "delivered"),
        (202, AFTER, CREATED, "delivered"),
        (201, NEVER, "", "delivered"),
        // Refused by something that is not Revenium.
        (400, HTML, "<html>The plain HTTP request was sent to HTTPS port", "blocked"),
        (413, HTML, "\u{feff} <!DOCTYPE html>", "blocked"),
        (415, HTML, "<html>", "blocked"),
        (422, &[], "<html>", "blocked"),
        (400, HTML, "no page", "refused"),
        // Accepted by something that is not Revenium.
        (200, HTML, "<html>", "blocked"),
        (200, HTML, "", "delivered"),
        (201, JSON, "  <!doctype html>", "blocked"),
        (200, &[("content-type", "text/plain")], "OK", "blocked"),
        (200, AFTER, "<html>maintenance", "retry record asked after 1s"),
        // Never followed.
        (300, &[], "", "blocked"),
        (301, &[("location", "https://h/")], "", "blocked"),
        (302, HTML, "<html>", "blocked"),
        (304, &[], "", "blocked"),
        (307, &[], "", "blocked"),
        (308, &[], "", "blocked"),
        // Refused for good.
        (400, JSON, "{}", "refused"),
        (409, JSON, MISMATCH, "refused mismatch"),
        (413, &[], "", "refused"),
        (415, &[], "", "refused"),
        (422, &[], "", "refused"),
        (400, NEVER, "", "refused"),
        (422, NEVER_AFTER, "", "refused"),
        // Not about the record.
        (401, &[], "", "blocked"),
        (402, &[], "", "blocked"),
        (403, NEVER, "", "blocked"),
        (404, HTML, "<html>", "blocked"),
        (405, &[], "", "blocked"),
        (407, &[], "", "blocked"),
        (409, &[], "conflict", "blocked"),
        (410, &[], "", "blocked"),
        (508, &[], "", "blocked"),
        // Every status not named.
        (101, &[], "", "blocked"),
        (418, &[], "", "blocked"),
        (451, &[], "", "blocked"),
        (600, &[], "", "blocked"),
        (999, &[], "", "blocked"),
        (0, &[], "", "blocked"),
        // Again, later.
        (408, &[], "", "retry record failed"),
        (409, JSON, IN_PROGRESS, "retry record inprogress"),
        (409, AFTER, IN_PROGRESS, "retry record inprogress after 1s"),
        (425, &[], "", "retry record tooearly"),
        (429, &[], "", "retry account throttled"),
        (429, &[("retry-after", "3600")], "", "retry account throttled after 3600s"),
        (429, &[("retry-after-ms", "1500")], "", "retry account throttled after 1.5s"),
        (429, AGAIN, "", "retry account throttled"),
        (500, &[], "", "retry record failed"),
        (502, HTML, "<html>", "retry record failed"),
        (503, AFTER, "", "retry record failed after 1s"),
        (504, &[], "", "retry record failed"),
        (599, &[], "", "retry record failed"),
        // Headers come before the status, x-should-retry before Retry-After.
        (400, AGAIN, "", "retry record asked"),
        (401, AGAIN, "", "retry record asked"),
        (302, AGAIN, "", "retry record asked"),
        (400, AFTER, "", "retry record asked after 1s"),
        (403, AFTER, "", "retry record asked after 1s"),
        (409, AFTER, "conflict", "retry record asked after 1s"),
        (409, AGAIN, MISMATCH, "retry record asked"),
        (503, NEVER, "", "blocked"),
        (429, NEVER_AFTER, "", "blocked"),
        (408, NEVER, "", "blocked"),
        (400, &[("retry-after", "soon")], "", "refused"),
        (400, &[("x-should-retry", "perhaps")], "", "refused"),
    ];
    for (status, headers, body, expected) in rows {
        assert_eq!(brief(&of(*status, headers, body)), *expected, "{status} {headers:?} {body}");
    }
}

#[test]
fn no_status_is_without_an_outcome_and_none_but_2xx_delivers() {
    for status in 0..=u16::MAX {
        let delivered = of(status, &[], "") == Outcome::Delivered;
        assert_eq!(delivered, (200..=299).contains(&status), "{status}");
    }
}

#[test]
fn an_answer_that_was_not_heard_is_retried() {
    let unheard = Outcome::of(Err(&SendError::Unheard("connection reset".to_owned())), 0);
    assert_eq!(brief(&unheard), "retry record unheard");
    let mut cut = reply(201, &[], "");
    cut.body_is_whole = false;
    assert_eq!(brief(&Outcome::of(Ok(&cut), 0)), "retry record unheard");
    let mut cut = reply(201, &[("content-type", "application/json")], "");
    cut.body_is_whole = false;
    assert_eq!(Outcome::of(Ok(&cut), 0), Outcome::Delivered);
}

#[test]
fn a_record_that_can_never_be_a_request_is_refused_and_one_without_a_route_waits() {
    let outcome = Outcome::of(Err(&SendError::Unsendable("too odd".to_owned())), 0);
    let words = "too odd".to_owned();
    assert_eq!(outcome, Outcome::Refused(Refusal { status: 0, is_mismatch: false, words }));
    let outcome = Outcome::of(Err(&SendError::Unroutable("no route 77".to_owned())), 0);
    assert_eq!(outcome, Outcome::Blocked(Block { status: 0, words: "no route 77".to_owned() }));
}

#[test]
fn the_servers_words_travel_with_the_outcome() {
    let Outcome::Refused(refusal) = of(400, &[], r#"{"message":"model is required"}"#) else {
        panic!("a 400 is a refusal");
    };
    assert_eq!(refusal, Refusal { status: 400, is_mismatch: false, words: "model is required".to_owned() });
    let words = |status, headers: Headers<'_>, body: &str| match of(status, headers, body) {
        Outcome::Blocked(block) => block.words,
        other => panic!("{other:?}"),
    };
    assert_eq!(words(401, &[], "no such key"), "the API key is not accepted; no such key");
    assert_eq!(
        words(302, &[("location", "https://h/login?from=secret")], ""),
        "redirects are not followed; it points to https://h/login"
    );
    assert_eq!(words(508, &[], ""), "a loop: the upstream is one of this agent's own listeners");
    assert_eq!(words(503, &[("x-should-retry", "false")], "down"), "the upstream asks not to retry; down");
}
