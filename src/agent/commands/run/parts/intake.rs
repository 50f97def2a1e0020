//! The Unix socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use revenium_store::Store;

use super::Shell;
use super::count::Counted;
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::intake::{Allow, BindError, Limits, Listener, Settings, serve};
use crate::metrics::Via;
use crate::queue::Pulsed;
use crate::systemd::Sockets;
use crate::tasks::{Stage, Tasks};
use crate::tenant::Tenants;

/// On the board: the socket listens.
pub(super) const SOCKET: &str = "socket";

/// For reading every accepted connection to its end. A connection that stays silent for so long is
/// closed; its sender resends what wasn't acknowledged.
pub(in super::super) const STOP_MAX: Duration = Duration::from_secs(10);

/// Its name among the sockets that systemd passes.
const PASSED: &str = "agent";

/// Binds the socket, or takes the one that systemd passes, and serves it. Returns its path.
pub(super) fn start(
    shell: &Shell,
    store: Arc<Store>,
    tenants: &Arc<Tenants>,
    sockets: &mut Sockets,
    tasks: &mut Tasks,
) -> Result<PathBuf, Failure> {
    let settings = settings(&shell.config, tenants.clone());
    let listener = match sockets.unix(PASSED).or_exit(Exit::Config, "cannot listen (socket.path)")? {
        Some(passed) => Listener::passed(passed, &settings.path),
        None => Listener::bind(&settings.path, settings.mode, settings.limits.backlog),
    };
    let listener = listener.map_err(|error| failure(error, &settings))?;
    let path = listener.path().to_owned();
    let queue = Arc::new(Pulsed::new(store, shell.board.pulse().clone()));
    let observer = Arc::new(Counted::new(shell.metrics.clone(), Via::Socket));
    tasks.spawn(Stage::Intake, "intake", |mut stop| async move {
        // Connections that are cut off were warned about.
        serve(listener, queue, settings, observer, async move { stop.requested().await }, STOP_MAX).await;
        Ok(())
    });
    shell.board.ready(SOCKET);
    Ok(path)
}

fn settings(config: &Config, tenants: Arc<Tenants>) -> Settings {
    let socket = &config.socket;
    Settings {
        path: socket.path.clone(),
        mode: socket.mode,
        allow: allow(config),
        tenants,
        limits: line_limits(config),
    }
}

/// The bounds of lines, by whichever way they come.
pub(super) fn line_limits(config: &Config) -> Limits {
    let socket = &config.socket;
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Limits {
        connections_max: count(socket.connections_max),
        connections_per_uid_max: count(socket.connections_per_uid_max),
        lines_per_second_per_uid_max: socket.lines_per_second_per_uid_max,
        line_timeout: socket.line_timeout,
        batch_bytes_max: batch_bytes_max(config),
        ..Limits::default()
    }
}

/// Who may send, over the socket or by way of a file.
pub(super) fn allow(config: &Config) -> Allow {
    Allow::new(config.socket.allow_uids.clone(), config.socket.allow_gids.clone())
}

/// What is appended together fits an eighth of a segment: a batch, and one event more.
pub(super) fn batch_bytes_max(config: &Config) -> usize {
    let of_segment = usize::try_from(config.store.segment_bytes / 32).unwrap_or(usize::MAX);
    Limits::default().batch_bytes_max.min(of_segment)
}

/// Whose the socket or its folder is, if that is why we may not listen.
fn foreign(socket: &Path) -> Option<String> {
    let of = |path: &Path| crate::user::foreign(path, path);
    of(socket).or_else(|| of(socket.parent()?))
}

fn failure(error: BindError, settings: &Settings) -> Failure {
    let exit = match error {
        BindError::InUse { .. } => Exit::Temporary,
        BindError::Io { .. } => Exit::Io,
        BindError::NotASocket(_)
        | BindError::PathTooLong(_)
        | BindError::UnsafeDirectory { .. }
        | BindError::PassedElsewhere { .. } => Exit::Config,
    };
    let mut context = format!("cannot listen on {} (socket.path)", settings.path.display());
    if let BindError::Io { source, .. } = &error
        && source.kind() == std::io::ErrorKind::PermissionDenied
        && let Some(foreign) = foreign(&settings.path)
    {
        context = format!("{context}: {foreign}");
    }
    Failure { exit, error: anyhow::Error::from(error).context(context) }
}
