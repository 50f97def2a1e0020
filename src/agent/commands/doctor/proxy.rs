//! What the settings and variables say of a proxy. Pure: the way was chosen by `upstream::way`.

use super::{Finding, Id};
use crate::upstream::way::{self, Through, Way};

/// Pairs of variables that mean the same; the first one counts.
const PAIRS: [[&str; 2]; 4] = [
    ["HTTPS_PROXY", "https_proxy"],
    ["HTTP_PROXY", "http_proxy"],
    ["ALL_PROXY", "all_proxy"],
    way::NO_PROXY_VARIABLES,
];

/// Says which way is taken to `host`, and what of the variables is not as somebody may think.
pub(super) fn judge(
    profile: &str,
    host: &str,
    way: &Way,
    var: &dyn Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let own_variables = "a service has variables of its own: set drain.proxy in the configuration instead";
    let mut findings = vec![match &way.through {
        Through::Nothing => Finding::ok(Id::Proxy, profile, format!("none: straight to {host}")),
        Through::Loopback => {
            Finding::ok(Id::Proxy, profile, "none: plain http on this machine goes straight")
        }
        Through::LeftOut { proxy, by } => {
            Finding::ok(Id::Proxy, profile, format!("straight to {host}: {by} leaves it out of {proxy}"))
        }
        Through::Proxy { by: way::SETTING, url } => {
            Finding::ok(Id::Proxy, profile, format!("by way of {url} ({})", way::SETTING))
        }
        Through::Proxy { by, url } => {
            Finding::ok(Id::Proxy, profile, format!("by way of {url} (${by}); {own_variables}"))
        }
        Through::Unusable(by) => Finding::problem(
            Id::Proxy,
            profile,
            format!("what {by} says is no proxy that can be used, and is ignored: straight to {host}"),
            "give it as http://HOST:PORT, or https://HOST:PORT",
        ),
        Through::Socks(by) => Finding::problem(
            Id::Proxy,
            profile,
            format!("{by} names a SOCKS proxy, which is not supported: nothing is delivered"),
            format!("name an HTTP proxy, or leave {host} out of it (NO_PROXY)"),
        ),
    }];
    for [counts, other] in PAIRS {
        if let (Some(one), Some(two)) = (var(counts), var(other))
            && one != two
            && !is_by_setting(way)
        {
            findings.push(Finding::warning(
                Id::Proxy,
                profile,
                format!("${counts} and ${other} differ: ${counts} counts"),
                format!("set both alike, or `unset {other}`"),
            ));
        }
    }
    findings
}

fn is_by_setting(way: &Way) -> bool {
    matches!(way.through, Through::Proxy { by: way::SETTING, .. })
}

/// If the straight way is barred and a proxy was there to be taken.
pub(super) fn left_out(profile: &str, host: &str, way: &Way) -> Option<Finding> {
    let Through::LeftOut { proxy, by } = way.through else { return None };
    Some(Finding::warning(
        Id::Proxy,
        profile,
        format!("{by} leaves {host} out of {proxy}, and the straight way to it does not work"),
        format!("take {host} out of {by}, or set drain.proxy, for which {by} does not count"),
    ))
}
