//! A request as the meter sees it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::sandbox::answer::At;
use crate::sandbox::body::Members;
use crate::sandbox::dedup::is_key;
use crate::sandbox::journal::{Entry, What};
use crate::sandbox::ledger::Seen;
use crate::sandbox::rules::Route;

/// Whose API key a request came with, or the status and reason to turn it away.
pub(super) type Account = Result<Arc<str>, (u16, &'static str)>;

/// A request to a metering route, read to its end.
#[derive(Debug)]
pub(in crate::sandbox) struct Attempt {
    pub(super) at_ms: u64,
    pub(in crate::sandbox) route: &'static Route,
    pub(super) account: Account,
    /// The Idempotency-Key.
    pub(super) key: Option<String>,
    /// Whether the key, if there is one, has the documented form.
    pub(super) has_good_key: bool,
    pub(super) is_json: bool,
    pub(in crate::sandbox) transaction: Option<String>,
    pub(super) body: Bytes,
    body_hash: u128,
}

impl Attempt {
    pub(super) fn new(
        at_ms: u64,
        route: &'static Route,
        account: Account,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Self {
        let key = headers.get("idempotency-key");
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Self {
            at_ms,
            route,
            account,
            key: key.map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned()),
            has_good_key: key.is_none_or(|key| is_key(key.as_bytes())),
            is_json: content_type.is_some_and(|text| text.trim_start().starts_with("application/json")),
            transaction: Members::parse(&body).and_then(|members| members.scalar("transactionId")),
            body_hash: xxh3_128(&body),
            body,
        }
    }

    pub(super) fn at(&self) -> At<'static> {
        At { ms: self.at_ms, path: self.route.path }
    }

    /// Path and body; the method is always POST.
    pub(super) fn fingerprint(&self) -> u128 {
        self.body_hash ^ xxh3_128(self.route.path.as_bytes())
    }

    /// The hash of account and Idempotency-Key.
    pub(super) fn key_scope(&self, account: &str) -> Option<u128> {
        self.key.as_deref().map(|key| hash(&[account.as_bytes(), key.as_bytes()]))
    }

    /// The two halves of an API call share their id, so the route is part of the scope.
    pub(super) fn transaction_scope(&self, account: &str) -> Option<u128> {
        let transaction = self.transaction.as_deref()?;
        Some(hash(&[account.as_bytes(), self.route.path.as_bytes(), transaction.as_bytes()]))
    }

    /// What the ledger wants to know.
    pub(super) fn seen<'a>(&'a self, account: &'a Arc<str>) -> Seen<'a> {
        Seen {
            account,
            route: self.route,
            key: self.key.as_deref(),
            key_hash: self.key.as_deref().map_or(0, |key| xxh3_128(key.as_bytes())),
            transaction: self.transaction.as_deref(),
            fingerprint: self.fingerprint(),
        }
    }

    /// What the journal wants to know.
    pub(super) fn entry(&self, what: What, at_ms: u64, has_body: bool) -> Entry<'_> {
        Entry {
            what,
            at_ms,
            account: self.account.as_deref().ok().map(Cow::Borrowed),
            path: Cow::Borrowed(self.route.path),
            key: self.key.as_deref().map(Cow::Borrowed),
            transaction: self.transaction.as_deref().map(Cow::Borrowed),
            body_hash: Cow::Owned(format!("{:032x}", self.body_hash)),
            body_bytes: self.body.len(),
            fault: None,
            body: has_body.then(|| String::from_utf8_lossy(&self.body)),
        }
    }
}

/// One hash for a list of texts; their borders count.
fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest128()
}
