//! What becomes of header fields on their way. Pure.
//!
//! Fields keep their order and their values; a name that comes several times comes together, in order. The case
//! of names travels beside the map, as an extension of hyper's.

use hyper::HeaderMap;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};

/// How the names of our own fields begin.
pub(super) const OURS: &str = "x-revenium-";

/// Fields about one connection, beside those that `Connection` names (RFC 9110, 7.6.1).
const OF_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A request's fields as they go to the provider: its own name, and none of ours.
pub(super) fn to_provider(headers: &HeaderMap, host: &HeaderValue) -> HeaderMap {
    let mut kept = passed_on(headers, |name| name.as_str().starts_with(OURS));
    // In its place if there was one.
    kept.insert(HOST, host.clone());
    kept
}

/// An answer's fields as they go to the client.
pub(super) fn to_client(headers: &HeaderMap) -> HeaderMap {
    passed_on(headers, |_| false)
}

fn passed_on(headers: &HeaderMap, is_taken_out: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let named: Vec<HeaderName> = named_by_connection(headers).collect();
    let mut kept = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        if !OF_CONNECTION.contains(name) && !named.contains(name) && !is_taken_out(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> + '_ {
    let values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        map
    }

    fn fields(map: &HeaderMap) -> Vec<(&str, &str)> {
        map.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect()
    }

    #[test]
    fn what_belongs_to_a_connection_and_what_is_ours_stays_here_and_the_rest_keeps_its_order() {
        let sent = map(&[
            ("host", "127.0.0.1:8794"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("x-api-key", "sk-1"),
            ("anthropic-beta", "a"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("x-revenium-trace-id", "t"),
            ("anthropic-beta", "b"),
            ("x-revenium-metered", "py"),
            ("upgrade", "h2c"),
            ("accept-encoding", "gzip"),
        ]);
        assert_eq!(
            fields(&to_provider(&sent, &HeaderValue::from_static("api.anthropic.com"))),
            [
                ("host", "api.anthropic.com"),
                ("x-api-key", "sk-1"),
                ("anthropic-beta", "a"),
                ("anthropic-beta", "b"),
                ("accept-encoding", "gzip"),
            ]
        );
    }

    #[test]
    fn an_answer_keeps_what_its_provider_said_of_itself() {
        let answered = map(&[
            ("date", "x"),
            ("content-encoding", "gzip"),
            ("connection", "close"),
            ("x-revenium-metered", "a gateway"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
        ]);
        assert_eq!(
            fields(&to_client(&answered)),
            [
                ("date", "x"),
                ("content-encoding", "gzip"),
                ("x-revenium-metered", "a gateway"),
                ("set-cookie", "a"),
                ("set-cookie", "b"),
            ]
        );
    }
}
