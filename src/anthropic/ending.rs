//! How a call ended, in Revenium's words.
//!
//! | Anthropic's word | `stopReason` |
//! |---|---|
//! | `end_turn`, `pause_turn`, `compaction` | `END` |
//! | `stop_sequence`, `tool_use` | `END_SEQUENCE` |
//! | `max_tokens`, `model_context_window_exceeded` | `TOKEN_LIMIT` |
//! | `refusal`, `content_filter` | `ERROR` |
//! | `cancelled` | `CANCELLED` |
//! | `timeout` | `TIMEOUT` |
//! | none | `END` |
//! | any other | `END`, with a warning |
//!
//! It is the table of Revenium's Node SDK, which distinguishes most, and what came after it. A call that
//! was given up is `CANCELLED`, one that was cut or failed is `ERROR`, whatever word came before.

use crate::members::{Members, Writer, quoted, text, whole};

/// Which way a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Complete,
    Cancelled,
    Cut,
    Failed,
}

/// How a call ended, read from its facts.
#[derive(Debug)]
pub(crate) struct Ending<'a> {
    way: Way,
    stop_reason: Option<&'a str>,
    error: Members<'a>,
    /// Whether `ended` is a word of a later release.
    pub(crate) is_strange: bool,
}

impl<'a> Ending<'a> {
    /// Reads `ended`, `stop_reason` and `error`.
    pub(crate) fn of(call: &Members<'a>) -> Ending<'a> {
        let error = call.object("error");
        let word = call.text("ended");
        let known = match word.as_deref() {
            Some("complete") => Some(Way::Complete),
            Some("cancelled") => Some(Way::Cancelled),
            Some("cut") => Some(Way::Cut),
            Some("error") => Some(Way::Failed),
            _ => None,
        };
        // A word that is not known says at least that it is none of these: the call is not taken for whole.
        let is_strange = known.is_none() && call.get("ended").is_some();
        let implied = if error.is_some() || is_strange { Way::Failed } else { Way::Complete };
        let error = error.unwrap_or_default();
        Ending { way: known.unwrap_or(implied), stop_reason: call.get("stop_reason"), error, is_strange }
    }

    /// Whether the whole answer came.
    pub(crate) fn is_complete(&self) -> bool {
        self.way == Way::Complete
    }

    /// Whether the answer began and did not come to its end.
    pub(crate) fn is_partial(&self, has_usage: bool) -> bool {
        match self.way {
            Way::Complete => false,
            Way::Cancelled | Way::Cut => true,
            Way::Failed => has_usage,
        }
    }

    /// Adds `stopReason`, `errorCode` and `errorReason`.
    pub(crate) fn put(&self, event: &mut Writer) {
        match self.way {
            Way::Complete => return event.put("stopReason", &self.translated()),
            Way::Cancelled => event.put_text("stopReason", "CANCELLED"),
            Way::Cut | Way::Failed => event.put_text("stopReason", "ERROR"),
        }
        // A stream that breaks off was answered with 200, which is no error's code.
        let code =
            self.error.get("status").filter(|raw| whole(raw).is_some_and(|code| (400..600).contains(&code)));
        event.put_some("errorCode", code);
        let word = self
            .error
            .text("class")
            .or_else(|| self.error.text("type"))
            .filter(|word| !word.trim().is_empty());
        let reason = match (word, code) {
            (Some(word), Some(code)) => format!("{word} (HTTP {code})"),
            (Some(word), None) => word,
            (None, Some(code)) => format!("HTTP {code}"),
            (None, None) if self.way == Way::Cut => "cut off before its end".to_owned(),
            (None, None) if self.way == Way::Cancelled => return,
            (None, None) => "error".to_owned(),
        };
        event.put_text("errorReason", &reason);
    }

    /// The provider's word as a raw value on the wire. One that is not known is left for freezing to
    /// replace and to warn about.
    fn translated(&self) -> String {
        let Some(raw) = self.stop_reason else { return quoted("END") };
        match text(raw).as_deref() {
            Some("end_turn" | "pause_turn" | "compaction") => quoted("END"),
            Some("stop_sequence" | "tool_use") => quoted("END_SEQUENCE"),
            Some("max_tokens" | "model_context_window_exceeded") => quoted("TOKEN_LIMIT"),
            Some("refusal" | "content_filter") => quoted("ERROR"),
            Some("cancelled") => quoted("CANCELLED"),
            Some("timeout") => quoted("TIMEOUT"),
            _ => raw.to_owned(),
        }
    }
}
