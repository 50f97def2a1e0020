//! The layer: which requests are calls that are metered here, and what becomes of each.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use http::{Extensions, Method};
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};
use revenium_anthropic::{Ended, Failure, METERED, Route};
use revenium_emitter::Emitter;
use tracing::{debug, warn};

use crate::body;
use crate::metadata::Metadata;
use crate::watch::Watch;

/// A layer of [`reqwest_middleware`] that meters calls. The crate's docs say what it promises.
#[derive(Debug, Clone)]
pub struct Metering {
    emitter: Emitter,
}

/// Says to layers further in that a call is metered, as long as the layer that does waits for its answer.
#[derive(Debug, Clone)]
struct Claim(Weak<()>);

impl Metering {
    /// One that hands events to `emitter`. Keep one emitter for the whole process; a clone is the same one.
    pub fn new(emitter: Emitter) -> Self {
        Self { emitter }
    }

    /// What follows the call that a request is, if it is one and nobody else meters it.
    fn watch(&self, request: &Request, extensions: &Extensions) -> Option<Watch> {
        let route = Route::of(request.url().path());
        let method = match route {
            Route::Messages => Method::POST,
            Route::BatchResults => Method::GET,
            _ => return None,
        };
        let is_claimed = extensions.get::<Claim>().is_some_and(|claim| claim.0.strong_count() > 0);
        if request.method() != method || is_claimed || request.headers().contains_key(METERED) {
            return None;
        }
        let mut metadata = Metadata::in_force();
        if let Some(own) = extensions.get::<Metadata>() {
            metadata = metadata.with(own);
        }
        Some(Watch::new(self.emitter.clone(), route, request.url(), &metadata))
    }
}

#[async_trait]
impl Middleware for Metering {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let Some(mut watch) = self.watch(&request, extensions) else {
            return next.run(request, extensions).await;
        };
        let claim = Arc::new(());
        extensions.insert(Claim(Arc::downgrade(&claim)));
        body::listen(&mut request, &watch.asked());
        match next.run(request, extensions).await {
            Ok(answer) => Ok(answered(watch, answer)),
            Err(error) => {
                match failure(&error) {
                    Some(failure) => watch.end(Ended::Error(failure)),
                    None => watch.forget(),
                }
                Err(error)
            }
        }
    }
}

fn answered(mut watch: Watch, answer: Response) -> Response {
    if let Some(who) = answer.headers().get(METERED) {
        debug!(?who, "a call was metered on its way to the provider, and is not metered here");
        watch.forget();
        return answer;
    }
    watch.answered(answer.status(), answer.headers());
    body::tapped(answer, watch)
}

/// Why a call that was sent got no answer; `None` if it never was sent. In the words of Anthropic's SDKs.
fn failure(error: &Error) -> Option<Failure> {
    // A layer that has given up trying again wraps what it met.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = match error {
        Error::Reqwest(error) => Some(error),
        Error::Middleware(error) => Some(&**error),
    };
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            if error.is_connect() || error.is_builder() {
                return None;
            }
            let class = if error.is_timeout() { "APITimeoutError" } else { "APIConnectionError" };
            return Some(Failure { class: Some(class.to_owned()), ..Failure::default() });
        }
        cause = error.source();
    }
    None
}

/// Says that a call is not billed as it should be.
pub(crate) fn lost(what: &str) {
    warn!("revenium: {what}");
}
