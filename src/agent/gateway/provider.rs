//! The provider: one base URL, over pooled connections that are as the client's own would be.
//!
//! HTTP/1.1, since that is what clients speak to an `http://` base URL and a change of protocol on the way would
//! change what they see (reason phrases, the case of names). No redirect is followed, nothing is decompressed or
//! tried again but a request of which nothing was sent. An answer may take as long as its client waits.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Response, Uri, body::Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Builder, Client, Error};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

use super::tap::Upload;
use crate::secret::Secret;

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Idle connections are closed before a load balancer's usual minute does it under our feet.
const IDLE_MAX: Duration = Duration::from_secs(50);

/// Between probes of a connection on which an answer takes long.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How the provider is reached.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// A proxy, which replaces those of the environment.
    pub proxy: Option<Secret>,
    /// Certificates in PEM to trust besides the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// Why the provider's client cannot be made: a setting is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// `gateway.provider_url` is none.
    #[error("`gateway.provider_url` is no http:// or https:// URL")]
    Url,
    /// `drain.proxy` cannot be used.
    #[error("`drain.proxy` is not a proxy's URL")]
    Proxy,
    /// `drain.ca_file` holds no certificate.
    #[error("`drain.ca_file` holds no PEM certificate that can be used")]
    Ca,
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

type Direct = Client<HttpsConnector<HttpConnector>, Upload>;
type Tunnelled = Client<HttpsConnector<Tunnel<HttpConnector>>, Upload>;

enum Pool {
    Direct(Direct),
    Tunnelled(Tunnelled),
}

/// Where requests go.
pub struct Provider {
    pool: Pool,
    /// The URL of the proxy on the way, for messages; without a user or a password.
    proxy: Option<String>,
    scheme: Scheme,
    authority: Authority,
    /// What stands before a request's own path, without a last `/`.
    prefix: String,
    host: HeaderValue,
    url: Arc<str>,
}

impl Provider {
    /// The provider at `url`. Reads the environment's proxies and the system's roots, once.
    pub fn new(url: &str, way: &Way) -> Result<Self, ProviderError> {
        let uri: Uri = url.trim().parse().map_err(|_| ProviderError::Url)?;
        let parts = uri.clone().into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(ProviderError::Url);
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| ProviderError::Url)?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let url = format!("{scheme}://{authority}{prefix}").into();
        let (pool, proxy) = pool(&uri, way)?;
        Ok(Self { pool, proxy, scheme, authority, prefix, host, url })
    }

    /// Its base URL.
    pub(super) fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// Its name, as requests say it.
    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The place of a request's path; `None` for `*` and the like.
    pub(super) fn place(&self, asked: &Uri) -> Option<Uri> {
        let asked = asked.path_and_query().filter(|path| path.as_str().starts_with('/'))?;
        let path = if self.prefix.is_empty() {
            asked.clone()
        } else {
            PathAndQuery::try_from(format!("{}{asked}", self.prefix)).ok()?
        };
        let place = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        place.path_and_query(path).build().ok()
    }

    /// Sends a request. The answer's body is still to come.
    pub(super) async fn send(&self, request: Request<Upload>) -> Result<Response<Incoming>, Error> {
        match &self.pool {
            Pool::Direct(client) => client.request(request).await,
            Pool::Tunnelled(client) => client.request(request).await,
        }
    }

    /// What was wrong with the client's own request, if it is that which failed.
    pub(super) fn fault_of_request(error: &Error) -> Option<String> {
        let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
        let fault = causes.filter_map(|error| error.downcast_ref::<hyper::Error>()).find(|e| e.is_user())?;
        let why = std::error::Error::source(fault).map_or_else(|| fault.to_string(), ToString::to_string);
        Some(format!("the request's body could not be read to its end: {why}"))
    }

    /// A failure in one line. The provider's own words are not in it: there were none.
    pub(super) fn unreached(&self, error: &Error) -> String {
        let what = if error.is_connect() { "cannot reach" } else { "no answer from" };
        let proxy = self.proxy.as_ref().filter(|_| error.is_connect());
        let through = proxy.map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
        let causes = || std::iter::successors(std::error::Error::source(error), |error| error.source());
        let why = causes().last().map_or_else(|| error.to_string(), ToString::to_string);
        let hint = if causes().any(is_of_unknown_authority) {
            "; an authority of your own is named by drain.ca_file or SSL_CERT_FILE"
        } else {
            ""
        };
        format!("{what} the provider at {} (gateway.provider_url){through}: {why}{hint}", self.url)
    }
}

fn is_of_unknown_authority(error: &(dyn std::error::Error + 'static)) -> bool {
    // What it wraps is no cause of it, by its own account.
    if let Some(wrapped) = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()) {
        return is_of_unknown_authority(wrapped);
    }
    let of_tls = error.downcast_ref::<rustls::Error>();
    matches!(of_tls, Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)))
}

/// The way to the provider, and the proxy on it.
fn pool(uri: &Uri, way: &Way) -> Result<(Pool, Option<String>), ProviderError> {
    let matcher = match &way.proxy {
        Some(proxy) => Matcher::builder().all(proxy.reveal().to_owned()).build(),
        None if is_loopback(uri) => Matcher::builder().build(),
        None => Matcher::from_env(),
    };
    let tls = tls(way.ca_pem.as_deref())?;
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_MAX));
    http.set_keepalive(Some(KEEPALIVE));
    http.enforce_http(false);
    let mut builder = Client::builder(TokioExecutor::new());
    configure(&mut builder);
    Ok(match matcher.intercept(uri) {
        None if way.proxy.is_some() => return Err(ProviderError::Proxy),
        None => (Pool::Direct(builder.build(HttpsConnector::from((http, tls)))), None),
        Some(proxy) => {
            let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
            if let Some(auth) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(auth.clone());
            }
            let shown = proxy.uri().to_string().trim_end_matches('/').to_owned();
            (Pool::Tunnelled(builder.build(HttpsConnector::from((tunnel, tls)))), Some(shown))
        }
    })
}

fn configure(builder: &mut Builder) {
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_MAX).http1_preserve_header_case(true);
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls(ca_pem: Option<&[u8]>) -> Result<ClientConfig, ProviderError> {
    let mut roots = RootCertStore::empty();
    // Those that cannot be read are missing, and a connection that needs one says so.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = ca_pem {
        let own: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| ProviderError::Ca)?;
        if own.is_empty() || roots.add_parsable_certificates(own).1 > 0 {
            return Err(ProviderError::Ca);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.map_err(ProviderError::Tls)?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_path_and_query_after_the_provider_s_own() {
        for (url, asked, place) in [
            (
                "https://api.anthropic.com",
                "/v1/messages?beta=true",
                "https://api.anthropic.com/v1/messages?beta=true",
            ),
            ("https://api.anthropic.com/", "/", "https://api.anthropic.com/"),
            ("http://h:1/anthropic/", "/v1/x//y%2F", "http://h:1/anthropic/v1/x//y%2F"),
        ] {
            let provider = Provider::new(url, &Way::default()).expect("a URL");
            assert_eq!(provider.place(&asked.parse().expect("a path")).expect("a place").to_string(), place);
        }
        let provider = Provider::new("http://h", &Way::default()).expect("a URL");
        assert_eq!(provider.place(&Uri::from_static("*")), None);
        assert_eq!(provider.host(), "h");
    }
}
