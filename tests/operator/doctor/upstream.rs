//! Faults at the far end: TLS, pages in between, the URL, the key, an upstream that is not well.

use std::path::Path;

use super::report::Report;
use super::standin::{StandIn, answer, home};
use crate::support::{Home, OTHER_KEY, Sandbox};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/agent/upstream/fixtures/ca.pem");
const JSON: &str = "content-type: application/json\r\n";

fn sandbox(args: &[&str]) -> (Home, Sandbox) {
    let first = Home::new();
    let sandbox = first.sandbox(args);
    (first, sandbox)
}

#[test]
fn a_certificate_that_is_not_trusted_out_of_date_or_for_another_name_is_told_apart() {
    let well = answer("400 Bad Request", JSON, "{}");
    let upstream = StandIn::over_tls("127.0.0.1", &well);
    let url = format!("https://localhost:{}", upstream.address.port());
    let trusting = format!("drain.ca_file = \"{CA}\"\n");
    let unknown = Report::of(&home(&url, ""), &[]);
    unknown.planted("tls", "problem", &["UnknownIssuer", "drain.ca_file"]);
    assert_eq!((unknown.code, upstream.asked()), (Some(1), 0), "no key goes to it");
    let trusted = Report::of(&home(&url, &trusting), &[]);
    assert_eq!((trusted.level("tls"), trusted.level("upstream.key"), trusted.code), ("ok", "ok", Some(0)));
    let elsewhere = StandIn::over_tls("127.0.0.2", &well);
    let other = Report::of(&home(&format!("https://{}", elsewhere.address), &trusting), &[]);
    other.planted("tls", "problem", &["not valid for name", "profiles.default.url"]);
    let silent = Report::of(&home(&format!("https://{}", StandIn::answering(&well).address), &trusting), &[]);
    silent.planted("tls", "problem", &["openssl s_client -connect 127.0.0.1:"]);
    assert!(Path::new(FAKETIME).is_file(), "{FAKETIME} is missing: apt-get install faketime");
    let faked = [("LD_PRELOAD", FAKETIME), ("FAKETIME", "-20y"), ("DONT_FAKE_MONOTONIC", "1")];
    let early = Report::with(&home(&url, &trusting), &faked, &[]);
    early.planted("tls", "problem", &["not valid yet", "is it the clock? `timedatectl`"]);
}

#[test]
fn a_portal_that_answers_with_a_page_or_a_redirect_is_told() {
    let page = "<html><head><title>Hotel: sign in</title></head></html>";
    for answer in [
        answer("200 OK", "content-type: text/html\r\n", page),
        answer("302 Found", "location: http://portal.example/login?from=me\r\n", ""),
        answer("511 Network Authentication Required", "content-type: text/html\r\n", page),
    ] {
        let portal = StandIn::answering(&answer);
        let report = Report::of(&home(&portal.url(), ""), &[]);
        let planted =
            report.planted("portal", "problem", &["sign in to this network", "curl -sI http://127.0.0.1"]);
        assert!(!planted["cause"].to_string().contains("from=me"), "{planted}");
        assert_eq!((report.code, portal.asked()), (Some(1), 1), "asked once, and not followed");
    }
}

#[test]
fn a_url_that_is_not_the_api_s_is_told() {
    let (_first, sandbox) = sandbox(&[]);
    let report = Report::of(&home(&format!("{}/wrong", sandbox.url()), ""), &[]);
    report.planted("url", "problem", &["/wrong answered 404", "Revenium's is https://api.revenium.ai"]);
    let takes_all = StandIn::answering(&answer("200 OK", JSON, "{}"));
    let report = Report::of(&home(&takes_all.url(), ""), &[]);
    report.planted("url", "problem", &["accepted an event without a body (200)"]);
}

#[test]
fn a_key_that_the_upstream_refuses_is_told_and_not_shown() {
    let (_first, sandbox) = sandbox(&[]);
    let home = home(&sandbox.url(), "");
    home.write("key", OTHER_KEY);
    let report = Report::of(&home, &[]);
    report.planted(
        "upstream.key",
        "problem",
        &["127.0.0.1 does not know the key (401)", "put a metering key"],
    );
    assert_eq!((report.code, report.level("key.shape"), report.level("url")), (Some(1), "ok", "ok"));
}

#[test]
fn an_upstream_that_is_not_well_is_told_as_such() {
    let down = r#"{"steps":[{"fault":{"kind":"503"},"times":100}]}"#;
    let (_first, sandbox) = sandbox(&["--fault-script", down]);
    let report = Report::of(&home(&sandbox.url(), ""), &[]);
    report.planted("upstream", "warning", &["answered 503", "events wait, and are sent once it is over"]);
    assert_eq!(report.code, Some(0), "nothing here is to be mended");
    let silent = StandIn::answering("");
    let report = Report::of(&home(&silent.url(), ""), &[]);
    report.planted("upstream", "problem", &["gave no answer", "cuts it off"]);
}
