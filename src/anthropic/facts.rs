//! A call line, taken apart: what is refused, and what is merely left out.

use revenium_event::limits::LINE_BYTES_MAX;
use revenium_event::{Reason, Refusal, RefusalCode, Warning, What};

use crate::Route;
use crate::ending::Ending;
use crate::members::{Members, whole};
use crate::usage::Usage;

/// Members of a call.
const KNOWN: [&str; 21] = [
    "provider",
    "endpoint",
    "route",
    "id",
    "request_id",
    "model",
    "request",
    "usage",
    "stop_reason",
    "started_at_ms",
    "duration_ms",
    "time_to_first_token_ms",
    "is_streamed",
    "ended",
    "error",
    "retry_number",
    "middleware",
    "usage_metadata",
    "prompts",
    "batch_id",
    "custom_id",
];

/// Those of them that are read here. The rest goes into the event as it came, and freezing judges it.
const TEXTS: [&str; 6] = ["provider", "endpoint", "route", "model", "batch_id", "custom_id"];
const OBJECTS: [&str; 3] = ["request", "error", "prompts"];

/// Earliest wall clock that is believed, in milliseconds since 1970: September 2001.
// A smaller number is in seconds, or of some other clock, and nobody metered a model then.
const STARTED_AT_MS_MIN: u64 = 1_000_000_000_000;

/// The facts of a call, and what was odd about them.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) call: Members<'a>,
    pub(crate) request: Members<'a>,
    /// The raw profile of the line.
    pub(crate) profile: Option<&'a str>,
    pub(crate) usage: Usage<'a>,
    pub(crate) ending: Ending<'a>,
    pub(crate) is_batch: bool,
    pub(crate) started_at_ms: Option<u64>,
    pub(crate) warnings: Vec<Warning>,
}

impl<'a> Facts<'a> {
    /// Reads `{"call":{…},"profile":…}`.
    pub(crate) fn read(line: &'a [u8]) -> Result<Facts<'a>, Refusal> {
        if line.len() > LINE_BYTES_MAX {
            let message = format!("the line has {} bytes; at most {LINE_BYTES_MAX} are taken", line.len());
            return Err(Refusal { code: RefusalCode::TooLarge, field: None, message });
        }
        let source = std::str::from_utf8(line).ok().and_then(Members::read);
        let line =
            source.ok_or_else(|| invalid(None, "not a line of JSON with a call; send {\"call\":{…}}"))?;
        let call = line.get("call").and_then(Members::read);
        let call =
            call.ok_or_else(|| invalid(Some("call"), "call must be an object, the facts of one call"))?;
        let twice = line.twice(&["call", "profile"]).map(str::to_owned);
        let twice = twice.or_else(|| call.twice(&KNOWN).map(|name| format!("call.{name}")));
        if let Some(name) = twice {
            return Err(invalid(Some(&name), &format!("{name} is given twice; send it once")));
        }
        let route = call.text("route").map_or(Route::Messages, |named| Route::of(&named));
        if !route.is_metered() {
            return Err(invalid(
                Some("call.route"),
                "call.route is one that is not billed; send nothing for it",
            ));
        }
        let ending = Ending::of(&call);
        let usage = usage(&call, &ending)?;
        let mut facts = Facts {
            request: call.object("request").unwrap_or_default(),
            profile: line.get("profile"),
            is_batch: route == Route::BatchResults || is_of_a_batch(&call) || usage.is_batch(),
            started_at_ms: started_at_ms(&call),
            warnings: Vec::new(),
            call,
            usage,
            ending,
        };
        if facts.model().trim().is_empty() {
            let message =
                "call.model is missing; send the model that answered, or in call.request the one asked for";
            return Err(invalid(Some("call.model"), message));
        }
        facts.look_for_oddities(&line);
        Ok(facts)
    }

    /// The model that answered, else the one that was asked for; empty if neither is known.
    pub(crate) fn model(&self) -> String {
        let said = self.call.text("model").filter(|model| !model.trim().is_empty());
        said.or_else(|| self.request.text("model")).unwrap_or_default()
    }

    fn look_for_oddities(&mut self, line: &Members<'_>) {
        let strangers = line.iter().filter(|(name, _)| !["call", "profile"].contains(name)).count()
            + self.call.iter().filter(|(name, _)| !KNOWN.contains(name)).count();
        if strangers > 0 {
            self.warn("call", What::Dropped(Reason::NoPlace));
        }
        let is_mistyped = TEXTS
            .iter()
            .any(|name| self.call.get(name).is_some() && self.call.text(name).is_none())
            || OBJECTS.iter().any(|name| self.call.get(name).is_some() && self.call.object(name).is_none());
        if is_mistyped {
            self.warn("call", What::Dropped(Reason::Type));
        }
        if self.ending.is_strange {
            self.warn("stopReason", What::Replaced(Reason::Unlisted));
        }
        if self.call.get("started_at_ms").is_some() && self.started_at_ms.is_none() {
            self.warn("requestTime", What::Dropped(Reason::Range));
        }
    }

    /// Notes what was done to a field.
    pub(crate) fn warn(&mut self, field: &'static str, what: What) {
        self.warnings.push(Warning { field, what });
    }
}

/// The usage, which nothing can stand in for when the answer came whole.
fn usage<'a>(call: &Members<'a>, ending: &Ending<'_>) -> Result<Usage<'a>, Refusal> {
    const FIELD: Option<&str> = Some("call.usage");
    let usage = match call.get("usage") {
        Some(raw) => Usage::read(raw)
            .ok_or_else(|| invalid(FIELD, "call.usage must be the provider's usage, an object"))?,
        None => Usage::default(),
    };
    if let Some(name) = usage.twice() {
        let name = format!("call.usage.{name}");
        return Err(invalid(Some(&name), &format!("{name} is given twice; send it once")));
    }
    if ending.is_complete() && !usage.is_stated() {
        return Err(invalid(
            FIELD,
            "call.usage states neither input_tokens nor output_tokens; send the provider's usage, or in ended that the answer did not come whole",
        ));
    }
    Ok(usage)
}

/// Whether the call names its batch. What is no name makes no price.
fn is_of_a_batch(call: &Members<'_>) -> bool {
    call.text("batch_id").is_some_and(|id| !id.trim().is_empty())
}

/// The start, without a fraction; None if it is no time that is believed.
fn started_at_ms(call: &Members<'_>) -> Option<u64> {
    let raw = call.get("started_at_ms")?;
    whole(raw.split('.').next()?).filter(|&ms| ms >= STARTED_AT_MS_MIN)
}

/// A line that is not taken.
pub(crate) fn invalid(field: Option<&str>, message: &str) -> Refusal {
    let field = field.map(|field| field.to_owned().into());
    Refusal { code: RefusalCode::Invalid, field, message: message.to_owned() }
}
