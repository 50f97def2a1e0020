//! One POST per record over pooled keep-alive connections.
//!
//! Promises: the record's bytes and key go out unchanged; the API key goes to the profile's own
//! URL and nowhere else (no redirect is followed, no proxy of the environment sees plain loopback
//! traffic); every wait and every body read is bounded. Proxies: `proxy` if set, else
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. Roots: the system's, and `ca_pem`.

mod probe;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use revenium_store::Record;

pub use probe::{Fault, Unanswered};

use super::key::ApiKey;
use super::reply::{Reply, SendError};
use super::url::Base;
use super::{Transport, words};

/// As much of an answer's body as is read: Revenium's errors take far less, and the rest says no
/// more. A longer body costs its connection.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Idle connections are closed before a load balancer's usual minute does it under our feet.
const IDLE_MAX: Duration = Duration::from_secs(50);

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const AGENT: HeaderName = HeaderName::from_static("x-revenium-agent");

/// The path of a route's code, such as `/meter/v2/ai/completions` for 0; `None` for no route.
pub type RouteOf = fn(u8) -> Option<&'static str>;

/// How to reach every upstream of the agent.
#[derive(Debug, Clone)]
pub struct Options {
    /// This agent's instance: sent as `x-revenium-agent`, so that a relay of ours sees a loop.
    pub instance: String,
    /// Sent as `user-agent`: `revenium-agent/<version>`.
    pub user_agent: String,
    /// Proxy for all upstreams, `http://host:port`; it replaces those of the environment.
    pub proxy: Option<String>,
    /// Certificates in PEM to trust besides the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether an upstream of this machine may come later, by [`Client::to`].
    pub may_be_loopback: bool,
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Longest exchange, from the first byte sent to the last one read.
    pub request_timeout: Duration,
}

impl Options {
    /// Timeouts as the official SDKs have them; no proxy, no certificates of one's own.
    pub fn new(instance: String) -> Self {
        Self {
            instance,
            user_agent: concat!("revenium-agent/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: None,
            ca_pem: None,
            may_be_loopback: false,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Where one profile's records go.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name of the profile.
    pub profile: Arc<str>,
    /// Its upstream.
    pub base: Base,
}

/// Why the client cannot be made: a setting is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `proxy` is no proxy URL.
    #[error("`proxy` is not a proxy's URL")]
    Proxy(#[source] reqwest::Error),
    /// `ca_file` holds no certificate in PEM.
    #[error("`ca_file` holds no PEM certificate")]
    Ca(#[source] Option<reqwest::Error>),
    /// The instance or the user agent cannot be a header.
    #[error("the instance's name cannot be sent as a header")]
    Instance,
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] reqwest::Error),
}

/// Sends records to the profiles' upstreams. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    http: reqwest::Client,
    /// For plain loopback: as `http`, but blind to the environment's proxies.
    loopback: reqwest::Client,
    /// Headers of every request.
    headers: HeaderMap,
    route_of: RouteOf,
    routes: HashMap<Arc<str>, Routes>,
}

/// One profile's URLs by route code.
#[derive(Clone)]
struct Routes {
    is_plain_loopback: bool,
    urls: Vec<Option<Url>>,
}

impl Client {
    /// A client for `targets`. Reads the environment's proxies and the system's roots, once.
    pub fn new(options: &Options, targets: &[Target], route_of: RouteOf) -> Result<Self, ClientError> {
        let header = |text: &str| HeaderValue::from_str(text).map_err(|_| ClientError::Instance);
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, json.clone()),
            (ACCEPT, json),
            (AGENT, header(&options.instance)?),
            (reqwest::header::USER_AGENT, header(&options.user_agent)?),
        ]);
        let builder = builder(options)?;
        let http = builder.build().map_err(ClientError::Tls)?;
        let is_loopback = |target: &Target| target.base.is_plain_loopback();
        let loopback = match (&options.proxy, options.may_be_loopback || targets.iter().any(is_loopback)) {
            (None, true) => self::builder(options)?.no_proxy().build().map_err(ClientError::Tls)?,
            _ => http.clone(),
        };
        let routes = targets.iter().map(|target| (target.profile.clone(), Routes::new(target, route_of)));
        let routes = routes.collect();
        Ok(Self { shared: Arc::new(Shared { http, loopback, headers, route_of, routes }) })
    }

    /// The same client, over the same connections, for these as well.
    pub fn to(&self, targets: &[Target]) -> Self {
        let route_of = self.shared.route_of;
        self.and(targets.iter().map(|target| (target.profile.clone(), Routes::new(target, route_of))))
    }

    /// The same client, over the same connections, for more profiles: each goes where another one
    /// does. One that is to go where an unknown one does is left out.
    pub fn with(&self, more: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Self {
        let routes = &self.shared.routes;
        self.and(more.into_iter().filter_map(|(name, like)| Some((name, routes.get(&like)?.clone()))))
    }

    fn and(&self, more: impl Iterator<Item = (Arc<str>, Routes)>) -> Self {
        let Shared { http, loopback, headers, route_of, routes } = &*self.shared;
        let routes = routes.iter().map(|(name, of)| (name.clone(), of.clone())).chain(more).collect();
        let (http, loopback, headers) = (http.clone(), loopback.clone(), headers.clone());
        Self { shared: Arc::new(Shared { http, loopback, headers, route_of: *route_of, routes }) }
    }
}

