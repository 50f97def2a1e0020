//! Every limit on what an event may be, in one place, with the reason for its value.
//!
//! Limits on text are in Unicode code points ("characters"), because Revenium's columns are;
//! limits on bytes say so in their name.

/// Largest frozen body, in bytes; also applied after completion, so an event just below it that
/// needs members added is refused as too large.
// Revenium documents no limit. Its SDKs cap each of three prompts at 50,000 characters, so 150 k
// characters and their metadata are known to be intended: 1 MiB holds that in any script.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// What a line may hold beside the body: `n`, `kind`, `profile`, white space.
// The three members take at most 25 + 22 + 78 bytes; the rest is room for white space.
pub const LINE_ENVELOPE_BYTES_MAX: usize = 1024;

/// Longest line of the socket protocol, in bytes, without its newline.
pub const LINE_BYTES_MAX: usize = BODY_BYTES_MAX + LINE_ENVELOPE_BYTES_MAX;

/// Longest Idempotency-Key, in bytes.
// Revenium's documentation: 1 to 255 printable ASCII characters without spaces.
pub const KEY_BYTES_MAX: usize = 255;

/// Longest name of a profile, in bytes.
// Fits a directory name, a metric label and the store's lane.
pub const PROFILE_BYTES_MAX: usize = 64;

/// Deepest nesting of arrays and objects, the event itself included.
// serde_json's own bound for recursive values; no known body nests deeper than five.
pub const DEPTH_MAX: usize = 128;

/// Most members at the top of an event.
// Completions have about ninety fields. The bound keeps the work per byte constant.
pub const MEMBERS_MAX: usize = 4096;

/// Most characters of a column that Revenium documents no other width for. Longer text is accepted
/// with 201 and never stored, so it is cut here.
pub(crate) const COLUMN_CHARS_MAX: usize = 255;

/// Most characters of `productName`; longer is accepted and never stored.
pub(crate) const PRODUCT_NAME_CHARS_MAX: usize = 224;

/// Most characters of a `transactionId`; a longer one is replaced by an id made from it.
// Undocumented; `parentTransactionId`, which refers to it, has a column of 255.
pub(crate) const TRANSACTION_ID_CHARS_MAX: usize = COLUMN_CHARS_MAX;

/// Most characters of each captured prompt; the rest is cut and `promptsTruncated` says so.
// The cap of every official SDK.
pub(crate) const PROMPT_CHARS_MAX: usize = 50_000;

/// Largest count of tokens, images, bytes and the like.
// A signed 64-bit integer, the widest that a Java server is likely to keep one in.
pub(crate) const COUNT_MAX: u64 = i64::MAX as u64;

/// `responseQualityScore` stays below this in either direction.
// Its column is numeric(5,2): 999.995 would round to 1000.00. Revenium's SDK has the same bound.
pub(crate) const QUALITY_SCORE_BELOW: f64 = 999.995;

// Caps that Revenium's own SDKs apply before sending, in characters.
pub(crate) const TRACE_NAME_CHARS_MAX: usize = 256;
pub(crate) const TRACE_TYPE_CHARS_MAX: usize = 128;
pub(crate) const NAME_CHARS_MAX: usize = 256;
pub(crate) const SKILL_TRIGGER_CHARS_MAX: usize = 32;
pub(crate) const VERSION_CHARS_MAX: usize = 64;
pub(crate) const JOB_NAME_CHARS_MAX: usize = 512;
pub(crate) const JOB_TYPE_CHARS_MAX: usize = 128;
pub(crate) const JOB_ID_CHARS_MAX: usize = 255;
pub(crate) const MODEL_HOST_CHARS_MAX: usize = 50;
pub(crate) const EMAIL_SOURCE_CHARS_MAX: usize = 20;

// Lengths in the patterns of Revenium's validation, in characters: a longer value loses the record.
pub(crate) const EFFORT_CHARS_MAX: usize = 16;
pub(crate) const SURFACE_CHARS_MAX: usize = 64;
pub(crate) const PROMPT_ID_CHARS_MAX: usize = 64;
pub(crate) const QUERY_SOURCE_CHARS_MAX: usize = 128;

/// Earliest time that a bare number may mean, in milliseconds since 1970: September 2001.
// Smaller numbers are readings of some other clock, and nobody metered a model then.
pub(crate) const EPOCH_MS_MIN: i64 = 1_000_000_000_000;

/// Whether `name` can be a profile: 1–[`PROFILE_BYTES_MAX`] of `A-Z a-z 0-9 _ -`.
// The characters that need no quoting in TOML keys, file names and labels.
pub fn profile_is_valid(name: &str) -> bool {
    (1..=PROFILE_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
