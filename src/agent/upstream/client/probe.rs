//! One question to an upstream that bills nothing: a POST without a body.
//!
//! Revenium answers 400 to it if the key is right, else 401 or 403. It goes the way that records go
//! (proxy, roots, no redirect, bounded), so whatever would meet them meets it. It counts as a mistake of
//! the account's, so it is for a person's command and never repeated.

use std::error::Error;
use std::io;

use reqwest::header::HeaderValue;
use rustls::CertificateError as Certificate;

use super::{API_KEY, Client, heard, unheard};
use crate::upstream::{ApiKey, Reply, SendError};

/// Why a probe was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Unanswered {
    /// What went wrong, as far as it is told apart.
    pub fault: Fault,
    /// The same in the words of the library that met it.
    pub words: String,
}

/// What goes wrong between a connection and an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The certificate is of an authority that is not trusted here.
    UnknownIssuer,
    /// The certificate is not valid yet, or no longer, at the time that this machine has.
    NotValidNow,
    /// The certificate is for another name.
    OtherName,
    /// What answers does not speak TLS, or not in a way that can be used.
    NoTls,
    /// There was no connection, or none that TLS or a proxy's tunnel could be had over.
    NotConnected,
    /// Nothing came in time.
    Silent,
    /// The connection ended before the answer did, or what came was none.
    BrokenOff,
}

impl Client {
    /// Asks the upstream of `profile` at `route`, with `key` if there is one.
    pub async fn probe(&self, profile: &str, route: u8, key: Option<&ApiKey>) -> Result<Reply, Unanswered> {
        let nowhere = |words: String| Unanswered { fault: Fault::NotConnected, words };
        let routes = self.shared.routes.get(profile);
        let routes = routes.ok_or_else(|| nowhere(format!("no profile `{profile}`")))?;
        let Some(Some(url)) = routes.urls.get(usize::from(route)) else {
            return Err(nowhere(format!("no route {route}")));
        };
        let mut headers = self.shared.headers.clone();
        // Without a key it is refused for that, which still shows that the way is free.
        headers.insert(API_KEY, key.map_or(HeaderValue::from_static(""), ApiKey::header));
        let http = if routes.is_plain_loopback { &self.shared.loopback } else { &self.shared.http };
        match http.post(url.clone()).headers(headers).body("").send().await {
            Ok(response) => Ok(heard(response, key).await),
            Err(error) => {
                let fault = fault(&error);
                let (SendError::Unheard(words) | SendError::Unsendable(words) | SendError::Unroutable(words)) =
                    unheard(error);
                Err(Unanswered { fault, words })
            }
        }
    }
}

fn fault(error: &reqwest::Error) -> Fault {
    match of_tls(error) {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. } => Fault::NotValidNow,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => Fault::OtherName,
            _ => Fault::UnknownIssuer,
        },
        Some(_) => Fault::NoTls,
        None if error.is_connect() => Fault::NotConnected,
        None if error.is_timeout() => Fault::Silent,
        None => Fault::BrokenOff,
    }
}

/// What TLS says, if it is among the causes.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // The source of an I/O error is not what it wraps, but the source of that.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}
