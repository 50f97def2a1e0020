//! In the middle of what the power went, in words for the tally.

use std::ffi::OsStr;
use std::fmt;

/// What was under way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Place {
    pub(crate) fn named(name: impl AsRef<OsStr>, how: &str) -> Self {
        Self(format!("{} {how}", kind(&name.as_ref().to_string_lossy())))
    }

    /// Whether it is neither a commit nor of the index, which most operations are.
    pub(crate) fn is_rare(&self) -> bool {
        let Self(what) = self;
        let often = ["records", "notes", "segment flushed", "watermark", "index", "lock", "ballast"];
        !often.iter().any(|begin| what.starts_with(begin))
    }

    #[allow(dead_code, reason = "a disk that is sick asks")]
    pub(crate) fn is_of_index(&self) -> bool {
        self.0.starts_with("index")
    }

    pub(crate) fn names_flushed() -> Self {
        Self("names flushed".into())
    }

    pub(crate) fn renamed(from: &OsStr, to: &OsStr) -> Self {
        match (kind(&from.to_string_lossy()), kind(&to.to_string_lossy())) {
            ("segment", "segment") => Self("segment recycled".into()),
            (from, to) => Self(format!("{from} becomes {to}")),
        }
    }

    pub(crate) fn written(name: &str, bytes: &[u8]) -> Self {
        if kind(name) != "segment" {
            return Self(format!("{} written", kind(name)));
        }
        // The byte after the magic and the format is the kind of a chunk.
        let kinds = bytes.windows(6).filter(|w| w.starts_with(b"RVCK")).map(|w| w[5]);
        let most = kinds.max().unwrap_or_default();
        let what = ["no chunk", "records", "relocation", "notes", "checkpoint"];
        Self(format!("{} written", what.get(usize::from(most)).unwrap_or(&"no chunk")))
    }
}

/// What a name stands for in a store.
fn kind(name: &str) -> &'static str {
    match name {
        _ if name.starts_with("seg-") && name.ends_with(".log") => "segment",
        _ if name.starts_with("tmp-") => "segment to be",
        "watermark" => "watermark",
        "lock" => "lock",
        "ballast" => "ballast",
        _ => "index",
    }
}
