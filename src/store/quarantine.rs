//! Damaged bytes, kept for a person: never deleted by us, bounded in all.

use std::io;
use std::path::{Path, PathBuf};

use crate::segment::Segment;
use crate::shared::{Shared, add, get};

/// Keeps `from..to` of a segment. True if this damage was not met before.
pub(crate) fn keep(shared: &Shared, segment: &Segment, from: u64, to: u64) -> bool {
    let path = path(&shared.options.dir, segment.ordinal, from);
    if path.exists() {
        return false;
    }
    let left = shared.options.quarantine_bytes_max.saturating_sub(get(&shared.counters.quarantine_bytes));
    let bytes = (to - from).min(left);
    tracing::error!(segment = segment.ordinal, from, to, kept_bytes = bytes, "the log is damaged here");
    let kept = || -> io::Result<()> {
        std::fs::create_dir_all(folder(&shared.options.dir))?;
        let mut buf = vec![0; usize::try_from(bytes).unwrap_or(0)];
        segment.file.read_at(&mut buf, from)?;
        std::fs::write(&path, &buf)
    };
    match kept() {
        Ok(()) => add(&shared.counters.quarantine_bytes, bytes),
        Err(error) => tracing::error!(%error, "cannot keep the damaged bytes"),
    }
    true
}

/// Whether the damage that begins there was met before.
pub(crate) fn has(dir: &Path, ordinal: u64, from: u64) -> bool {
    path(dir, ordinal, from).exists()
}

/// Bytes kept so far.
pub(crate) fn bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder(dir)) else { return 0 };
    entries.filter_map(|e| Some(e.ok()?.metadata().ok()?.len())).sum()
}

fn path(dir: &Path, ordinal: u64, from: u64) -> PathBuf {
    folder(dir).join(format!("seg-{ordinal:016x}-{from:08x}.bin"))
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("quarantine")
}
