//! What a request asks for, read from its body as it passes, in pieces of any size.

use crate::call::Request;
use crate::members::Members;
use crate::skim::Skim;

/// What of a request is looked at.
const ASKED: &[&str] = &["model", "stream", "tools", "temperature", "service_tier", "output_config"];

/// A request's body that is being read. Holds a few hundred bytes as a rule, and 400 KiB at most.
#[derive(Debug, Clone)]
pub struct Asked(Skim);

impl Default for Asked {
    fn default() -> Self {
        Self::new()
    }
}

impl Asked {
    /// A body of which nothing came yet.
    pub fn new() -> Asked {
        Asked(Skim::new(ASKED))
    }

    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// What it asks for, as far as it came.
    pub fn request(&self) -> Request {
        Request {
            model: self.0.text("model"),
            has_tools: self.0.has_items("tools"),
            has_vision: self.0.has_image(),
            temperature: self.0.raw("temperature").and_then(|raw| raw.parse().ok()),
            service_tier: self.0.text("service_tier"),
            effort: self.0.raw("output_config").and_then(effort),
        }
    }

    /// Whether it asks for a stream.
    pub fn wants_stream(&self) -> bool {
        self.0.raw("stream") == Some("true")
    }
}

/// `output_config.effort`.
fn effort(raw: &str) -> Option<String> {
    Members::read(raw)?.text("effort")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_for_metering_is_read_and_nothing_else_is_needed() {
        let body =
            br#"{"model":"m","stream":true,"tools":[{"name":"x"}],"temperature":0.5,"service_tier":"auto",
            "output_config":{"effort":"high"},"messages":[{"content":[{"type":"image"}]}]}"#;
        let mut asked = Asked::new();
        body.chunks(7).for_each(|piece| asked.push(piece));
        let text = |text: &str| Some(text.to_owned());
        let expected = Request {
            model: text("m"),
            has_tools: true,
            has_vision: true,
            temperature: Some(0.5),
            service_tier: text("auto"),
            effort: text("high"),
        };
        assert_eq!((asked.request(), asked.wants_stream()), (expected, true));
        assert_eq!((Asked::new().request(), Asked::new().wants_stream()), (Request::default(), false));
    }
}
