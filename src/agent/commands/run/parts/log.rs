//! The log: opened on a blocking thread, watched, and closed last. Says how far opening it and making its
//! index have come.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use revenium_store::{IndexStage, OpenError, Opening, Options, Progress, Store};
use tracing::{info, warn};

use super::Shell;
use super::shown::Shown;
use crate::admin::Board;
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::tasks::{Stage, Stop, TaskResult, Tasks, blocking};
use crate::undelivered;

/// On the board: the log takes records.
pub(super) const LOG: &str = "log";
/// On the board: the index has followed the log, so records can be claimed.
pub(super) const INDEX: &str = "index";

/// The log's folder in the data directory.
pub(crate) const DIR: &str = "store";

/// How often the index is looked at until it has followed the log, and after.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_EVERY_READY: Duration = Duration::from_secs(1);

/// For counting what is left, out of the time that the log has to close.
const COUNT_MAX: Duration = Duration::from_secs(5);

/// Opens the log and shows its counts.
pub(super) async fn open(shell: &Shell, tasks: &mut Tasks) -> Result<Arc<Store>, Failure> {
    let metrics = shell.metrics.clone();
    let options =
        Options { on_flush: Some(Arc::new(move |took| metrics.flushed_in(took))), ..options(&shell.config) };
    let (dir, opening) = (options.dir.display().to_string(), options.opening.clone());
    let opened = tokio::select! {
        opened = blocking(move || Store::open(options)) => opened,
        never = tell_opening(&shell.board, &opening) => match never {},
    };
    let opened = opened.ok_or_else(|| Failure::new(Exit::Bug, "stopped while the log was being opened"))?;
    let store = opened.map_err(|error| failure(error, &dir))?;
    let data_dir = shell.config.data_dir.clone();
    undelivered::forget(&data_dir)
        .or_exit(Exit::Io, format_args!("cannot write to {}", data_dir.display()))?;
    let store = Arc::new(store);
    let shown = store.clone();
    shell.board.attach_queue(move || shown.stats());
    shell.board.ready(LOG);
    let (watched, board) = (store.clone(), shell.board.clone());
    tasks.spawn(Stage::Store, "index watch", |stop| watch_index(watched, board, stop));
    let closed = store.clone();
    tasks.spawn(Stage::Store, "log", |stop| close(closed, data_dir, stop));
    Ok(store)
}

/// How the log of this configuration is laid out and bounded.
pub(crate) fn options(config: &Config) -> Options {
    let store = &config.store;
    let profile_bytes_max = store.profile_capacity_bytes;
    Options {
        segment_bytes: store.segment_bytes,
        capacity_bytes: store.capacity_bytes,
        // As much as the log holds is no budget of its own.
        profile_bytes_max: if profile_bytes_max >= store.capacity_bytes { 0 } else { profile_bytes_max },
        free_reserve_bytes: store.free_reserve_bytes,
        // A refused event is kept as it came, which may be with more than a body has.
        record_bytes_max: revenium_event::limits::LINE_BYTES_MAX as u64,
        ..Options::new(config.data_dir.join(DIR))
    }
}

fn failure(error: OpenError, dir: &str) -> Failure {
    let exit = match &error {
        OpenError::Locked { .. } => Exit::Temporary,
        OpenError::TooNew { .. } | OpenError::Options(_) => Exit::Config,
        OpenError::Io { .. } => Exit::Io,
    };
    Failure { exit, error: anyhow::Error::from(error).context(format!("cannot open the log in {dir}")) }
}

/// Says how far opening has come, for as long as it is waited for.
async fn tell_opening(board: &Board, opening: &Opening) -> Infallible {
    let mut shown = Shown::new(board, LOG);
    loop {
        shown.show("being read", opening.progress());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Says on the board whether the index has followed the log, for as long as the log is open.
async fn watch_index(store: Arc<Store>, board: Arc<Board>, mut stop: Stop) -> TaskResult {
    let mut was_ready = false;
    let mut shown = None;
    loop {
        let stage = store.index_stage();
        let is_ready = stage == IndexStage::Ready;
        if is_ready {
            shown = None;
        } else if was_ready {
            warn!("the index is made anew; events are taken, and sent once it is ready");
        }
        let mut show = |doing, progress| {
            shown.get_or_insert_with(|| Shown::new(&board, INDEX)).show(doing, progress);
        };
        match stage {
            IndexStage::Opening => show("being opened", Progress::default()),
            IndexStage::Following(progress) => show("following the log", progress),
            IndexStage::MakingAnew(progress) => show("being made anew", progress),
            IndexStage::Ready if !was_ready => board.ready(INDEX),
            IndexStage::Ready => {}
        }
        was_ready = is_ready;
        let pause = if is_ready { LOOK_EVERY_READY } else { LOOK_EVERY };
        tokio::select! {
            () = stop.requested() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Waits for the end and makes what is left durable; a broken log ends the process.
async fn close(store: Arc<Store>, data_dir: PathBuf, mut stop: Stop) -> TaskResult {
    tokio::select! {
        () = stop.requested() => {}
        thread = store.broken() => {
            return Err(format!("the thread {thread} panicked; what was acknowledged is durable").into());
        }
    }
    // Without a thread the process is going down without waiting; the log doesn't need it to.
    let close = move || {
        leave_note(&store, &data_dir);
        store.close();
    };
    let _ = blocking(close).await;
    Ok(())
}

/// Intake and drain have ended: what the log holds now is what it will hold.
fn leave_note(store: &Store, data_dir: &Path) {
    if !store.wait_settled(COUNT_MAX) {
        return warn!("how much is undelivered was not counted in time");
    }
    match undelivered::leave(data_dir, &store.stats()) {
        Ok(undelivered) => info!(undelivered, "closing the log"),
        Err(error) => warn!(%error, "how much is undelivered could not be noted"),
    }
}
