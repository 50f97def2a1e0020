//! What an application reports: one metered use, as the JSON object that goes to the agent.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use revenium_event::Kind;
use revenium_event::limits::LINE_BYTES_MAX;

use crate::json::{self, FieldValue, digits, member};
use crate::subscriber::Subscriber;

/// Room for `{"n":` and the longest number, in front of the members: numbering an event moves nothing.
const NUMBER_ROOM: usize = NUMBER_NAME.len() + 20;
const NUMBER_NAME: &[u8] = b"{\"n\":";

/// Bytes that a new event has room for: a completion with the usual attribution.
const BYTES_FIRST: usize = 512;

/// One metered use, ready to be emitted.
///
/// Members have the names of Revenium's metering API; what the setters here do not cover goes in with
/// [`field`](Self::field). The agent completes what is missing, checks the rest, and says what is wrong
/// with an event by naming the member. Set each member once: the agent refuses one that is given twice.
///
/// ```
/// use revenium_emitter::{Event, Subscriber};
///
/// let event = Event::completion("claude-sonnet-4")
///     .provider("Anthropic")
///     .transaction_id("msg_01XFDUDYJgAACzvnptvVoYEL")
///     .input_tokens(25)
///     .output_tokens(15)
///     .organization("acme")
///     .subscriber(Subscriber::new().id("user-7").email("u7@example.com"))
///     .field("isStreamed", false);
/// ```
///
/// An event that is given no time of its own has the time at which it is emitted, so that one which had
/// to wait is billed when it was used. Printing an event (`{:?}`) shows its size only.
#[derive(Clone)]
#[must_use = "an event is metered once it is emitted"]
pub struct Event {
    /// [`NUMBER_ROOM`] bytes, then `,"name":value` for each member.
    bytes: Vec<u8>,
    kind: Kind,
    /// It says itself when it happened, or is not ours to date.
    is_dated: bool,
    has_profile: bool,
}

/// Why bytes are not an event. Nothing was emitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It does not parse.
    #[error("not JSON: wrong at byte {column}")]
    NotJson {
        /// Where, counted from 1.
        column: usize,
    },
    /// It is JSON, and no object.
    #[error("an event is a JSON object")]
    NotAnObject,
    /// An event is one line; write it without line breaks between its members.
    #[error("an event is one line: leave out line breaks between its members")]
    MoreThanOneLine,
    /// It is longer than the agent takes.
    #[error("the event has {bytes} bytes; at most {LINE_BYTES_MAX} are taken")]
    TooLarge {
        /// How long it is.
        bytes: usize,
    },
}

impl Event {
    /// A call of a language model, embeddings included.
    pub fn completion(model: &str) -> Self {
        Self::of_kind(Kind::Completion).member("model", model)
    }

    /// A tool, MCP or function call.
    pub fn tool(tool_id: &str) -> Self {
        Self::of_kind(Kind::Tool).member("toolId", tool_id)
    }

    /// An event of any kind; its members are yours to give.
    pub fn of_kind(kind: Kind) -> Self {
        let mut bytes = Vec::with_capacity(BYTES_FIRST);
        bytes.resize(NUMBER_ROOM, b' ');
        let event = Self { bytes, kind, is_dated: false, has_profile: false };
        if kind == Kind::Completion { event } else { event.member("kind", kind.name()) }
    }

    /// Takes an event that is JSON already: one object on one line, in any spelling that the agent knows,
    /// of at most [`LINE_BYTES_MAX`] bytes. Its bytes are sent as they are. It should say its times itself
    /// (`responseTime`): one that does not is dated when the agent gets it, however late.
    pub fn from_json(event: impl AsRef<[u8]>) -> Result<Self, EventError> {
        let event = event.as_ref().trim_ascii();
        if event.len() > LINE_BYTES_MAX {
            return Err(EventError::TooLarge { bytes: event.len() });
        }
        json::check(event)?;
        let members = event.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
        let members = members.ok_or(EventError::NotAnObject)?.trim_ascii();
        let mut bytes = Vec::with_capacity(NUMBER_ROOM + members.len() + 3);
        bytes.resize(NUMBER_ROOM, b' ');
        if !members.is_empty() {
            bytes.push(b',');
            bytes.extend_from_slice(members);
        }
        Ok(Self { bytes, kind: Kind::Completion, is_dated: true, has_profile: false })
    }

