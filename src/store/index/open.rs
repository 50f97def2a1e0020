//! Opening sled as if it might lie, hang or panic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use revenium_migrations::INDEX_VERSION;
use rustix::fs::FlockOperation;

use super::schema::{self, Meta};
use super::{Doubt, Index, decode};

/// Long enough for gigabytes of index on a slow disk.
const OPEN_SECONDS_MAX: u64 = 60;
/// sled's threads take milliseconds to end.
const HELD_WAIT_MAX: Duration = Duration::from_secs(2);
const HELD_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Opens the index in `dir`, whose newest folder is `index-N`; a new one if `anew`, if there is
/// none, or if the one there does not open.
pub(crate) fn open(dir: &Path, cache_bytes: u64, anew: bool) -> Result<(Index, Option<Doubt>), Doubt> {
    let newest = folders(dir).last().copied();
    let mut doubt = None;
    if let (Some(n), false) = (newest, anew) {
        match open_within_limit(&path(dir, n), cache_bytes) {
            Ok(index) => return Ok((index, None)),
            Err(e) => doubt = Some(e),
        }
    }
    // What failed before it is of no use any more, and a disk that is sick for a day would leave a folder each second.
    remove_others(dir);
    // Never over the old one: its files may still be held by what failed.
    let index = open_within_limit(&path(dir, newest.map_or(0, |n| n + 1)), cache_bytes)?;
    Ok((index, doubt))
}

/// Removes every index folder but the newest.
pub(crate) fn remove_others(dir: &Path) {
    let mut all = folders(dir);
    all.pop();
    for n in all {
        if let Err(error) = std::fs::remove_dir_all(path(dir, n)) {
            tracing::warn!(%error, folder = n, "cannot remove an index that was set aside");
        }
    }
}

fn path(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("index-{n}"))
}

fn folders(dir: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<u64> =
        entries.filter_map(|e| e.ok()?.file_name().to_str()?.strip_prefix("index-")?.parse().ok()).collect();
    found.sort_unstable();
    found
}

fn open_within_limit(path: &Path, cache_bytes: u64) -> Result<Index, Doubt> {
    let (send, receive) = mpsc::channel();
    let path = path.to_path_buf();
    let opener = move || {
        let opened = std::panic::catch_unwind(|| open_now(&path, cache_bytes));
        // Nobody listens any more when the time limit passed.
        let _ = send.send(opened.unwrap_or_else(|p| Err(Doubt::Panic(panic_text(&p)))));
    };
    std::thread::Builder::new()
        .name("index-open".into())
        .spawn(opener)
        .map_err(|e| Doubt::Panic(e.to_string()))?;
    receive
        .recv_timeout(Duration::from_secs(OPEN_SECONDS_MAX))
        .unwrap_or(Err(Doubt::TimeLimit(OPEN_SECONDS_MAX)))
}

fn open_now(path: &Path, cache_bytes: u64) -> Result<Index, Doubt> {
    remove_half_made_snapshots(path);
    wait_until_released(path);
    let db = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        // Large segments keep sled from spilling values into blob files, which it never syncs.
        .segment_size(8 << 20)
        .flush_every_ms(None)
        .open()?;
    let meta = match db.get(schema::META)? {
        Some(value) => decode::<Meta>(&value)?,
        None if db.is_empty() => Meta { version: INDEX_VERSION, ..Meta::default() },
        None => return Err(Doubt::Mismatch("entries without a mark".into())),
    };
    if meta.version != INDEX_VERSION {
        return Err(Doubt::Version(meta.version));
    }
    if meta.rebuilding {
        return Err(Doubt::Mismatch("a rebuild was interrupted".into()));
    }
    let mut index = Index {
        db,
        linked: meta.ordinal != 0,
        meta,
        lanes: BTreeMap::new(),
        segments: BTreeMap::new(),
        delayed: BTreeMap::new(),
        gaps: super::Gaps::default(),
        rebuild: None,
    };
    index.load()?;
    Ok(index)
}

/// sled lets go of its files some time after its last handle is dropped, and refuses what is still locked: a
/// store that was closed and is opened again in the same process would make its index anew for nothing. What
/// holds them longer than that is not waited for.
fn wait_until_released(path: &Path) {
    let Ok(file) = std::fs::File::open(path.join("db")) else { return };
    let deadline = Instant::now() + HELD_WAIT_MAX;
    let is_held = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
    while is_held() && Instant::now() < deadline {
        std::thread::sleep(HELD_LOOK_EVERY);
    }
    // By name: a process that is just being started may have the descriptor too, for a moment.
    let _ = rustix::fs::flock(&file, FlockOperation::Unlock);
}

/// sled 0.34.7 refuses to open beside a snapshot that a kill interrupted; the rename that never
/// came is its commit point, so the leftover says nothing.
fn remove_half_made_snapshots(path: &Path) {
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The text of a panic's payload.
pub(crate) fn panic_text(payload: &Box<dyn std::any::Any + Send>) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "no text".into())
}
