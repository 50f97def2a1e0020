//! The name by which a client calls us, against web pages whose own name was made to point here. Pure.

use std::net::IpAddr;

/// Whether a `Host` is one that only a client who means this machine uses: a page whose own name was
/// made to point here (DNS rebinding) says that name.
pub(crate) fn is_ours(host: &str, names: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, _)) => return address.parse::<IpAddr>().is_ok(),
            None => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}
