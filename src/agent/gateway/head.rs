//! What becomes of header fields on their way. Pure.
//!
//! Fields keep their order and their values; a name that comes several times comes together, in order. The case
//! of names travels beside the map, as an extension of hyper's.

use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};

/// How the names of our own fields begin.
pub(super) const OURS: &str = "x-revenium-";

/// Fields about one connection, beside those that `Connection` names (RFC 9110, 7.6.1).
const OF_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
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

/// The codings of a body as it is passed on, in the order in which they were applied.
pub(super) fn codings(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    listed(headers, &CONTENT_ENCODING).chain(transfer_codings(headers))
}

/// The codings that a body was given for its transfer, beside `chunked`. Nobody asks for them here, as `TE` is not
/// passed on; whoever uses them all the same has them passed on, since the body has them.
pub(super) fn transfer_codings(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    listed(headers, &TRANSFER_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("chunked"))
}

/// Whether a body is AWS's binary framing of events, as of Bedrock.
pub(super) fn is_aws_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.to_ascii_lowercase().starts_with(b"application/vnd.amazon.eventstream")
}

fn passed_on(headers: &HeaderMap, is_taken_out: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let named: Vec<HeaderName> = named_by_connection(headers).collect();
    // Chunks are each connection's own.
    let is_only_chunked = transfer_codings(headers).next().is_none();
    let mut kept = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        // Where there are chunks, a length is not the body's (RFC 9112, 6.3).
        let is_length = name == CONTENT_LENGTH && headers.contains_key(TRANSFER_ENCODING);
        if is_length || is_only_chunked && name == TRANSFER_ENCODING {
            continue;
        }
        if !OF_CONNECTION.contains(name) && !named.contains(name) && !is_taken_out(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> + '_ {
    listed(headers, &CONNECTION).filter_map(|name| name.parse().ok())
}

/// The items of a list, over all fields of the name.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|item| !item.is_empty())
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
    fn a_transfer_coding_is_passed_on_with_the_body_that_has_it_and_a_length_is_not() {
        let coded = map(&[("transfer-encoding", "gzip, Chunked"), ("content-encoding", "br , zstd")]);
        assert_eq!(
            fields(&to_client(&coded)),
            [("transfer-encoding", "gzip, Chunked"), ("content-encoding", "br , zstd")]
        );
        assert_eq!(codings(&coded).collect::<Vec<_>>(), ["br", "zstd", "gzip"]);
        let chunked = map(&[("content-length", "5"), ("transfer-encoding", "chunked"), ("a", "b")]);
        assert_eq!(fields(&to_client(&chunked)), [("a", "b")]);
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
