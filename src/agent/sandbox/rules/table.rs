//! Revenium's eight metering routes, their fields and each field's rule.

use super::field::{Class, Field, PROMPT_CHARS_MAX, Rule, may, need};

/// A metering route.
#[derive(Debug)]
pub(in crate::sandbox) struct Route {
    pub(in crate::sandbox) path: &'static str,
    /// What the route meters, for people.
    pub(in crate::sandbox) kind: &'static str,
    groups: &'static [&'static [Field]],
    /// At least one of these must be there.
    pub(super) one_of: &'static [&'static str],
}

impl Route {
    pub(super) fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    pub(super) fn has_subscriber(&self) -> bool {
        self.fields().any(|field| field.name == "subscriber")
    }

    /// The route's place in [`ROUTES`].
    pub(in crate::sandbox) fn index(&self) -> usize {
        ROUTES.iter().position(|route| route.path == self.path).unwrap_or(0)
    }
}

const COLUMN: Rule = Rule::TextUpTo(255);
const COUNT: Rule = Rule::Whole { max: i64::MAX };
const INT: Rule = Rule::Whole { max: 2_147_483_647 };
const AMOUNT: Rule = Rule::Decimal { below: f64::INFINITY };

pub(super) const SUBSCRIBER_ID: Field = may("id", COLUMN);
pub(super) const SUBSCRIBER_EMAIL: Field = may("email", COLUMN);
pub(super) const CREDENTIAL: Field = may("credential", Rule::Object);
pub(super) const CREDENTIAL_NAME: Field = may("name", Rule::Text);
pub(super) const CREDENTIAL_VALUE: Field = may("value", Rule::Text);

/// What the AI routes share beyond what they require.
const ATTRIBUTION: &[Field] = &[
    may("costType", Rule::OneOf(&["AI"])),
    may("organizationName", Rule::Text),
    may("productName", Rule::TextUpTo(224)),
    may("agent", COLUMN),
    may("agentVersion", Rule::TextUpTo(64)),
    may("taskType", COLUMN),
    may("subscriptionId", COLUMN),
    may("subscriber", Rule::Object),
    may("subscriberEmailSource", Rule::TextUpTo(20)),
    may("environment", COLUMN),
    may("region", COLUMN),
    may("ticketId", Rule::TextUpTo(256)),
    may("transactionName", COLUMN),
    may("codingAssistantAccountUuid", Rule::Text),
    may("traceId", COLUMN),
    may("traceName", Rule::TextUpTo(256)),
    may("traceType", Rule::Token(Class::Word, 128)),
    may("parentTransactionId", COLUMN),
    may("retryNumber", INT),
    may("agenticJobId", Rule::JobId),
    may("agenticJobName", Rule::TextUpTo(512)),
    may("agenticJobType", Rule::TextUpTo(128)),
    may("agenticJobVersion", Rule::TextUpTo(64)),
    may("squadId", Rule::Text),
    may("squadName", Rule::Text),
    may("squadRole", Rule::Text),
    may("skillName", Rule::TextUpTo(256)),
    may("skillSource", Rule::OneOf(&["bundled", "projectSettings", "userSettings", "plugin"])),
    may("skillKind", Rule::OneOf(&["workflow"])),
    may("skillPluginName", Rule::TextUpTo(256)),
    may("skillMarketplaceName", Rule::TextUpTo(256)),
    may("skillInvocationTrigger", Rule::TextUpTo(32)),
    may(
        "operationType",
        Rule::OneOf(&[
            "CHAT",
            "GENERATE",
            "EMBED",
            "CLASSIFY",
            "SUMMARIZE",
            "TRANSLATE",
            "TOOL_CALL",
            "RERANK",
            "SEARCH",
            "MODERATION",
            "VISION",
            "TRANSFORM",
            "GUARDRAIL",
            "AUDIO",
            "VIDEO",
            "IMAGE",
            "OTHER",
        ]),
    ),
    may("modelSource", Rule::Text),
    may("modelHost", Rule::TextUpTo(50)),
    may("middlewareSource", COLUMN),
    may("systemFingerprint", Rule::Text),
    may("attributes", Rule::Object),
    may("mediationLatency", COUNT),
    may("totalCost", AMOUNT),
    may("costMultiplier", AMOUNT),
    may("billingSkipped", Rule::Flag),
    may("responseQualityScore", Rule::Decimal { below: 999.995 }),
    may("errorCode", INT),
    may("errorReason", COLUMN),
];

