//! Who may send: what a request's head must say before its body is read. Pure.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName};

use super::settings::Settings;
use crate::web::{self, Foreign, are_equal};

/// The header that our own drain sends, with its instance.
const AGENT: HeaderName = HeaderName::from_static("x-revenium-agent");

/// The header for the token, for clients that can set one.
const TOKEN: HeaderName = HeaderName::from_static("x-revenium-agent-token");

/// Why a request is turned away, unread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// Our own drain sent it.
    Loop,
    /// It calls us by a name that is not ours.
    Host,
    /// A web page made it.
    Page,
    /// The token is missing or wrong.
    Token,
    /// The body is not announced as JSON.
    ContentType,
}

impl Turned {
    pub(super) const fn status(&self) -> u16 {
        match self {
            Self::Loop => 508,
            Self::Host => 421,
            Self::Page => 403,
            Self::Token => 401,
            Self::ContentType => 415,
        }
    }

    pub(super) const fn message(&self) -> &'static str {
        match self {
            Self::Loop => "this agent sends to itself: a profile's url leads to its own relay",
            Self::Host => {
                "this is not the host's name here: call it localhost or by its address, or add the name to relay.hosts"
            }
            Self::Page => "requests of web pages are not taken",
            Self::Token => {
                "the relay's token is missing or wrong: add /token/TOKEN to the base URL, or send x-revenium-agent-token"
            }
            Self::ContentType => "send content-type: application/json",
        }
    }
}

/// Judges a request by its headers, and the token that its path had.
pub(super) fn check(
    headers: &HeaderMap,
    path_token: Option<&str>,
    settings: &Settings,
) -> Result<(), Turned> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(&AGENT).is_some_and(|instance| instance == &*settings.instance) {
        return Err(Turned::Loop);
    }
    web::is_of_here(headers, None, &settings.hosts).map_err(|foreign| match foreign {
        Foreign::Host => Turned::Host,
        Foreign::Page => Turned::Page,
    })?;
    if let Some(token) = &settings.token {
        let given = path_token.or_else(|| text(&TOKEN)).unwrap_or_default();
        if !are_equal(given.as_bytes(), token.reveal().as_bytes()) {
            return Err(Turned::Token);
        }
    }
    match text(&CONTENT_TYPE) {
        Some(content_type) if is_json(content_type) => Ok(()),
        _ => Err(Turned::ContentType),
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::relay::Limits;
    use crate::secret::Secret;
    use crate::tenant::Tenants;

    fn settings(token: Option<&str>) -> Settings {
        Settings {
            tenants: Tenants::by_name([]),
            is_strict: false,
            token: token.map(Secret::new),
            hosts: vec!["relay.internal".to_owned()],
            instance: "me".into(),
            limits: Limits::default(),
            lines: crate::intake::Limits::default(),
        }
    }

    fn judge(headers: &[(&str, &str)], path_token: Option<&str>, token: Option<&str>) -> Result<(), Turned> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        check(&map, path_token, &settings(token))
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:8793");
    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn a_client_of_this_machine_passes_and_a_web_page_does_not() {
        for (headers, verdict) in [
            (&[HERE, JSON][..], Ok(())),
            (&[HERE, ("content-type", "application/json; charset=utf-8")], Ok(())),
            (&[HERE, ("content-type", "Application/JSON")], Ok(())),
            (&[HERE, JSON, ("x-revenium-agent", "another")], Ok(())),
            (&[HERE, JSON, ("sec-fetch-site", "none")], Ok(())),
            (&[HERE, JSON, ("x-revenium-agent", "me")], Err(Turned::Loop)),
            (&[JSON], Err(Turned::Host)),
            (&[HERE, HERE, JSON], Err(Turned::Host)),
            (&[HERE, JSON, ("origin", "https://evil.example")], Err(Turned::Page)),
            (&[HERE, JSON, ("origin", "null")], Err(Turned::Page)),
            (&[HERE, JSON, ("sec-fetch-site", "cross-site")], Err(Turned::Page)),
            (&[HERE], Err(Turned::ContentType)),
            (&[HERE, ("content-type", "text/plain")], Err(Turned::ContentType)),
            (&[HERE, ("content-type", "application/jsonp")], Err(Turned::ContentType)),
        ] {
            assert_eq!(judge(headers, None, None), verdict, "{headers:?}");
        }
    }

    #[test]
    fn only_names_that_are_ours_lead_here() {
        for (host, is_ours) in [
            ("localhost", true),
            ("LOCALHOST:8793", true),
            ("localhost.:8793", true),
            ("127.0.0.1", true),
            ("10.0.0.7:80", true),
            ("[::1]:8793", true),
            ("[::1]", true),
            ("relay.internal:8793", true),
            ("Relay.Internal", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("[::1", false),
            ("[evil]:80", false),
            ("", false),
            ("user@localhost", false),
        ] {
            assert_eq!(judge(&[("host", host), JSON], None, None).is_ok(), is_ours, "{host:?}");
        }
    }

    #[test]
    fn a_token_counts_from_the_path_or_from_its_header() {
        let token = Some("0123456789abcdef");
        let header = ("x-revenium-agent-token", "0123456789abcdef");
        assert_eq!(judge(&[HERE, JSON], token, token), Ok(()));
        assert_eq!(judge(&[HERE, JSON, header], None, token), Ok(()));
        for wrong in
            [None, Some(""), Some("0123456789abcde"), Some("0123456789abcdeg"), Some("0123456789abcdef0")]
        {
            assert_eq!(judge(&[HERE, JSON], wrong, token), Err(Turned::Token), "{wrong:?}");
        }
        assert_eq!(judge(&[HERE, JSON], Some("whatever"), None), Ok(()), "none is asked for");
    }
}