fn builder(options: &Options) -> Result<reqwest::ClientBuilder, ClientError> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(options.connect_timeout)
        .timeout(options.request_timeout)
        .pool_idle_timeout(IDLE_MAX);
    if let Some(proxy) = &options.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(ClientError::Proxy)?);
    }
    if let Some(pem) = &options.ca_pem {
        let certificates =
            reqwest::Certificate::from_pem_bundle(pem).map_err(|error| ClientError::Ca(Some(error)))?;
        if certificates.is_empty() {
            return Err(ClientError::Ca(None));
        }
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    Ok(builder)
}

impl Routes {
    fn new(target: &Target, route_of: RouteOf) -> Self {
        let mut urls: Vec<Option<Url>> =
            (0..=u8::MAX).map(|code| route_of(code).map(|route| target.base.route(route))).collect();
        while urls.last().is_some_and(Option::is_none) {
            urls.pop();
        }
        Self { is_plain_loopback: target.base.is_plain_loopback(), urls }
    }
}

impl Transport for Client {
    async fn send(&self, record: &Record, key: &ApiKey) -> Result<Reply, SendError> {
        let response = self.shared.request(record, key)?.send().await.map_err(unheard)?;
        Ok(heard(response, Some(key)).await)
    }
}

/// What came back, without the `key` that was sent.
async fn heard(mut response: reqwest::Response, key: Option<&ApiKey>) -> Reply {
    let mut reply = Reply {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        ..Reply::default()
    };
    (reply.body, reply.body_is_whole) = body(&mut response).await;
    if let Some(key) = key.filter(|_| !matches!(reply.status, 200..=299)) {
        reply.body = without_key(reply.body, key);
    }
    reply
}

impl Shared {
    fn request(&self, record: &Record, key: &ApiKey) -> Result<reqwest::RequestBuilder, SendError> {
        let Some(routes) = self.routes.get(&record.lane.profile) else {
            return Err(SendError::Unroutable(format!("no profile `{}`", record.lane.profile)));
        };
        let Some(Some(url)) = routes.urls.get(usize::from(record.lane.route)) else {
            return Err(SendError::Unroutable(format!("no route {}", record.lane.route)));
        };
        let idempotency_key = HeaderValue::from_str(&record.key)
            .map_err(|_| SendError::Unsendable("its Idempotency-Key cannot be a header".to_owned()))?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.clone_from(&self.headers);
        headers.insert(IDEMPOTENCY_KEY, idempotency_key);
        headers.insert(API_KEY, key.header());
        let client = if routes.is_plain_loopback { &self.loopback } else { &self.http };
        Ok(client.post(url.clone()).headers(headers).body(record.body.clone()))
    }
}

/// The beginning of the body, and whether it is all. A body that breaks off is what was read: the
/// status was heard, and that is what counts.
async fn body(response: &mut reqwest::Response) -> (Bytes, bool) {
    let mut read = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if read.is_empty() && chunk.len() >= BODY_BYTES_MAX => {
                return (chunk.slice(..BODY_BYTES_MAX), false);
            }
            Ok(Some(chunk)) => {
                let room = BODY_BYTES_MAX - read.len();
                read.extend_from_slice(&chunk[..room.min(chunk.len())]);
                if chunk.len() >= room {
                    return (read.freeze(), false);
                }
            }
            Ok(None) => return (read.freeze(), true),
            Err(_) => return (read.freeze(), false),
        }
    }
}

/// A server may echo the key that it refuses.
fn without_key(body: Bytes, key: &ApiKey) -> Bytes {
    let key = key.expose();
    match std::str::from_utf8(&body) {
        Ok(text) if text.contains(key) => Bytes::from(text.replace(key, "***")),
        Ok(_) => body,
        Err(_) => Bytes::from(String::from_utf8_lossy(&body).replace(key, "***")),
    }
}

/// The error with its causes, without the URL (which may have a private path).
fn unheard(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    SendError::Unheard(words::tidy(&text))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
