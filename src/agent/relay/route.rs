//! What a path means: a kind of event, and the token before it. Pure.

use revenium_event::Kind;

/// The base path of a client that must show a token: `/token/TOKEN`, to which SDKs add the route.
const TOKEN_PREFIX: &str = "/token/";

/// A path, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path<'a> {
    /// The token in it.
    pub(super) token: Option<&'a str>,
    /// What is metered; `None` for a path that is no route of Revenium's.
    pub(super) kind: Option<Kind>,
    /// The path without the token, for messages.
    pub(super) route: &'a str,
}

/// Takes a request's path apart.
pub(super) fn parse(path: &str) -> Path<'_> {
    let (token, route) = match path.strip_prefix(TOKEN_PREFIX) {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        None => (None, path),
    };
    Path { token, kind: Kind::from_route(route), route }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revenium_s_eight_routes_lead_to_their_kinds_with_and_without_a_token() {
        for kind in Kind::ALL {
            assert_eq!(parse(kind.route()), Path { token: None, kind: Some(kind), route: kind.route() });
            let path = format!("/token/abc-1{}", kind.route());
            assert_eq!(parse(&path), Path { token: Some("abc-1"), kind: Some(kind), route: kind.route() });
        }
        for path in
            ["", "/", "/meter/v2", "/meter/v2/ai/completions/", "/v2/ai/completions", "/token", "/token/x"]
        {
            assert_eq!(parse(path).kind, None, "{path}");
        }
        assert_eq!(parse("/token/x").token, Some("x"));
        assert_eq!(parse("/token//meter/v2/events").token, Some(""));
    }
}
