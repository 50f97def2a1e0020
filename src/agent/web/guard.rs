//! Whether a request comes from a client of this machine's, and not from a web page. Pure.

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, ORIGIN};

use crate::host;

/// What browsers say of every request that a page made.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is not of here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It calls us by a name that is not ours.
    Host,
    /// A web page made it.
    Page,
}

/// Judges a request by its headers. `names` are ours, beside `localhost` and addresses. `authority` is what an
/// HTTP/2 request says instead of `Host`.
pub(crate) fn is_of_here(
    headers: &HeaderMap,
    authority: Option<&str>,
    names: &[String],
) -> Result<(), Foreign> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map_or(authority, |value| value.to_str().ok());
    if hosts.next().is_some() || !host.is_some_and(|host| host::is_ours(host, names)) {
        return Err(Foreign::Host);
    }
    let site = headers.get(&FETCH_SITE).and_then(|value| value.to_str().ok());
    if headers.contains_key(ORIGIN) || site.is_some_and(|site| site != "none") {
        return Err(Foreign::Page);
    }
    Ok(())
}

/// Compares without telling by its duration how much was right.
pub(crate) fn are_equal(given: &[u8], wanted: &[u8]) -> bool {
    let differences = given.iter().zip(wanted).fold(0u8, |all, (a, b)| all | (a ^ b));
    given.len() == wanted.len() && std::hint::black_box(differences) == 0
}
