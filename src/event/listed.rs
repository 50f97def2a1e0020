//! The closed lists of Revenium's API: a value outside of its list loses the whole record.

pub(crate) const OPERATION_TYPES: &[&str] = &[
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
];
pub(crate) const COMPLETION_SKIP_REASONS: &[&str] = &[
    "FREE_TIER",
    "RATE_LIMITED",
    "QUOTA_EXCEEDED",
    "CONTENT_POLICY_VIOLATION",
    "CAPACITY_UNAVAILABLE",
    "SERVICE_UNAVAILABLE",
];
pub(crate) const MEDIA_SKIP_REASONS: &[&str] =
    &["FREE_TIER", "RATE_LIMITED", "ERROR_RESPONSE", "INTERNAL_TEST"];
pub(crate) const IMAGE_SUBTYPES: &[&str] = &["generation", "edit", "variation", "upscale", "inpainting"];
pub(crate) const AUDIO_SUBTYPES: &[&str] =
    &["transcription", "translation", "synthesis", "speech", "tts", "realtime"];
pub(crate) const VIDEO_SUBTYPES: &[&str] = &["generation", "upscale", "extend", "edit"];
pub(crate) const AUDIO_UNITS: &[&str] = &["PER_MINUTE", "PER_CHARACTER", "PER_TOKEN"];
pub(crate) const SOURCE_TYPES: &[&str] = &[
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
];
