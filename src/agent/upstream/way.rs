//! Which way requests to an upstream leave this machine: straight, or by way of a proxy. Pure.
//!
//! As [`Client`](super::Client) goes, since both ask the same library: `drain.proxy` if it is set, and
//! nothing else; without it the variables of the environment, except for plain loopback.

use hyper_util::client::proxy::matcher::Matcher;

use super::Base;

/// The variables by which a proxy is named for https, and for http, the one that counts first.
pub const HTTPS_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// As [`HTTPS_VARIABLES`].
pub const HTTP_VARIABLES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
/// The variables by which hosts are left out of that.
pub const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The setting that names the proxy in the configuration.
pub const SETTING: &str = "drain.proxy";

/// Where the connection of a request is made to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Name or address of what is connected to: the upstream's, or the proxy's.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Through which proxy, or why through none.
    pub through: Through,
}

/// Through which proxy, or why through none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Through {
    /// No proxy is named.
    Nothing,
    /// It is plain http to this machine, which no proxy of the environment sees.
    Loopback,
    /// A proxy is named by this variable, and another one leaves the host out.
    LeftOut {
        /// What names the proxy.
        proxy: &'static str,
        /// What leaves the host out.
        by: &'static str,
    },
    /// This setting or variable names a proxy, and what it says is no proxy's URL: it is ignored.
    Unusable(&'static str),
    /// This variable names a SOCKS proxy, which is spoken to as if it were another one: nothing gets out.
    Socks(&'static str),
    /// The proxy that this setting or variable names, without what it may hold of a user and a password.
    Proxy {
        /// What names it.
        by: &'static str,
        /// As in `http://proxy:3128`.
        url: String,
    },
}

/// The first of `names` that is set, even to nothing, with its value.
pub fn first_set(
    names: &[&'static str],
    var: &dyn Fn(&str) -> Option<String>,
) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| Some((*name, var(name)?)))
}

impl Way {
    /// The way to `base`, with `drain.proxy` as it is configured and the environment's variables.
    pub fn to(base: &Base, setting: Option<&str>, var: &dyn Fn(&str) -> Option<String>) -> Self {
        let direct = |through| Self { host: base.host().to_owned(), port: base.port(), through };
        if let Some(setting) = setting {
            return proxy(setting, SETTING).unwrap_or_else(|| direct(Through::Unusable(SETTING)));
        }
        if base.is_plain_loopback() {
            return direct(Through::Loopback);
        }
        let names = if base.is_https() { HTTPS_VARIABLES } else { HTTP_VARIABLES };
        let (own, all) = names.split_at(2);
        let set = |names| first_set(names, var).filter(|(_, value)| !value.is_empty());
        // The library takes what it cannot use for not set, and goes on to the general ones.
        let usable = [set(own), set(all)].into_iter().flatten().find_map(|(by, url)| proxy(&url, by));
        let Some(way) = usable else {
            let unusable = set(own).or_else(|| set(all));
            return direct(unusable.map_or(Through::Nothing, |(by, _)| Through::Unusable(by)));
        };
        let left_out = first_set(&NO_PROXY_VARIABLES, var);
        match (left_out, way.through) {
            (Some((by, hosts)), Through::Proxy { by: proxy, .. } | Through::Socks(proxy))
                if names_host(&hosts, base) =>
            {
                direct(Through::LeftOut { proxy, by })
            }
            (_, through) => Self { through, ..way },
        }
    }

    /// Whether a proxy stands between.
    pub fn is_by_proxy(&self) -> bool {
        matches!(self.through, Through::Proxy { .. })
    }
}

