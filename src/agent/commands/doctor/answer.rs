//! What the answer to a probe means, or that there was none. Pure.
//!
//! The probe is an event without a body, which Revenium refuses with 400 once it has accepted the key. So
//! 400 is the answer of an upstream to which events can be sent.

use super::{Finding, Id};
use crate::upstream::{Base, Fault, Reply, Unanswered, Way};

/// Hosts of Revenium's that are still there, and no longer the API's name.
const LEGACY: &str = "revenium.io";

/// An answer came over `base`'s scheme.
pub(super) fn tls(profile: &str, base: &Base) -> Finding {
    if base.is_https() {
        return Finding::ok(Id::Tls, profile, format!("the certificate of {} is trusted", base.host()));
    }
    if base.is_plain_loopback() {
        return Finding::ok(Id::Tls, profile, "not used: plain http on this machine");
    }
    let next = format!("use https in profiles.{profile}.url");
    Finding::warning(Id::Tls, profile, format!("the API key goes to {} unencrypted", base.host()), next)
}

/// What `reply` says of each layer above TLS.
pub(super) fn judge(profile: &str, base: &Base, has_key: bool, reply: &Reply) -> Vec<Finding> {
    let (at, status) = (base.to_string(), reply.status);
    let said = reply.words();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let answered = format!("{at} answered {status}{said}");
    let set_url = format!("set profiles.{profile}.url; Revenium's is https://api.revenium.ai");
    let portal = Finding::ok(Id::Portal, profile, "an API answers, not a page");
    let url = url(profile, base);
    let upstream =
        Finding::ok(Id::Upstream, profile, format!("{at} answers ({status} to an empty question)"));
    match status {
        407 => {
            let next = "give its user and password: drain.proxy = \"http://USER:PASSWORD@HOST:PORT\"";
            let cause = format!("the proxy wants credentials (407){said}");
            vec![Finding::problem(Id::Proxy, profile, cause, next)]
        }
        404 | 405 | 410 | 508 => vec![Finding::problem(Id::Url, profile, answered, set_url)],
        300..=399 => {
            let to = reply.location().unwrap_or("nowhere");
            let cause = format!("{at} redirects to {to} ({status}); a key follows no redirect");
            let is_same = Base::parse(to, true).is_ok_and(|to| to.host() == base.host());
            vec![if is_same || to.starts_with('/') {
                Finding::problem(Id::Url, profile, cause, set_url)
            } else {
                Finding::problem(Id::Portal, profile, cause, sign_in(base))
            }]
        }
        511 => vec![Finding::problem(Id::Portal, profile, answered, sign_in(base))],
        200..=499 if reply.is_page() => {
            let cause = format!("a page answers for {at} ({status}){said}");
            vec![Finding::problem(Id::Portal, profile, cause, sign_in(base))]
        }
        200..=299 => {
            let cause = format!("{at} accepted an event without a body ({status}): Revenium refuses that");
            vec![portal, Finding::problem(Id::Url, profile, cause, set_url)]
        }
        400 | 413 | 415 | 422 => {
            let key = Finding::ok(Id::UpstreamKey, profile, format!("{} accepts the key", base.host()));
            let key = has_key.then_some(key);
            [portal, url, upstream].into_iter().chain(key).collect()
        }
        401 | 403 => {
            let why = if status == 401 { "does not know the key" } else { "does not let this key meter" };
            let cause = format!("{} {why} ({status}){said}", base.host());
            let next = "put a metering key of the account in its place; a key file is read again within \
                        seconds, and all that waits is then sent";
            let key = has_key.then(|| Finding::problem(Id::UpstreamKey, profile, cause, next));
            [portal, url, upstream].into_iter().chain(key).collect()
        }
        402 => {
            let next = "pay the account's bill; events wait meanwhile";
            vec![portal, url, Finding::problem(Id::Upstream, profile, answered, next)]
        }
        429 => {
            let next = "nothing: the agent finds the pace by itself, and events wait meanwhile";
            vec![portal, url, Finding::warning(Id::Upstream, profile, answered, next)]
        }
        _ => {
            let next = "nothing here, if it is Revenium's outage: events wait, and are sent once it is over";
            vec![Finding::warning(Id::Upstream, profile, answered, next)]
        }
    }
}

fn url(profile: &str, base: &Base) -> Finding {
    let is_legacy = base.host() == LEGACY || base.host().ends_with(&format!(".{LEGACY}"));
    if is_legacy {
        let next = format!("set profiles.{profile}.url to https://api.revenium.ai");
        return Finding::warning(Id::Url, profile, format!("{base} is a legacy address"), next);
    }
    Finding::ok(Id::Url, profile, base.to_string())
}