    /// Sets any member. Times are text in ISO-8601 with a zone, or whole milliseconds since 1970.
    pub fn field(mut self, name: &str, value: impl FieldValue) -> Self {
        self.is_dated |= is_time(name);
        self.has_profile |= name == "profile";
        member(&mut self.bytes, name, &value);
        self
    }

    fn member(mut self, name: &str, value: impl FieldValue) -> Self {
        member(&mut self.bytes, name, &value);
        self
    }

    fn time(mut self, name: &str, time: SystemTime) -> Self {
        self.is_dated = true;
        self.member(name, unix_ms(time))
    }

    /// Who served the call, such as `Anthropic`.
    pub fn provider(self, provider: &str) -> Self {
        self.member("provider", provider)
    }

    /// Tokens sent to the model, those from its cache not among them.
    pub fn input_tokens(self, count: u64) -> Self {
        self.member("inputTokenCount", count)
    }

    /// Tokens that came back.
    pub fn output_tokens(self, count: u64) -> Self {
        self.member("outputTokenCount", count)
    }

    /// All tokens, if it is not the sum of input and output.
    pub fn total_tokens(self, count: u64) -> Self {
        self.member("totalTokenCount", count)
    }

    /// Tokens read from the provider's cache.
    pub fn cache_read_tokens(self, count: u64) -> Self {
        self.member("cacheReadTokenCount", count)
    }

    /// Tokens written to the provider's cache.
    pub fn cache_creation_tokens(self, count: u64) -> Self {
        self.member("cacheCreationTokenCount", count)
    }

    /// Tokens that the model spent on reasoning.
    pub fn reasoning_tokens(self, count: u64) -> Self {
        self.member("reasoningTokenCount", count)
    }

    /// The provider's id of the call: by it Revenium recognises an event that it has seen.
    pub fn transaction_id(self, id: &str) -> Self {
        self.member("transactionId", id)
    }

    /// Ties several calls together.
    pub fn trace_id(self, id: &str) -> Self {
        self.member("traceId", id)
    }

    /// What the call was for.
    pub fn task_type(self, task: &str) -> Self {
        self.member("taskType", task)
    }

    /// Which of your agents called.
    pub fn agent(self, name: &str) -> Self {
        self.member("agent", name)
    }

    /// Whose customer it was for.
    pub fn organization(self, name: &str) -> Self {
        self.member("organizationName", name)
    }

    /// What of yours they used.
    pub fn product(self, name: &str) -> Self {
        self.member("productName", name)
    }

    /// The plan they are on.
    pub fn subscription_id(self, id: &str) -> Self {
        self.member("subscriptionId", id)
    }

    /// Who used it.
    #[expect(clippy::needless_pass_by_value, reason = "it is built for this one event")]
    pub fn subscriber(self, subscriber: Subscriber) -> Self {
        self.member("subscriber", &subscriber)
    }

    /// Why the model stopped, in the provider's words or Revenium's.
    pub fn stop_reason(self, reason: &str) -> Self {
        self.member("stopReason", reason)
    }

    /// Whether the answer was streamed.
    pub fn streamed(self, is_streamed: bool) -> Self {
        self.member("isStreamed", is_streamed)
    }

    /// When the request was sent.
    pub fn request_time(self, time: SystemTime) -> Self {
        self.time("requestTime", time)
    }

    /// When the answer was complete.
    pub fn response_time(self, time: SystemTime) -> Self {
        self.time("responseTime", time)
    }

    /// How long the call took, in whole milliseconds.
    pub fn duration(self, took: Duration) -> Self {
        let name = if self.kind == Kind::Tool { "durationMs" } else { "requestDuration" };
        self.member(name, millis(took))
    }

    /// How long the first token took, in whole milliseconds.
    pub fn time_to_first_token(self, took: Duration) -> Self {
        self.member("timeToFirstToken", millis(took))
    }

    /// How good the answer was.
    pub fn response_quality_score(self, score: f64) -> Self {
        self.member("responseQualityScore", score)
    }

    /// The agent's profile, and so the account, that is billed; else the emitter's.
    pub fn profile(self, name: &str) -> Self {
        self.field("profile", name)
    }