/// The way over the proxy at `url`, if the library would take it for one.
fn proxy(url: &str, by: &'static str) -> Option<Way> {
    let anywhere = "http://anywhere.invalid/".parse().ok()?;
    let proxy = Matcher::builder().http(url.to_owned()).build().intercept(&anywhere)?;
    let uri = proxy.uri();
    let (scheme, host) = (uri.scheme_str().unwrap_or("http"), uri.host()?);
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let through = match scheme {
        // The library knows them; this client is built without.
        "http" | "https" => Through::Proxy { by, url: format!("{scheme}://{host}:{port}") },
        _ => Through::Socks(by),
    };
    Some(Way { host: host.trim_matches(['[', ']']).to_owned(), port, through })
}

/// Whether `hosts`, the value of `NO_PROXY`, names the upstream's.
fn names_host(hosts: &str, base: &Base) -> bool {
    let matcher = Matcher::builder().all("http://proxy.invalid").no(hosts.to_owned()).build();
    base.route("/").as_str().parse().is_ok_and(|uri| matcher.intercept(&uri).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(url: &str, setting: Option<&str>, vars: &[(&str, &str)]) -> (String, u16, Through) {
        let var = |name: &str| vars.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        let Way { host, port, through } = Way::to(&Base::parse(url, true).expect(url), setting, &var);
        (host, port, through)
    }

    #[test]
    fn a_setting_then_a_variable_names_the_proxy_and_no_proxy_leaves_hosts_out() {
        use Through::{LeftOut, Loopback, Nothing, Proxy, Socks, Unusable};
        let by = |by, url: &str| Proxy { by, url: url.to_owned() };
        let api = "https://api.revenium.ai";
        type Vars = &'static [(&'static str, &'static str)];
        type Row = (&'static str, Option<&'static str>, Vars, (&'static str, u16, Through));
        let rows: [Row; 15] = [
            (api, None, &[], ("api.revenium.ai", 443, Nothing)),
            (api, Some("http://u:hunter2@p:3128"), &[], ("p", 3128, by("drain.proxy", "http://p:3128"))),
            (api, Some("http://p"), &[("NO_PROXY", "*")], ("p", 80, by("drain.proxy", "http://p:80"))),
            (api, None, &[("HTTPS_PROXY", "http://p:1")], ("p", 1, by("HTTPS_PROXY", "http://p:1"))),
            (api, None, &[("https_proxy", "p:1")], ("p", 1, by("https_proxy", "http://p:1"))),
            (api, None, &[("HTTP_PROXY", "http://p:1")], ("api.revenium.ai", 443, Nothing)),
            (api, None, &[("all_proxy", "http://[::1]:1")], ("::1", 1, by("all_proxy", "http://[::1]:1"))),
            (
                api,
                None,
                &[("HTTPS_PROXY", ""), ("https_proxy", "http://p:1")],
                ("api.revenium.ai", 443, Nothing),
            ),
            (api, None, &[("HTTPS_PROXY", "no url")], ("api.revenium.ai", 443, Unusable("HTTPS_PROXY"))),
            (api, None, &[("HTTPS_PROXY", "socks5://p:1")], ("p", 1, Socks("HTTPS_PROXY"))),
            (
                api,
                None,
                &[("HTTPS_PROXY", "http://p:1"), ("no_proxy", "x.org, revenium.ai")],
                ("api.revenium.ai", 443, LeftOut { proxy: "HTTPS_PROXY", by: "no_proxy" }),
            ),
            (
                api,
                None,
                &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "notrevenium.ai")],
                ("p", 1, by("HTTPS_PROXY", "http://p:1")),
            ),
            ("http://127.0.0.1:9", None, &[("ALL_PROXY", "http://p:1")], ("127.0.0.1", 9, Loopback)),
            ("http://127.0.0.1:9", Some("http://p:1"), &[], ("p", 1, by("drain.proxy", "http://p:1"))),
            ("http://h:9", None, &[("http_proxy", "http://p:1")], ("p", 1, by("http_proxy", "http://p:1"))),
        ];
        for (url, setting, vars, (host, port, expected)) in rows {
            assert_eq!(through(url, setting, vars), (host.to_owned(), port, expected), "{url} {vars:?}");
        }
    }
}
