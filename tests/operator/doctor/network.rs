//! Faults on the way to a connection: proxies, names, addresses; and the clock, which the answer tells.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::report::Report;
use super::standin::{StandIn, answer, home};
use crate::support::unused_address;

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

fn well() -> StandIn {
    StandIn::answering(&answer("400 Bad Request", "content-type: application/json\r\n", "{}"))
}

#[test]
fn a_proxy_that_wants_credentials_is_told_and_its_password_is_not() {
    let proxy = StandIn::answering(&answer("407 Proxy Authentication Required", "", ""));
    let home =
        home("http://127.0.0.1:1", &format!("drain.proxy = \"http://me:hunter2@{}\"\n", proxy.address));
    let report = Report::of(&home, &[]);
    report.planted("proxy", "problem", &["the proxy wants credentials (407)", "drain.proxy = "]);
    assert_eq!((report.level("dns"), report.level("connect"), proxy.asked()), ("ok", "ok", 1));
    // Over TLS it has to open a tunnel, and does not.
    let home =
        super::standin::home("https://upstream.example", &format!("drain.proxy = \"{}\"\n", proxy.url()));
    Report::of(&home, &[]).planted(
        "proxy",
        "problem",
        &["opens no tunnel", "allow CONNECT to upstream.example:443"],
    );
}

#[test]
fn variables_that_contradict_each_other_or_name_no_proxy_are_told() {
    let (upstream, proxy) = (well(), well());
    let plain = home("http://upstream.example", "profiles.default.allow_plain_http = true\n");
    let other = upstream.url();
    let url = proxy.url();
    let differ = [("HTTP_PROXY", &*url), ("http_proxy", &*other)];
    let report = Report::with(&plain, &differ, &[]);
    let found = report.findings.iter().filter(|finding| finding["id"] == "proxy");
    let said: Vec<&str> = found.filter_map(|finding| finding["cause"].as_str()).collect();
    assert!(said[0].contains(&format!("by way of {url} ($HTTP_PROXY)")), "{said:?}");
    assert!(said[1].contains("$HTTP_PROXY and $http_proxy differ: $HTTP_PROXY counts"), "{said:?}");
    assert_eq!((proxy.asked(), upstream.asked()), (1, 0), "it went the way that was told");

    // Straight ways that are ignored, left out, or barred.
    let port = upstream.address.port();
    let home = home(&format!("https://localhost:{port}"), "");
    let with = |variables: &[(&str, &str)]| {
        let report = Report::with(&home, variables, &[]);
        report.findings.into_iter().filter(|finding| finding["id"] == "proxy").collect::<Vec<_>>()
    };
    let found = with(&[("HTTPS_PROXY", "no proxy")]);
    assert!(
        found[0]["cause"].as_str().is_some_and(|cause| cause.contains("HTTPS_PROXY says is no proxy")),
        "{found:?}"
    );
    let found = with(&[("https_proxy", "socks5://127.0.0.1:1")]);
    assert!(
        found[0]["cause"].as_str().is_some_and(|cause| cause.contains("https_proxy names a SOCKS proxy")),
        "{found:?}"
    );
    let found = with(&[("HTTPS_PROXY", &url), ("NO_PROXY", "localhost")]);
    assert_eq!(found[0]["cause"], "straight to localhost: NO_PROXY leaves it out of HTTPS_PROXY");
    let barred = super::standin::home("https://127.0.0.1:1", "");
    let report = Report::with(&barred, &[("HTTPS_PROXY", &url), ("no_proxy", "127.0.0.0/8")], &[]);
    let found: Vec<_> = report.findings.iter().filter(|finding| finding["level"] == "warning").collect();
    let words = "no_proxy leaves 127.0.0.1 out of HTTPS_PROXY, and the straight way to it does not work";
    assert!(found.iter().any(|finding| finding["id"] == "proxy" && finding["cause"] == words), "{found:#?}");
}

#[test]
fn a_name_that_is_not_found_is_told() {
    let home = home("https://upstream.invalid", "");
    let report = Report::of(&home, &[]);
    report.planted(
        "dns",
        "problem",
        &["the name upstream.invalid is not found", "getent hosts upstream.invalid"],
    );
    assert_eq!((report.code, report.level("connect")), (Some(1), ""));
}

#[test]
fn a_name_lookup_that_hangs_is_told_in_time() {
    let home = home("https://upstream.example", "");
    // A name server that says nothing, and a resolver with much patience.
    let _silent = UdpSocket::bind("127.77.0.1:53").map_err(|error| eprintln!("skipped: {error}"));
    if _silent.is_err() {
        return;
    }
    home.write("resolv.conf", "nameserver 127.77.0.1\noptions timeout:30 attempts:5\n");
    home.write("nsswitch.conf", "hosts: dns\n");
    let script = "mount --bind resolv.conf /etc/resolv.conf; mount --bind nsswitch.conf /etc/nsswitch.conf; exec \"$@\"";
    let Some(report) = Report::in_namespaces(&home, &[], script) else { return };
    report.planted(
        "dns",
        "problem",
        &["upstream.example is not found: no answer within 5 s", "/etc/resolv.conf"],
    );
}

#[test]
fn an_address_that_refuses_or_that_there_is_no_way_to_is_told() {
    let address = unused_address();
    let refused = home(&format!("http://{address}"), "");
    let words = [&*format!("{address} refuses connections"), "is the port right"];
    Report::of(&refused, &[]).planted("connect", "problem", &words);
    let away = home("https://10.1.2.3", "");
    let Some(report) = Report::in_namespaces(&away, &["--net"], "exec \"$@\"") else { return };
    report.planted(
        "connect",
        "problem",
        &["10.1.2.3:443 cannot be reached: Network is unreachable", "ip route"],
    );
}

#[test]
fn a_firewall_that_drops_is_told_in_time() {
    // With its queue full, the kernel drops what asks for a connection, as a firewall does.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::listen(&listener, 0).expect("listens");
    let address = listener.local_addr().expect("an address");
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(500));
    let queued: Vec<_> = std::iter::repeat_with(connect).map_while(Result::ok).take(100).collect();
    assert!(queued.len() < 100, "the queue has an end");
    let report = Report::of(&home(&format!("http://{address}"), ""), &[]);
    let words = [&*format!("{address} does not answer within 5 s"), "a firewall drops it"];
    report.planted("connect", "problem", &words);
}

#[test]
fn a_clock_that_is_off_is_told_on_either_side() {
    assert!(Path::new(FAKETIME).is_file(), "{FAKETIME} is missing: apt-get install faketime");
    let upstream = crate::support::Home::new().sandbox(&[]);
    let home = home(&upstream.url(), "");
    let at = |shift: &str| {
        let faked = [
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME", shift),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        Report::with(&home, &faked, &[])
    };
    at("+49h").planted("clock", "problem", &["is 2 d ahead of 127.0.0.1", "timedatectl"]);
    at("-26h").planted("clock", "problem", &["is 26 h behind 127.0.0.1", "timedatectl set-ntp true"]);
    at("-10m").planted("clock", "warning", &["min behind"]);
    // Nobody to ask; the log remembers.
    std::fs::create_dir_all(home.path("data/store")).expect("made");
    home.write("data/store/a", "");
    let written =
        std::process::Command::new("touch").args(["-d", "+49 hours"]).arg(home.path("data/store/a")).status();
    assert!(written.expect("runs").success());
    let report = Report::of(&home, &["--offline"]);
    report.planted("clock", "problem", &["was last written 2 d from now: the clock was set back"]);
}