    /// The finished line without its number, with room for it: what `number` completes.
    pub(crate) fn finish(mut self, profile: Option<&str>) -> Vec<u8> {
        if !self.is_dated {
            let name = match self.kind {
                Kind::Completion | Kind::Image | Kind::Audio | Kind::Video => Some("responseTime"),
                Kind::Tool => Some("timestamp"),
                Kind::Generic | Kind::ApiRequest | Kind::ApiResponse => None,
            };
            if let Some(name) = name {
                member(&mut self.bytes, name, &unix_ms(SystemTime::now()));
            }
        }
        if let Some(name) = profile.filter(|_| !self.has_profile) {
            member(&mut self.bytes, "profile", name);
        }
        self.bytes.extend_from_slice(b"}\n");
        self.bytes
    }
}

/// Writes the number in front of a finished line; returns where the line begins.
pub(crate) fn number(line: &mut [u8], n: u64) -> usize {
    let mut room = [0; 20];
    let count = digits(n, &mut room);
    let at = NUMBER_ROOM - count;
    line[at..NUMBER_ROOM].copy_from_slice(&room[room.len() - count..]);
    let start = at - NUMBER_NAME.len();
    line[start..at].copy_from_slice(NUMBER_NAME);
    start
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Members may be prompts and credentials.
        write!(f, "Event({}, {} bytes)", self.kind, self.bytes.len() - NUMBER_ROOM)
    }
}

/// Whether a member says when the event happened, in either spelling.
fn is_time(name: &str) -> bool {
    matches!(
        name,
        "requestTime"
            | "request_time"
            | "responseTime"
            | "response_time"
            | "timestamp"
            | "completionStartTime"
            | "completion_start_time"
    )
}

fn unix_ms(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: Event, n: u64) -> String {
        let mut bytes = event.finish(None);
        let start = number(&mut bytes, n);
        String::from_utf8(bytes[start..].to_vec()).unwrap()
    }

    #[test]
    fn a_line_has_its_number_in_front_and_the_members_as_they_were_given() {
        let at = UNIX_EPOCH + Duration::from_millis(1_795_419_848_263);
        let event = Event::completion("m\"1").input_tokens(0).response_time(at).profile("team-a");
        assert_eq!(
            line(event, 7),
            "{\"n\":7,\"model\":\"m\\\"1\",\"inputTokenCount\":0,\"responseTime\":1795419848263,\"profile\":\"team-a\"}\n"
        );
        let event = Event::from_json(" {\"a\" : 1.50, \"b\":{}} ").unwrap();
        assert_eq!(line(event, u64::MAX), "{\"n\":18446744073709551615,\"a\" : 1.50, \"b\":{}}\n");
        assert_eq!(line(Event::from_json("{ }").unwrap(), 1), "{\"n\":1}\n");
        let subscriber = Subscriber::new().id("u").credential("key", "v");
        assert_eq!(
            line(Event::of_kind(Kind::Generic).subscriber(subscriber), 1),
            "{\"n\":1,\"kind\":\"generic\",\"subscriber\":{\"id\":\"u\",\"credential\":{\"name\":\"key\",\"value\":\"v\"}}}\n"
        );
    }

    #[test]
    fn an_event_without_a_time_gets_that_of_its_emission_and_no_second_one() {
        assert!(line(Event::completion("m"), 1).contains(",\"responseTime\":"));
        assert!(line(Event::tool("t"), 1).contains(",\"timestamp\":"));
        let given = Event::completion("m").field("response_time", "2026-11-23T07:44:08Z");
        assert_eq!(line(given, 1).matches("ime\"").count(), 1);
        assert!(!line(Event::from_json("{\"model\":\"m\"}").unwrap(), 1).contains("ime\""));
    }

    #[test]
    fn what_is_no_event_is_said_to_be_none() {
        for (bytes, error) in [
            (&b"{\"a\":"[..], EventError::NotJson { column: 5 }),
            (b"[1]", EventError::NotAnObject),
            (b"\"a\"", EventError::NotAnObject),
            (b"{\"a\":1}\n{\"a\":2}", EventError::MoreThanOneLine),
            (&[b' '; 0][..], EventError::NotJson { column: 0 }),
        ] {
            assert_eq!(Event::from_json(bytes).unwrap_err(), error);
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
        assert!(matches!(Event::from_json(long), Err(EventError::TooLarge { .. })));
    }

    #[test]
    fn nothing_of_an_event_is_printed() {
        let event =
            Event::completion("secret-model").subscriber(Subscriber::new().credential("a", "hunter2"));
        let shown = format!("{event:?} {:?}", Subscriber::new().id("hunter2"));
        assert!(!shown.contains("secret") && !shown.contains("hunter2"), "{shown}");
    }
}
