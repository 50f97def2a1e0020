//! The facts of one call of a model, as a client saw them: what a `call` line holds.
//!
//! # The `call` line
//!
//! `{"call":{…},"profile":"…"}` is one line for the agent's socket or a spool file, like an event's own:
//! with `"n"` first on a connection that said hello, and at most [`LINE_BYTES_MAX`] bytes. `profile` is
//! optional. A client copies what the provider said and does no arithmetic; the agent makes the events.
//! One call makes one event, and one more for each pass that is billed outside of its totals.
//!
//! ```json
//! {"call":{"endpoint":"https://api.anthropic.com","route":"/v1/messages","id":"msg_01…",
//!  "model":"claude-sonnet-4-20250514","stop_reason":"end_turn","usage":{"input_tokens":25,"output_tokens":15},
//!  "started_at_ms":1795419848263,"duration_ms":143,"ended":"complete","usage_metadata":{"agent":"support"}}}
//! ```
//!
//! Every member is optional, and `null` is the same as absent. Texts are at most 255 characters unless said
//! otherwise; a longer one is cut.
//!
//! | member | is |
//! |---|---|
//! | `provider` | who served the call, in Revenium's words: `ANTHROPIC`, `AWS`, `Google Vertex`, `Foundry`, or any other. Give it where the client knows better than the endpoint does, as one of a cloud's own classes does |
//! | `endpoint` | the host or base URL that the call went to; says the provider if `provider` does not |
//! | `route` | what was called: a path (`/v1/messages?beta=true`) or a method's name (`beta.messages.stream`). [`crate::Route`] has what is metered. Absent: `messages` |
//! | `id` | the answer's own id, `msg_…`. The event's `transactionId`, so that a call that was seen in two places counts once |
//! | `request_id` | the answer's `request-id` header; the `transactionId` of a call that has no `id` and no place in a batch, such as a failed one |
//! | `model` | the model that answered, as the provider named it |
//! | `request` | what was asked for, an object: `model` (text), `has_tools` and `has_vision` (true or false), `temperature` (number), `service_tier` and `effort` (text). `model` counts when none answered |
//! | `usage` | the provider's `usage` object, **verbatim**, every member of it. Counts are whole numbers from 0 to 2⁶³−1, else the call is refused. Required of a call that ended `complete`, with at least one of `input_tokens` and `output_tokens`. Of a stream, the last value of each member: `message_delta` overwrites `message_start` member by member, `null` overwrites nothing, nothing is summed |
//! | `stop_reason` | the provider's word |
//! | `started_at_ms` | wall clock when the request was sent, whole milliseconds since 1970. Absent: now, less the duration |
//! | `duration_ms` | to the end of the answer, whole milliseconds of a **monotonic** clock |
//! | `time_to_first_token_ms` | to the first content delta, likewise. Absent where an answer came in one piece: the duration |
//! | `is_streamed` | true or false |
//! | `ended` | `complete`; `cancelled`: this side gave up before the end; `cut`: the other side did; `error`. Absent: `error` if there is an `error`, else `complete`. What did not end `complete` is metered with what was seen |
//! | `error` | an object: `status` (HTTP, number), `type` (the provider's word, `rate_limit_error`), `class` (the client's, `RateLimitError`). Never the message: it may quote a prompt |
//! | `retry_number` | which try of the application this is, 0 the first |
//! | `middleware` | who reports, such as `revenium-middleware-anthropic/1.0.0` |
//! | `usage_metadata` | the application's object, in any dialect of Revenium's SDKs, verbatim. What the call itself says wins |
//! | `prompts` | what was said, **only if the operator asked for it**; an object: `system`, `input`, `output` (text; each is cut at 50,000 characters), `truncated` (true or false). What is secret in it, the client masks |
//! | `batch_id`, `custom_id` | of a result of `/v1/messages/batches/{id}/results`; both together the `transactionId` of one that has no `id` |
//!
//! **Versions.** Packages and agents are updated apart, so there is no version number. What an agent does not
//! know is left out and counted as a warning: a new fact must not keep an old agent from billing, and must not
//! vanish unseen. A member never changes its meaning; another meaning gets another name. Of what it knows, the
//! agent refuses only amounts that are none, a member that is given twice, and routes that are not billed. A
//! label of the wrong type is dropped with a warning, as in an event. What is refused is kept as a dead letter.
//!
//! [`LINE_BYTES_MAX`]: revenium_event::limits::LINE_BYTES_MAX

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::Response;

/// The facts of one call, to be written as the `call` member of a line. The module's docs say what each
/// member means. `Debug` shows neither metadata nor prompts.
#[derive(Clone, Default, Serialize)]
pub struct Call {
    /// Who served the call, in Revenium's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The host or base URL that the call went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The path or method that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// What was asked for.
    pub request: Request,
    /// What the provider said, and how it ended.
    #[serde(flatten)]
    pub response: Response,
    /// Wall clock at the start, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<u64>,
    /// To the end of the answer, milliseconds of a monotonic clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Whether the answer was asked for as a stream.
    pub is_streamed: bool,
    /// Which try of the application this is, 0 the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_number: Option<u32>,
    /// Who reports the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub middleware: Option<String>,
    /// The application's metadata, an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_metadata: Option<Box<RawValue>>,
    /// What was said; only if the operator asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Prompts>,
    /// The batch that the call was part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// The application's name for the call within its batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_id: Option<String>,
}

/// What of the request matters for metering.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Request {
    /// The model that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether tools were offered.
    pub has_tools: bool,
    /// Whether an image was sent.
    pub has_vision: bool,
    /// The sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The tier that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// The effort that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
}

/// What was said to the model and by it.
#[derive(Clone, PartialEq, Eq, Default, Serialize)]
pub struct Prompts {
    /// The system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The messages, as JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The answer's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Whether the client cut any of them.
    pub truncated: bool,
}

impl Call {
    /// The line `{"call":{…}}` without its newline, for [`crate::freeze()`] or a socket.
    pub fn to_line(&self) -> String {
        let line = serde_json::to_string(&Line { call: self });
        line.expect("every key is text, and a temperature that is no number is written as null")
    }
}

#[derive(Serialize)]
struct Line<'a> {
    call: &'a Call,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("provider", &self.provider)
            .field("route", &self.route)
            .field("response", &self.response)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompts").finish_non_exhaustive()
    }
}