fn sign_in(base: &Base) -> String {
    format!(
        "something in between answers in the place of {}: sign in to this network, or let this machine \
         pass; `curl -sI {base}` shows what it says",
        base.host()
    )
}

/// A connection was there, and no answer came.
pub(super) fn unanswered(profile: &str, base: &Base, way: &Way, error: &Unanswered) -> Finding {
    let (host, words) = (base.host(), &error.words);
    let id = match error.fault {
        Fault::UnknownIssuer | Fault::NotValidNow | Fault::OtherName | Fault::NoTls => Id::Tls,
        // Behind the connection comes a proxy's tunnel, and then TLS.
        Fault::NotConnected if way.is_by_proxy() => Id::Proxy,
        Fault::NotConnected if base.is_https() => Id::Tls,
        Fault::NotConnected | Fault::Silent | Fault::BrokenOff => Id::Upstream,
    };
    let next = match (error.fault, id) {
        (Fault::UnknownIssuer, _) => "if a proxy here looks into TLS, give its authority's certificate as \
             drain.ca_file; else bring the system's up to date: `apt-get install ca-certificates`"
            .to_owned(),
        (Fault::NotValidNow, _) => {
            "is it the clock? `timedatectl`. If it is right, whoever runs the upstream \
             or the inspecting proxy has to renew the certificate"
                .to_owned()
        }
        (Fault::OtherName, _) => {
            format!("something else answers for {host}: see the name in profiles.{profile}.url, and the DNS")
        }
        (_, Id::Proxy) => format!(
            "the proxy takes the connection, and opens no tunnel: it has to allow CONNECT to {host}:{}; is a \
             user and a password asked for (drain.proxy)?",
            base.port()
        ),
        (_, Id::Tls) => format!("does TLS answer there? `openssl s_client -connect {host}:{}`", base.port()),
        _ => "try again; if it stays so, a firewall or proxy in between cuts it off".to_owned(),
    };
    Finding::problem(id, profile, format!("{} gave no answer: {words}", base.authority()), next)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const PAGE: &str = "<html><title>Sign in</title></html>";

    /// The worst of what is found about an answer.
    fn worst(status: u16, location: &str, body: &'static str) -> (Id, Level) {
        let mut reply = Reply { status, body: body.into(), body_is_whole: true, ..Reply::default() };
        if !location.is_empty() {
            reply.headers.insert("location", location.parse().expect("a header"));
        }
        let base = Base::parse("https://api.example", false).expect("a URL");
        let found = judge("default", &base, true, &reply);
        let worst = found.iter().max_by_key(|finding| finding.level).expect("something is said");
        (worst.id, worst.level)
    }

    #[test]
    fn every_answer_is_about_one_layer() {
        use Level::{Ok, Problem, Warning};
        for (status, location, body, expected) in [
            (400, "", "{}", (Id::UpstreamKey, Ok)),
            (422, "", "", (Id::UpstreamKey, Ok)),
            (401, "", "{}", (Id::UpstreamKey, Problem)),
            (403, "", "{}", (Id::UpstreamKey, Problem)),
            (403, "", PAGE, (Id::Portal, Problem)),
            (200, "", PAGE, (Id::Portal, Problem)),
            (400, "", PAGE, (Id::Portal, Problem)),
            (511, "", PAGE, (Id::Portal, Problem)),
            (302, "http://portal.example/login", "", (Id::Portal, Problem)),
            (301, "https://api.example/new", "", (Id::Url, Problem)),
            (308, "/new", "", (Id::Url, Problem)),
            (201, "", "{}", (Id::Url, Problem)),
            (404, "", PAGE, (Id::Url, Problem)),
            (405, "", "{}", (Id::Url, Problem)),
            (508, "", "{}", (Id::Url, Problem)),
            (402, "", "{}", (Id::Upstream, Problem)),
            (407, "", "", (Id::Proxy, Problem)),
            (429, "", "{}", (Id::Upstream, Warning)),
            (502, "", PAGE, (Id::Upstream, Warning)),
            (503, "", "{}", (Id::Upstream, Warning)),
        ] {
            assert_eq!(worst(status, location, body), expected, "{status} {location} {body}");
        }
    }

    #[test]
    fn a_legacy_address_and_an_unencrypted_one_are_told() {
        let base = |url| Base::parse(url, true).expect("a URL");
        assert_eq!(url("default", &base("https://api.revenium.io/meter")).level, Level::Warning);
        assert_eq!(url("default", &base("https://api.revenium.ai")).level, Level::Ok);
        assert_eq!(tls("default", &base("http://10.0.0.1")).level, Level::Warning);
        assert_eq!(tls("default", &base("http://127.0.0.1:1")).level, Level::Ok);
    }
}
