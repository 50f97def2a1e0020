//! One request: from its head to its answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request};
use revenium_event::limits::BODY_BYTES_MAX;
use revenium_event::line::Code;
use revenium_event::{Identity, Kind, Minted, Refusal, RefusalCode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};
use uuid::Uuid;

use super::answer::{Answer, Problem, created};
use super::guard;
use super::lines::{self, Lines};
use super::route;
use super::settings::Settings;
use crate::intake::{Bucket, Door, Guests, Observer, Turned, unix_ms};
use crate::queue::{AppendError, Appended, Lane, NewRecord, Queue};
use crate::tenant::{NoTenant, Tenants};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const BEARER: &[u8] = b"bearer ";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A semaphore counts in u32; a byte each would be too fine for it.
const BUDGET_UNIT_BYTES: usize = 1024;

/// How long the rest of a body that is too large is read, before its sender is cut off.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// Lines a second in our log about refused requests, and how many at once.
const WARNINGS_PER_SECOND: u32 = 1;
const WARNINGS_BURST: u32 = 5;

/// What all requests share.
pub(super) struct Desk<Q> {
    queue: Arc<Q>,
    settings: Settings,
    guests: Guests<Q>,
    door: Door,
    observer: Arc<dyn Observer>,
    /// Room for bodies, in units of [`BUDGET_UNIT_BYTES`].
    bodies: Semaphore,
    kept_refusals: Mutex<Bucket>,
    warnings: Mutex<Bucket>,
}

