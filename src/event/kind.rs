//! What an event meters, and the Revenium route that takes it.

use std::fmt;

/// What an event meters. Each kind has one route, and its code is stored in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A call of a language model, embeddings included.
    Completion,
    /// Image generation.
    Image,
    /// Speech to text, text to speech.
    Audio,
    /// Video generation.
    Video,
    /// A tool, MCP or function call with its cost.
    Tool,
    /// A generic event with an arbitrary `payload` object.
    Generic,
    /// The request half of an API call.
    ApiRequest,
    /// The response half of an API call.
    ApiResponse,
}

impl Kind {
    /// Every kind, in the order of [`Kind::code`].
    pub const ALL: [Kind; 8] = [
        Kind::Completion,
        Kind::Image,
        Kind::Audio,
        Kind::Video,
        Kind::Tool,
        Kind::Generic,
        Kind::ApiRequest,
        Kind::ApiResponse,
    ];

    /// The code that the log keeps. Frozen: a released code never changes its meaning.
    pub const fn code(self) -> u8 {
        match self {
            Kind::Completion => 0,
            Kind::Image => 1,
            Kind::Audio => 2,
            Kind::Video => 3,
            Kind::Tool => 4,
            Kind::Generic => 5,
            Kind::ApiRequest => 6,
            Kind::ApiResponse => 7,
        }
    }

    /// The kind with this code.
    pub fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(code)).copied()
    }

    /// The name in an event's `kind` member, in metrics and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Completion => "completion",
            Kind::Image => "image",
            Kind::Audio => "audio",
            Kind::Video => "video",
            Kind::Tool => "tool",
            Kind::Generic => "generic",
            Kind::ApiRequest => "api-request",
            Kind::ApiResponse => "api-response",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The path that takes it, below the upstream's base URL.
    pub const fn route(self) -> &'static str {
        match self {
            Kind::Completion => "/meter/v2/ai/completions",
            Kind::Image => "/meter/v2/ai/images",
            Kind::Audio => "/meter/v2/ai/audio",
            Kind::Video => "/meter/v2/ai/video",
            Kind::Tool => "/meter/v2/tool/events",
            Kind::Generic => "/meter/v2/events",
            Kind::ApiRequest => "/meter/v2/apis/requests",
            Kind::ApiResponse => "/meter/v2/apis/responses",
        }
    }

    /// The kind that this path takes.
    pub fn from_route(route: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.route() == route)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn codes_names_and_routes_lead_back_to_their_kind() {
        for (code, kind) in (0..).zip(Kind::ALL) {
            assert_eq!(kind.code(), code);
            assert_eq!(Kind::from_code(code), Some(kind));
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(Kind::from_route(kind.route()), Some(kind));
        }
        assert_eq!(Kind::from_code(8), None);
        assert_eq!(Kind::from_name("Completion"), None);
        assert_eq!(Kind::from_route("/meter/v2/ai/completions/"), None);
    }

    #[test]
    fn the_codes_in_the_log_are_frozen() {
        let codes: Vec<_> = Kind::ALL.iter().map(|kind| (kind.code(), kind.route())).collect();
        let frozen = [
            (0, "/meter/v2/ai/completions"),
            (1, "/meter/v2/ai/images"),
            (2, "/meter/v2/ai/audio"),
            (3, "/meter/v2/ai/video"),
            (4, "/meter/v2/tool/events"),
            (5, "/meter/v2/events"),
            (6, "/meter/v2/apis/requests"),
            (7, "/meter/v2/apis/responses"),
        ];
        assert_eq!(codes, frozen);
    }
}