const COMPLETION: &[Field] = &[
    need("model", Rule::Text),
    need("provider", Rule::Text),
    need("inputTokenCount", COUNT),
    need("outputTokenCount", COUNT),
    need("totalTokenCount", COUNT),
    need("requestTime", Rule::Time),
    need("completionStartTime", Rule::Time),
    need("responseTime", Rule::Time),
    need("requestDuration", COUNT),
    // The eight that SDKs write. Two more are only known to some sources.
    need(
        "stopReason",
        Rule::OneOf(&[
            "END",
            "END_SEQUENCE",
            "TIMEOUT",
            "TOKEN_LIMIT",
            "COST_LIMIT",
            "COMPLETION_LIMIT",
            "ERROR",
            "CANCELLED",
        ]),
    ),
    may("transactionId", Rule::Text),
    may("isStreamed", Rule::Flag),
    may("operationSubtype", COLUMN),
    may("temperature", AMOUNT),
    may("hasVisionContent", Rule::Flag),
    may("effort", Rule::Token(Class::Word, 16)),
    may("speed", Rule::Token(Class::Word, 16)),
    may("querySource", Rule::Token(Class::Coloned, 128)),
    may("subagentType", Rule::Token(Class::Coloned, 128)),
    may("clientSurface", Rule::Token(Class::Dotted, 64)),
    may("entrypoint", Rule::Token(Class::Dotted, 64)),
    may("promptId", Rule::Token(Class::Word, 64)),
    may("promptLength", INT),
    may("reasoningTokenCount", COUNT),
    may("cacheCreationTokenCount", COUNT),
    may("cacheCreation5mTokenCount", COUNT),
    may("cacheCreation1hTokenCount", COUNT),
    may("cacheReadTokenCount", COUNT),
    may("timeToFirstToken", COUNT),
    may("inputTokenCost", AMOUNT),
    may("outputTokenCost", AMOUNT),
    may("cacheCreationTokenCost", AMOUNT),
    may("cacheReadTokenCost", AMOUNT),
    may(
        "skipReason",
        Rule::OneOf(&[
            "FREE_TIER",
            "RATE_LIMITED",
            "QUOTA_EXCEEDED",
            "CONTENT_POLICY_VIOLATION",
            "CAPACITY_UNAVAILABLE",
            "SERVICE_UNAVAILABLE",
        ]),
    ),
    may("pricingTier", Rule::OneOf(&["STANDARD", "BATCH"])),
    may("actualServiceTier", Rule::Text),
    may("requestedServiceTier", Rule::Text),
    may("subscriptionTier", Rule::Text),
    may("systemPrompt", Rule::TextUpTo(PROMPT_CHARS_MAX)),
    may("inputMessages", Rule::Json),
    may("outputResponse", Rule::TextUpTo(PROMPT_CHARS_MAX)),
    may("promptsTruncated", Rule::Flag),
];

/// What images, audio and video share.
const MEDIA: &[Field] = &[
    need("model", Rule::Text),
    need("provider", Rule::Text),
    need("requestDuration", COUNT),
    need("requestTime", Rule::Time),
    need("responseTime", Rule::Time),
    need("transactionId", Rule::Text),
    may("subscriberId", Rule::Text),
    may("subscriberEmail", Rule::Text),
    may("skipReason", Rule::OneOf(&["FREE_TIER", "RATE_LIMITED", "ERROR_RESPONSE", "INTERNAL_TEST"])),
];

const IMAGE: &[Field] = &[
    need("requestedImageCount", INT),
    need("actualImageCount", INT),
    may("operationSubtype", Rule::OneOf(&["generation", "edit", "variation", "upscale", "inpainting"])),
    may("resolution", Rule::Text),
    may("aspectRatio", Rule::Text),
    may("quality", Rule::Text),
    may("style", Rule::Text),
    may("format", Rule::Text),
    may("revisedPromptProvided", Rule::Flag),
    may("sourceImageProvided", Rule::Flag),
    may("sourceTransactionId", Rule::Text),
    may("billingUnit", Rule::Text),
    may("priorityTier", Rule::Text),
];

const AUDIO: &[Field] = &[
    may("durationSeconds", AMOUNT),
    may("characterCount", COUNT),
    may(
        "operationSubtype",
        Rule::OneOf(&["transcription", "translation", "synthesis", "speech", "tts", "realtime"]),
    ),
    may("inputAudioTokenCount", COUNT),
    may("outputAudioTokenCount", COUNT),
    may("inputTokenCount", COUNT),
    may("outputTokenCount", COUNT),
    may("language", Rule::Text),
    may("voice", Rule::Text),
    may("audioFormat", Rule::Text),
    may("speed", AMOUNT),
    may("sampleRate", INT),
    may("responseFormat", Rule::Text),
    may("sourceLanguage", Rule::Text),
    may("targetLanguage", Rule::Text),
    may("isRealtime", Rule::Flag),
    may("billingUnit", Rule::OneOf(&["PER_MINUTE", "PER_CHARACTER", "PER_TOKEN"])),
];

