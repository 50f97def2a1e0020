//! The way up to a connection: the name, then the address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{Finding, Id};
use crate::upstream::Way;

/// Longest name lookup. The system's own resolver gives up after 10 s and more.
pub(super) const LOOKUP_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest wait for a connection, over all addresses that are tried.
pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Looks the name up and connects, and says of both; `Ok` if a connection was accepted.
pub(super) async fn reach(profile: &str, way: &Way) -> (Vec<Finding>, bool) {
    let who = if way.is_by_proxy() { "the proxy " } else { "" };
    let place = format!("{who}{}:{}", way.host, way.port);
    let found = timeout(LOOKUP_TIME_MAX, lookup_host((way.host.as_str(), way.port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
        Ok(Err(error)) => return (vec![not_found(profile, way, &error.to_string())], false),
        Err(_) => {
            let waited = format!("no answer within {} s", LOOKUP_TIME_MAX.as_secs());
            return (vec![not_found(profile, way, &waited)], false);
        }
    };
    let Some(first) = addresses.first() else {
        return (vec![not_found(profile, way, "it has no address")], false);
    };
    let mut findings = vec![Finding::ok(Id::Dns, profile, format!("{who}{} is {}", way.host, first.ip()))];
    let connected = match timeout(CONNECT_TIME_MAX, connect(&addresses)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
    };
    let is_connected = connected.is_ok();
    findings.push(match connected {
        Ok(address) => Finding::ok(Id::Connect, profile, format!("{place} accepts connections at {address}")),
        Err(error) => not_connected(profile, &place, &error),
    });
    (findings, is_connected)
}

/// The first address that accepts a connection, or the last error.
async fn connect(addresses: &[SocketAddr]) -> io::Result<SocketAddr> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(*address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn not_found(profile: &str, way: &Way, error: &str) -> Finding {
    let host = &way.host;
    let cause = format!("the name {host} is not found: {error}");
    let next = format!(
        "is it spelled right? `getent hosts {host}`; the servers asked are in /etc/resolv.conf. Where only a \
         proxy knows names, set drain.proxy"
    );
    Finding::problem(Id::Dns, profile, cause, next)
}

fn not_connected(profile: &str, place: &str, error: &io::Error) -> Finding {
    let (cause, next) = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            (format!("{place} refuses connections"), "is the port right, and does it run?".to_owned())
        }
        io::ErrorKind::TimedOut => (
            format!("{place} does not answer within {} s", CONNECT_TIME_MAX.as_secs()),
            format!("a firewall drops it: let this machine out to {place}, or set drain.proxy"),
        ),
        _ => (
            format!("{place} cannot be reached: {error}"),
            "`ip route` shows the ways out; where there is only a proxy, set drain.proxy".to_owned(),
        ),
    };
    Finding::problem(Id::Connect, profile, cause, next)
}
