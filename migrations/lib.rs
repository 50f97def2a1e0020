//! Frozen formats: every released layout of the log stays readable, for ever.
//!
//! A module per released format (`log_v1`), each with its structs, its encoder and its decoder,
//! and bytes under `fixtures/` that its tests read. A shipped struct is never changed: a new
//! format is a new module, and it is *readable one release before it is written*, so that a
//! rollback still drains. The store writes the newest format and reads all of them.
//!
//! This crate knows nothing of today's types; the store translates.
//!
//! The index has no frozen format: it is rebuilt from the log when its [`INDEX_VERSION`] differs.

pub mod log_v1;

/// The newest log format that this release writes.
pub const LOG_FORMAT_WRITTEN: u8 = log_v1::FORMAT;

/// The newest log format that this release reads.
pub const LOG_FORMAT_READ_MAX: u8 = log_v1::FORMAT;

/// Layout of the index in sled. Another number on disk: set aside and rebuilt from the log.
pub const INDEX_VERSION: u32 = 1;

/// Why a log cannot be opened by this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log has format {found}, this release reads up to {LOG_FORMAT_READ_MAX}: \
     run the release that wrote it, or a newer one"
)]
pub struct TooNew {
    /// The format found.
    pub found: u8,
}

/// The version gate: may this release read a log of `format`?
///
/// # Errors
/// [`TooNew`] when a newer release wrote it. Nothing is touched then.
pub fn gate(format: u8) -> Result<(), TooNew> {
    if format <= LOG_FORMAT_READ_MAX { Ok(()) } else { Err(TooNew { found: format }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused_by_name() {
        assert_eq!(gate(1), Ok(()));
        let refused = gate(2).unwrap_err();
        assert_eq!(refused, TooNew { found: 2 });
        assert!(refused.to_string().contains("format 2"));
    }
}
