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

/// Whether `name` can be a profile: 1–[`PROFILE_BYTES_MAX`] of `A-Z a-z 0-9 . _ -`.
// The characters that need no quoting in TOML keys, file names and labels.
pub fn profile_is_valid(name: &str) -> bool {
    (1..=PROFILE_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
