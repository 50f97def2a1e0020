//! One request: passed on, and its answer passed back.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Version};
use revenium_anthropic::{Ended, Failure, METERED, Route};
use tokio::time::Instant;
use tracing::warn;

use super::answer::Problem;
use super::exchange::Exchange;
use super::head;
use super::meter::{Meter, WARNINGS_BURST, WARNINGS_PER_SECOND};
use super::provider::Provider;
use super::settings::Settings;
use super::tap::{Download, Upload};
use super::watch::Watch;
use crate::intake::Bucket;
use crate::web::{self, Busy, Foreign};

/// Who meters, in the mark.
const WHO: HeaderValue = HeaderValue::from_static(concat!("revenium-gateway/", env!("CARGO_PKG_VERSION")));

const MARK: HeaderName = HeaderName::from_static(METERED);

/// What all requests share.
pub(super) struct Desk {
    provider: Provider,
    settings: Settings,
    meter: Arc<Meter>,
    warnings: Mutex<Bucket>,
}

impl Desk {
    pub(super) fn new(provider: Provider, settings: Settings, meter: Arc<Meter>) -> Self {
        let warnings = Mutex::new(Bucket::new(WARNINGS_PER_SECOND, WARNINGS_BURST, Instant::now()));
        Self { provider, settings, meter, warnings }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers one request. Dropped before it returns, the provider's answer is given up.
    pub(super) async fn answer(&self, request: Request<Incoming>, busy: Busy) -> Response<Download> {
        match self.pass_on(request, busy).await {
            Ok(answer) => answer,
            Err(problem) => {
                if self.warnings.lock().unwrap_or_else(PoisonError::into_inner).try_take(Instant::now()) {
                    warn!(?problem, "a request was not answered by the provider");
                }
                let mut answer = problem.answer();
                if matches!(problem, Problem::BrokenOff(_)) {
                    answer.headers_mut().insert(MARK, WHO);
                }
                answer.map(|body| Download::Own(Some(body)))
            }
        }
    }

    async fn pass_on(&self, request: Request<Incoming>, busy: Busy) -> Result<Response<Download>, Problem> {
        let (mut head, body) = request.into_parts();
        let authority = head.uri.authority().map(|authority| authority.as_str());
        web::is_of_here(&head.headers, authority, &self.settings.hosts).map_err(|foreign| match foreign {
            Foreign::Host => Problem::Host,
            Foreign::Page => Problem::Page,
        })?;
        let place = self.provider.place(&head.uri).ok_or(Problem::Path)?;
        let mut watch = self.watch(&head);
        head.headers = head::to_provider(&head.headers, self.provider.host());
        head.uri = place;
        let version = std::mem::replace(&mut head.version, Version::HTTP_11);
        let upload = Upload::new(body, watch.as_ref().and_then(Watch::asked));
        let answered = self.provider.send(Request::from_parts(head, upload)).await;
        let (mut head, body) = match answered {
            Ok(answer) => answer.into_parts(),
            Err(error) => {
                let fault = Provider::fault_of_request(&error);
                // What was never sent, or not to its end, is no call.
                if error.is_connect() || fault.is_some() {
                    watch.take().into_iter().for_each(Watch::unsent);
                }
                if let Some(why) = fault {
                    return Err(Problem::Body(why));
                }
                let why = self.provider.unreached(&error);
                let Some(watch) = &mut watch else { return Err(Problem::Provider(why)) };
                let class = Some("APIConnectionError".to_owned());
                watch.end(Ended::Error(Failure { class, ..Failure::default() }));
                return Err(Problem::BrokenOff(why));
            }
        };
        head.headers = head::to_client(&head.headers);
        if head.headers.contains_key(MARK) {
            watch.take().into_iter().for_each(Watch::leave);
        }
        if head::is_aws_stream(&head.headers) {
            watch.take().into_iter().for_each(Watch::unread);
        }
        if let Some(watch) = &mut watch {
            watch.answered(head.status, &head.headers);
            head.headers.insert(MARK, WHO);
        }
        // Elsewhere than in HTTP/1.1 nothing could say that the body has it.
        if version != Version::HTTP_11 && head::transfer_codings(&head.headers).next().is_some() {
            let why =
                format!("the provider's answer has a transfer coding, which {version:?} cannot pass on");
            let Some(watch) = watch else { return Err(Problem::Provider(why)) };
            watch.given_up(body);
            return Err(Problem::BrokenOff(why));
        }
        Ok(Response::from_parts(head, Download::passed(body, watch, busy)))
    }

    /// What meters the call, if it is one and nobody else does.
    fn watch(&self, head: &Parts) -> Option<Watch> {
        let route = Route::of(head.uri.path());
        let is_call = match route {
            Route::BatchResults => head.method == Method::GET,
            _ => route.is_metered() && head.method == Method::POST,
        };
        if !is_call {
            self.meter.passed();
            return None;
        }
        if head.headers.contains_key(MARK) {
            self.meter.left();
            return None;
        }
        let exchange = Exchange::new(route, head, self.provider.url(), self.settings.credential_from_key);
        Some(Watch::new(exchange, self.meter.clone()))
    }
}
