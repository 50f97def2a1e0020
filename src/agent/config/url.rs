//! What configuration asks of a URL: http or https, no password, plain http only at home, and not
//! one of our own listeners. Which path requests go to is for `upstream` to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;

use super::reader::Reader;
use super::unit;
use crate::secret::Secret;

/// The upstream's URL, as far as configuration understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The name or address, in lower case, IPv6 without brackets.
    pub(super) host: String,
    /// As written or implied by the scheme.
    pub(super) port: u16,
    /// Whether the port had to be written.
    pub(super) port_is_written: bool,
    pub(super) plain: bool,
}

impl Target {
    /// Parses an upstream's URL. No error repeats a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = parse_http(text)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "holds a user or a password: the API key belongs into api_key or api_key_file".to_owned()
            );
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        Ok(Self {
            host,
            port: url.port_or_known_default().unwrap_or_default(),
            port_is_written: url.port().is_some(),
            plain: url.scheme() == "http",
        })
    }

    /// Whether requests stay on this machine, as far as the text tells.
    pub(super) fn is_loopback(&self) -> bool {
        self.addresses().iter().any(|address| address.to_canonical().is_loopback())
    }

    /// The account that profiles share a pace on unless they name one: the host.
    pub(super) fn account(&self) -> String {
        if self.port_is_written { format!("{}:{}", self.host, self.port) } else { self.host.clone() }
    }

    /// Addresses that the text itself names; nothing is looked up.
    fn addresses(&self) -> Vec<IpAddr> {
        if self.host.trim_end_matches('.') == "localhost" || self.host.ends_with(".localhost") {
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        self.host.parse().into_iter().collect()
    }
}

fn parse_http(text: &str) -> Result<Url, String> {
    let wrong = || format!("{} is not a URL such as \"https://api.revenium.ai\"", unit::quote(text));
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_http = matches!(url.scheme(), "http" | "https");
    if is_http && url.host_str().is_some_and(|host| !host.is_empty()) { Ok(url) } else { Err(wrong()) }
}

/// The listener of ours that requests to `url` would come back to, if there is one: events sent
/// to ourselves would go round for ever. Judged by the text alone (addresses and `localhost`).
pub fn loops_into<'a>(url: &str, listeners: &[(&'a str, SocketAddr)]) -> Option<(&'a str, SocketAddr)> {
    let target = Target::parse(url).ok()?;
    let addresses = target.addresses();
    listeners.iter().copied().find(|(_, listener)| {
        // Port 0 is not an address yet; the bound one is checked again at start.
        listener.port() != 0 && target.port == listener.port() && reaches(&addresses, listener.ip())
    })
}

/// Whether a connection to one of `addresses` arrives at a listener on `ip`.
fn reaches(addresses: &[IpAddr], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    addresses.iter().map(IpAddr::to_canonical).any(|address| {
        // Connecting to the unspecified address is connecting to this machine.
        address == ip
            || address.is_unspecified() && ip.is_loopback()
            || ip.is_unspecified() && is_ours(address)
    })
}

fn is_ours(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

/// Reads a proxy's URL; it may hold a password, so it is kept as a secret.
pub(super) fn read_proxy(reader: &mut Reader, key: &str) -> Option<Secret> {
    let text = reader.text(key, "a URL in quotes such as \"http://proxy:3128\"")?;
    if let Err(message) = parse_http(&text) {
        reader.refuse(key, message.replace("https://api.revenium.ai", "http://proxy:3128"));
    }
    Some(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_an_http_url_without_a_password() {
        for text in [
            "https://api.revenium.ai",
            "https://api.revenium.ai/",
            "https://api.revenium.ai/meter",
            "https://api.revenium.ai/meter/",
            "https://api.revenium.ai/meter/v2",
            "https://api.revenium.ai/meter/v2/",
            "https://api.revenium.ai/v2",
            "http://h/prefix",
        ] {
            assert!(Target::parse(text).is_ok(), "{text}");
        }
        for text in
            ["", "api.revenium.ai", "ftp://api.revenium.ai", "https://", "file:///etc", "https://u:p@h"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
        let error = Target::parse("https://user:hunter2@h").expect_err("holds a password");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_account_is_the_host() {
        for (url, account) in [
            ("https://API.revenium.ai/meter", "api.revenium.ai"),
            ("https://api.revenium.ai:443", "api.revenium.ai"),
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://[::1]:9000", "::1:9000"),
        ] {
            assert_eq!(Target::parse(url).expect("a URL").account(), account);
        }
    }

    #[test]
    fn an_upstream_that_is_our_listener_is_found() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (url, listener, loops) in [
            ("http://127.0.0.1:8792", "127.0.0.1:8792", true),
            ("http://127.0.0.1:8792/meter/v2", "127.0.0.1:8792", true),
            ("http://localhost:8792", "127.0.0.1:8792", true),
            ("http://LOCALHOST.:8792", "127.0.0.1:8792", true),
            ("http://localhost:8792", "[::1]:8792", true),
            ("http://127.1:8792", "127.0.0.1:8792", true),
            ("http://2130706433:8792", "127.0.0.1:8792", true),
            ("http://[::ffff:127.0.0.1]:8792", "127.0.0.1:8792", true),
            ("http://127.0.0.1:8792", "0.0.0.0:8792", true),
            ("http://[::1]:8792", "[::]:8792", true),
            ("http://0.0.0.0:8792", "127.0.0.1:8792", true),
            ("http://127.0.0.1", "127.0.0.1:80", true),
            ("https://127.0.0.1", "127.0.0.1:443", true),
            ("http://10.0.0.7:8792", "10.0.0.7:8792", true),
            ("http://127.0.0.1:8793", "127.0.0.1:8792", false),
            ("http://10.0.0.8:8792", "127.0.0.1:8792", false),
            ("http://127.0.0.2:8792", "127.0.0.1:8792", false),
            ("http://127.0.0.1:0", "127.0.0.1:0", false),
            ("https://api.revenium.ai", "0.0.0.0:443", false),
        ] {
            let found = loops_into(url, &[("admin.listen", at(listener))]);
            assert_eq!(found, loops.then(|| ("admin.listen", at(listener))), "{url} {listener}");
        }
    }
}