impl<Q: Queue> Desk<Q> {
    pub(super) fn new(queue: Arc<Q>, settings: Settings, observer: Arc<dyn Observer>) -> Self {
        let limits = &settings.limits;
        let now = Instant::now();
        let guests =
            Guests::new(queue.clone(), settings.tenants.clone(), settings.lines.clone(), observer.clone());
        Self {
            queue,
            guests,
            // Bodies come with their lane.
            door: Door::new(Tenants::by_name([])),
            bodies: Semaphore::new((limits.bodies_bytes_max / BUDGET_UNIT_BYTES).min(Semaphore::MAX_PERMITS)),
            kept_refusals: Mutex::new(Bucket::new(
                limits.kept_refusals_per_second_max,
                limits.kept_refusals_burst,
                now,
            )),
            warnings: Mutex::new(Bucket::new(WARNINGS_PER_SECOND, WARNINGS_BURST, now)),
            settings,
            observer,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where connections that become ones of lines are served.
    pub(super) fn guests(&self) -> &Guests<Q> {
        &self.guests
    }

    /// Answers one request. With the answer may come what its connection is from then on.
    ///
    /// Dropped before the whole body was read, it takes nothing in; after that it may have.
    pub(super) async fn answer(&self, mut request: Request<Incoming>) -> (Answer, Option<Lines>) {
        let uri = request.uri().clone();
        let path = route::parse(uri.path());
        let now_ms = unix_ms();
        let answered: Result<_, Problem> = async {
            if path.route == lines::ROUTE {
                self.may_ask(request.headers(), &path)?;
                if self.settings.is_strict {
                    let message = "a strict relay takes no lines, as they show no key";
                    return Err(Problem::new(403, "not_taken", message));
                }
                let begun = Lines::begin(&mut request, &self.guests)?;
                return Ok((Lines::answer(), Some(begun)));
            }
            let (head, body) = request.into_parts();
            self.may_send(&head.method, &head.headers, &path)?;
            let profile = self.profile(&head.headers)?;
            let lane = Lane { profile, route: path.kind.unwrap_or(Kind::Completion).code() };
            let (body, _room) = self.read(&head.headers, body).await?;
            let Some(kind) = path.kind else {
                return Err(self.no_route(&lane, &body, path.route, now_ms).await);
            };
            Ok((self.take(&lane, kind, &head.headers, &body, now_ms).await?, None))
        }
        .await;
        answered.unwrap_or_else(|problem| {
            if self.may_warn() {
                let Problem { status, code, field, .. } = &problem;
                warn!(status, code, field, "request refused");
            }
            (problem.answer(path.route, now_ms), None)
        })
    }

    /// Whether a request without a body is of here.
    fn may_ask(&self, headers: &HeaderMap, path: &route::Path<'_>) -> Result<(), Problem> {
        match guard::check(headers, path.token, &self.settings) {
            Ok(()) | Err(guard::Turned::ContentType) => Ok(()),
            Err(turned) => Err(Problem::new(turned.status(), "not_taken", turned.message()).closing()),
        }
    }

    fn may_send(&self, method: &Method, headers: &HeaderMap, path: &route::Path<'_>) -> Result<(), Problem> {
        if *method != Method::POST {
            // Other methods have no body whose type matters.
            self.may_ask(headers, path)?;
        } else if let Err(turned) = guard::check(headers, path.token, &self.settings) {
            return Err(Problem::new(turned.status(), "not_taken", turned.message()).closing());
        }
        match path.kind {
            _ if *method == Method::POST => Ok(()),
            Some(_) => Err(Problem::new(405, "not_taken", "send events with POST")),
            None => Err(Problem::new(404, "not_taken", "here are Revenium's metering routes, for POST")),
        }
    }

    /// The profile of the request's API key.
    fn profile(&self, headers: &HeaderMap) -> Result<Arc<str>, Problem> {
        let key = api_key(headers)?;
        self.settings.tenants.of_key(key, self.settings.is_strict).map_err(|none| match none {
            NoTenant::Missing => Problem::new(401, "unauthorized", "send x-api-key"),
            NoTenant::Unknown => Problem::new(401, "unauthorized", "no profile of this agent has this API key"),
            NoTenant::TooMany => Problem::full(
                "unknown_keys",
                "too many API keys that no profile of this agent has; configure them, or claim their profiles",
            ),
        })
    }

    /// Reads the body, within its bounds. The permit is its part of the memory of all; a body that is no
    /// larger than a head may be needs none, so that large ones which do not come keep only each other.
    async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<(Bytes, Option<tokio::sync::SemaphorePermit<'_>>), Problem> {
        let limits = &self.settings.limits;
        let announced = headers.get(CONTENT_LENGTH).is_some();
        let bytes = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = if announced { bytes.unwrap_or(usize::MAX) } else { BODY_BYTES_MAX };
        if bytes > BODY_BYTES_MAX {
            discard(body, limits.discarded_bytes_max).await;
            return Err(too_large());
        }
        let units = u32::try_from(bytes / BUDGET_UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let reading = async {
            let room = if bytes <= limits.head_bytes_max {
                None
            } else {
                let room = self.bodies.acquire_many(units).await;
                Some(room.map_err(|_closed| Problem::stopping())?)
            };
            collect(body, limits.discarded_bytes_max).await.map(|body| (body, room))
        };
        match timeout(limits.body_time_max, reading).await {
            Ok(read) => read,
            Err(_) => Err(Problem::new(408, "timeout", "the body did not come in time").closing()),
        }
    }

    /// Takes an event in, and answers once it is durable.
    async fn take(
        &self,
        lane: &Lane,
        kind: Kind,
        headers: &HeaderMap,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Answer, Problem> {
        let minted = mint(now_ms);
        let identity = match only(headers, &IDEMPOTENCY_KEY).map(|key| key.map(HeaderValue::to_str)) {
            Ok(None) => Identity::Body,
            Ok(Some(Ok(key))) => Identity::Key(key),
            // Refused with the words for any other wrong key.
            Ok(Some(Err(_))) | Err(Several) => Identity::Key(""),
        };
        let admitted = match self.door.admit_body(lane, kind, body, &identity, &minted) {
            Ok(admitted) => admitted,
            Err(turned) => return Err(self.turn(turned).await),
        };
        for warning in &admitted.warnings {
            self.observer.warned(kind, warning);
        }
        let key = admitted.record.key.clone();
        let appended = self.append(admitted.record).await;
        match appended.map(|appended| appended.into_iter().next()) {
            Ok(Some(Appended::Stored(_))) => self.observer.stored(&admitted.seen),
            Ok(Some(Appended::Duplicate)) => self.observer.duplicate(&admitted.seen),
            Ok(Some(Appended::Conflict(_))) => {
                self.observer.refused(Code::Conflict);
                return Err(Problem::new(
                    409,
                    "idempotency_key_mismatch",
                    "this Idempotency-Key was used before for another body; that one counts",
                ));
            }
            Ok(None) => return Err(self.failed(&AppendError::Disk("the log did not confirm it".to_owned()))),
            Err(error) => return Err(self.failed(&error)),
        }
        Ok(created(kind, &key, now_ms))
    }

    /// A path that is none of Revenium's: what came is kept, since somebody meant to be billed for it.
    async fn no_route(&self, lane: &Lane, body: &[u8], path: &str, now_ms: u64) -> Problem {
        let message = format!("{} is none of Revenium's metering routes", shown(path));
        let refusal = Refusal { code: RefusalCode::Invalid, field: None, message };
        let turned = Door::refuse_body(lane, body, &Identity::Body, &mint(now_ms), refusal);
        self.turn(turned).await
    }

    /// Keeps what can be kept of a refused event, and says what is wrong with it.
    async fn turn(&self, turned: Turned) -> Problem {
        let Refusal { code, field, message } = turned.refusal;
        self.observer.refused(code.into());
        if let Some(letter) = turned.letter {
            let is_kept = self.may_keep() && self.append(*letter).await.is_ok();
            if is_kept { self.observer.refusal_kept() } else { self.observer.refusal_not_kept() }
        }
        match (code, field.as_deref()) {
            (RefusalCode::TooLarge, _) => too_large(),
            (_, Some("Idempotency-Key")) => Problem::new(400, "invalid_idempotency_key", message),
            _ => Problem::invalid(field.map(std::borrow::Cow::into_owned), message),
        }
    }

    async fn append(&self, record: NewRecord) -> Result<Vec<Appended>, AppendError> {
        let since = Instant::now();
        let appended = self.queue.append(vec![record]).await;
        self.observer.appended(1, since.elapsed());
        appended
    }

    fn failed(&self, error: &AppendError) -> Problem {
        let (code, problem) = match error {
            AppendError::Full { .. } | AppendError::TooManyGaps { .. } => {
                (Code::Full, Problem::full("full", error.to_string()))
            }
            AppendError::Disk(_) => (Code::Disk, Problem::full("disk", error.to_string())),
            AppendError::OutOfBounds(_) => (Code::Invalid, Problem::invalid(None, error.to_string())),
            AppendError::Closing => (Code::Stopping, Problem::stopping()),
        };
        self.observer.refused(code);
        problem
    }

    fn may_keep(&self) -> bool {
        self.kept_refusals.lock().unwrap_or_else(PoisonError::into_inner).try_take(Instant::now())
    }

    fn may_warn(&self) -> bool {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).try_take(Instant::now())
    }
}

/// A header came with several values, and which is meant cannot be told.
struct Several;

/// The one value of a header, however often it came.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Several> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.any(|value| Some(value) != first) { Err(Several) } else { Ok(first) }
}

/// The API key of a request. Who sends it as a bearer's, which Revenium's SDKs do not, means its account, too.
fn api_key(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let of = |name| {
        let several = |Several| Problem::new(401, "unauthorized", format!("send one {name}, not several"));
        only(headers, &name).map_err(several)
    };
    match of(API_KEY)? {
        Some(key) => Ok(Some(key.as_bytes())),
        None => Ok(of(AUTHORIZATION)?.and_then(bearer)),
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, key) = value.as_bytes().split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| key.trim_ascii())
}

fn mint(now_ms: u64) -> Minted {
    Minted { now_ms, random: Uuid::new_v4().into_bytes() }
}

fn too_large() -> Problem {
    Problem::new(400, "too_large", format!("the body is larger than {BODY_BYTES_MAX} bytes")).closing()
}

/// The whole body, if it is not too large.
async fn collect(mut body: Incoming, discarded_bytes_max: usize) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            debug!("a request ended before its body did");
            return Err(Problem::invalid(None, "the body ended too soon").closing());
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > BODY_BYTES_MAX {
            discard(body, discarded_bytes_max).await;
            return Err(too_large());
        }
        // Most come in one piece, which needs no copy.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads on for a while, because a sender that is still sending does not see an answer.
async fn discard(mut body: Incoming, bytes_max: usize) {
    let reading = async {
        let mut left = bytes_max;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            if bytes > left {
                return;
            }
            left -= bytes;
        }
    };
    // Out of time, it is cut off as it would be without this.
    let _ = timeout(DISCARD_TIME_MAX, reading).await;
}

/// A path in a message: not longer than a person reads.
fn shown(path: &str) -> String {
    const CHARS_MAX: usize = 100;
    path.chars().take(CHARS_MAX).filter(|c| !c.is_control()).collect()
}
