//! The thread that writes segments in advance, within the budgets, and watches the disk.
//!
//! It waits for nobody, so a commit that needs a segment may wait for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::AppendError;
use crate::segment::{self, Segment};
use crate::shared::{Shared, get, lock};
use crate::space;

/// How often it looks without being woken.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Segments kept ready: the next one, and the reserve that only settling may use.
const PREPARED: usize = 2;

/// Runs until the store closes.
pub(crate) fn run(shared: &Arc<Shared>) {
    space::take_ballast(&shared.options);
    while !shared.is_closing() {
        watch_disk(shared);
        prepare(shared);
        let wake = |s: &mut crate::shared::Space| std::mem::take(&mut s.wake_preparer);
        drop(shared.space.wait(LOOK_EVERY, wake));
    }
    shared.space.change(|s| s.exhausted = Some(AppendError::Closing));
}

/// Segments are written in advance, so what is free is for the index alone. A quarter of the
/// reserve is enough for it; when other programs leave less, intake stops.
fn watch_disk(shared: &Shared) {
    let o = &shared.options;
    let Ok(free) = space::free_bytes(&o.dir) else { return };
    shared.counters.disk_free_bytes.store(free, Ordering::Relaxed);
    let low = (free < o.free_reserve_bytes / 4).then(|| disk_full(shared));
    shared.space.change(|s| s.disk_low = low);
    if free > o.free_reserve_bytes + 2 * o.ballast_bytes {
        space::take_ballast(o);
    }
}

fn prepare(shared: &Shared) {
    while shared.space.lock().prepared.len() < PREPARED && !shared.is_closing() {
        let made = room_for_one(shared).and_then(|()| {
            segment::prewrite(&shared.options).map_err(|error| {
                tracing::warn!(%error, "cannot prepare a segment");
                match error.kind() {
                    io::ErrorKind::StorageFull => disk_full(shared),
                    _ => AppendError::Disk(error.to_string()),
                }
            })
        });
        let placed = made.and_then(|file| {
            add(shared, |ordinal| segment::put_in_place(&shared.options, &file, ordinal)).map_err(|error| {
                // It keeps no bytes under a name that only the next start would clear.
                let _ = std::fs::remove_file(&file);
                AppendError::Disk(error.to_string())
            })
        });
        if let Err(refused) = placed {
            shared.space.change(|s| s.exhausted = Some(refused));
            return;
        }
    }
    if shared.space.lock().exhausted.is_some() {
        shared.space.change(|s| s.exhausted = None);
    }
}

/// Whether a retired segment's file is wanted as the next one.
pub(crate) fn wants_more(shared: &Shared) -> bool {
    shared.space.lock().prepared.len() < PREPARED
}

/// Adds the segment that `place` makes with the next ordinal. Ordinals are given in the order in
/// which segments become ready, so the lock is held until this one is.
pub(crate) fn add(shared: &Shared, place: impl FnOnce(u64) -> io::Result<Segment>) -> io::Result<()> {
    shared.space.change(|s| {
        let segment = place(s.highest_ordinal + 1)?;
        s.highest_ordinal = segment.ordinal;
        s.prepared.push_back(segment);
        if s.prepared.len() >= PREPARED {
            s.exhausted = None;
        }
        Ok(())
    })
}

fn room_for_one(shared: &Shared) -> Result<(), AppendError> {
    let o = &shared.options;
    let used = log_bytes(shared);
    if used + o.segment_bytes > o.capacity_bytes {
        return Err(AppendError::Full { budget: "store".into(), bytes: used, bytes_max: o.capacity_bytes });
    }
    match space::free_bytes(&o.dir) {
        Ok(free) if free < o.free_reserve_bytes + o.segment_bytes => Err(disk_full(shared)),
        _ => Ok(()),
    }
}

fn disk_full(shared: &Shared) -> AppendError {
    let o = &shared.options;
    let free = space::free_bytes(&o.dir).unwrap_or(0);
    AppendError::Full {
        budget: format!("disk: {free} bytes are free, {} are reserved", o.free_reserve_bytes),
        bytes: log_bytes(shared),
        bytes_max: o.capacity_bytes,
    }
}

/// Bytes of every file that counts towards the capacity.
pub(crate) fn log_bytes(shared: &Shared) -> u64 {
    let prepared: u64 = shared.space.lock().prepared.iter().map(|s| s.bytes).sum();
    let in_use: u64 = lock(&shared.table).segments.values().map(|l| l.segment.bytes).sum();
    prepared + in_use + get(&shared.counters.quarantine_bytes)
}