const VIDEO: &[Field] = &[
    need("durationSeconds", AMOUNT),
    may("operationSubtype", Rule::OneOf(&["generation", "upscale", "extend", "edit"])),
    may("creditsConsumed", AMOUNT),
    may("requestedDurationSeconds", AMOUNT),
    may("creditRate", AMOUNT),
    may("fps", AMOUNT),
    may("resolution", Rule::Text),
    may("aspectRatio", Rule::Text),
    may("videoJobId", Rule::Text),
    may("asyncOperation", Rule::Flag),
    may("completionStatus", Rule::Text),
];

const TOOL: &[Field] = &[
    need("transactionId", Rule::Uuid),
    need("toolId", Rule::Text),
    need("timestamp", Rule::Time),
    may("operation", Rule::Text),
    may("durationMs", COUNT),
    may("success", Rule::Flag),
    may("errorMessage", Rule::Text),
    may("costUsd", AMOUNT),
    may("agent", COLUMN),
    may("organizationName", Rule::Text),
    may("productName", Rule::TextUpTo(224)),
    may("subscriberCredential", Rule::Text),
    may("workflowId", Rule::Text),
    may("traceId", COLUMN),
    may("usageMetadata", Rule::Object),
    may("agenticJobId", Rule::JobId),
];

const SOURCE_TYPE: Field = may(
    "sourceType",
    Rule::OneOf(&[
        "UNKNOWN",
        "AI",
        "SDK_PYTHON",
        "SDK_JS",
        "SDK_JVM",
        "SDK_SPRING",
        "SDK_DOTNET",
        "SDK_GOLANG",
        "SDK_RUST",
        "EBPF",
        "AWS",
        "AZURE",
        "SNOWFLAKE",
        "KONG",
        "GRAVITEE",
        "MULESOFT",
        "BOOMI",
        "REVENIUM",
        "INTERNAL",
    ]),
);

const EVENT: &[Field] = &[
    need("payload", Rule::Object),
    need("transactionId", Rule::Text),
    SOURCE_TYPE,
    may("sourceId", Rule::Text),
    may("subscriberCredential", Rule::Text),
];

const API_REQUEST: &[Field] = &[
    need("transactionId", Rule::Text),
    SOURCE_TYPE,
    may("method", Rule::Text),
    may("resource", Rule::Text),
    may("sourceId", Rule::Text),
    may("credential", Rule::Text),
    may("contentType", Rule::Text),
    may("remoteHost", Rule::Text),
    may("userAgent", Rule::Text),
    may("requestMessageSize", COUNT),
];

const API_RESPONSE: &[Field] = &[
    need("transactionId", Rule::Text),
    need("responseCode", INT),
    may("totalDuration", COUNT),
    may("backendLatency", COUNT),
    may("gatewayLatency", COUNT),
    may("contentType", Rule::Text),
    may("responseMessageSize", COUNT),
];

/// Every metering route, completions first.
pub(in crate::sandbox) static ROUTES: [Route; 8] = [
    Route {
        path: "/meter/v2/ai/completions",
        kind: "completion",
        groups: &[COMPLETION, ATTRIBUTION],
        one_of: &[],
    },
    Route { path: "/meter/v2/ai/images", kind: "image", groups: &[MEDIA, IMAGE, ATTRIBUTION], one_of: &[] },
    Route {
        path: "/meter/v2/ai/audio",
        kind: "audio",
        groups: &[MEDIA, AUDIO, ATTRIBUTION],
        one_of: &["durationSeconds", "characterCount"],
    },
    Route { path: "/meter/v2/ai/video", kind: "video", groups: &[MEDIA, VIDEO, ATTRIBUTION], one_of: &[] },
    Route { path: "/meter/v2/tool/events", kind: "tool", groups: &[TOOL], one_of: &[] },
    Route { path: "/meter/v2/events", kind: "generic", groups: &[EVENT], one_of: &[] },
    Route { path: "/meter/v2/apis/requests", kind: "api-request", groups: &[API_REQUEST], one_of: &[] },
    Route { path: "/meter/v2/apis/responses", kind: "api-response", groups: &[API_RESPONSE], one_of: &[] },
];
