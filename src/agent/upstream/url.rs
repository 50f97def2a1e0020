//! An upstream's base URL, from every form that Revenium's SDKs take.
//!
//! `https://h`, `…/`, `…/meter`, `…/meter/`, `…/meter/v2`, `…/meter/v2/` and `…/v2` mean the same
//! upstream. Any other path is a prefix and stays; query and fragment go. A key travels in clear
//! over `http://`, so that scheme is taken for loopback hosts only, unless it is asked for.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// A normalised base URL: routes are appended to it as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    url: Url,
    is_loopback: bool,
}

/// Why a text is not an upstream's base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// It is no URL, or not an http one. The cause names the fault, not the text.
    #[error("not an http:// or https:// URL: {0}")]
    NotHttp(String),
    /// It carries a user name or password; the key has its own setting.
    #[error("the URL has a user name or password in it; give the key as `api_key` instead")]
    Credentials,
    /// The key would cross a network in clear.
    #[error("http:// to {host} would send the API key in clear: use https://, or allow plain http for it")]
    PlainHttp {
        /// The host it would be sent to.
        host: String,
    },
}

impl Base {
    /// Reads `text`. `plain_http_allowed` takes `http://` to hosts that are not loopback.
    pub fn parse(text: &str, plain_http_allowed: bool) -> Result<Self, BaseError> {
        let mut url = Url::parse(text.trim()).map_err(|error| BaseError::NotHttp(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BaseError::NotHttp(format!("its scheme is `{}`", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BaseError::Credentials);
        }
        let Some(host) = url.host_str().map(str::to_owned) else {
            return Err(BaseError::NotHttp("it has no host".to_owned()));
        };
        let is_loopback = is_loopback(&host);
        if url.scheme() == "http" && !is_loopback && !plain_http_allowed {
            return Err(BaseError::PlainHttp { host });
        }
        url.set_query(None);
        url.set_fragment(None);
        let prefix = prefix(url.path()).to_owned();
        url.set_path(&prefix);
        Ok(Self { url, is_loopback })
    }

    /// The URL of `route`, such as `/meter/v2/ai/completions`.
    pub fn route(&self, route: &str) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}{route}", prefix(self.url.path()));
        url.set_path(&path);
        url
    }

    /// Host and port, the default name of the account: `api.revenium.ai`, `127.0.0.1:9000`.
    pub fn authority(&self) -> &str {
        self.url.authority()
    }

    /// The host's name or address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port, as written or implied by the scheme.
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// Whether requests are encrypted.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether requests stay on this machine, in clear. No proxy of the environment sees those.
    pub fn is_plain_loopback(&self) -> bool {
        self.is_loopback && self.url.scheme() == "http"
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

/// The part of a path that belongs to the caller, without Revenium's own and without a last `/`.
fn prefix(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix("/v2").unwrap_or(path).trim_end_matches('/');
    path.strip_suffix("/meter").unwrap_or(path).trim_end_matches('/')
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_base_url_leads_to_the_same_route() {
        let same = [
            "https://api.revenium.ai",
            "https://api.revenium.ai/",
            "https://api.revenium.ai/meter",
            "https://api.revenium.ai/meter/",
            "https://api.revenium.ai/meter/v2",
            "https://api.revenium.ai/meter/v2/",
            "https://api.revenium.ai/v2",
            " https://API.revenium.ai:443//?team=1#top ",
        ];
        for text in same {
            let base = Base::parse(text, false).expect(text);
            assert_eq!(
                (base.route("/meter/v2/ai/completions").as_str(), base.authority(), base.to_string()),
                (
                    "https://api.revenium.ai/meter/v2/ai/completions",
                    "api.revenium.ai",
                    "https://api.revenium.ai".to_owned()
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn a_prefix_of_the_callers_stays() {
        let rows = [
            ("http://127.0.0.1:9000/prefix", "http://127.0.0.1:9000/prefix/meter/v2/events"),
            ("http://localhost/a/b/meter/v2/", "http://localhost/a/b/meter/v2/events"),
            ("https://h/meters", "https://h/meters/meter/v2/events"),
            ("https://h/meter/v1/api/meter", "https://h/meter/v1/api/meter/v2/events"),
            ("http://[::1]:9/v2?x=/meter", "http://[::1]:9/meter/v2/events"),
        ];
        for (text, expected) in rows {
            let base = Base::parse(text, false).expect(text);
            assert_eq!(base.route("/meter/v2/events").as_str(), expected, "{text}");
        }
    }

    #[test]
    fn what_would_leak_a_key_or_is_no_url_is_refused() {
        let refused = |text: &str| Base::parse(text, false).expect_err(text).to_string();
        assert_eq!(
            refused("http://metering.example"),
            "http:// to metering.example would send the API key in clear: use https://, or allow plain http for it"
        );
        assert_eq!(refused("ftp://h"), "not an http:// or https:// URL: its scheme is `ftp`");
        assert_eq!(refused("api.revenium.ai"), "not an http:// or https:// URL: relative URL without a base");
        assert!(refused("https://user:word@h").starts_with("the URL has a user name or password"));
        assert!(!refused("https://user:word@h").contains("word@"));
        assert!(Base::parse("http://metering.example", true).is_ok());
    }

    #[test]
    fn only_plain_loopback_bypasses_the_environments_proxy() {
        let is = |text: &str| Base::parse(text, true).expect(text).is_plain_loopback();
        assert!(is("http://127.8.9.1:80") && is("http://localhost") && is("http://[::1]"));
        assert!(!is("https://localhost") && !is("http://10.0.0.1"));
        assert!(!is("http://localhost.example"));
    }
}
