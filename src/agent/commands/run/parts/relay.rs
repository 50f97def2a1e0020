//! The relay.

use std::net::SocketAddr;
use std::sync::Arc;

use revenium_store::Store;
use tokio::sync::watch;
use tracing::warn;

use super::super::shell::listen;
use super::Shell;
use super::count::Counted;
use super::intake::STOP_MAX;
use crate::exit::Failure;
use crate::metrics::Via;
use crate::queue::Pulsed;
use crate::relay::{Limits, Settings, Tenants, serve};
use crate::tasks::{Stage, Tasks};

/// Files that the log, the index, the drain and an operator's doors may have open.
const FILES_OF_THE_LOG: usize = 512;

/// Connections that the relay has however few files there may be.
const CONNECTIONS_MIN: usize = 16;

/// On the board: the relay listens.
pub(super) const RELAY: &str = "relay";

/// Serves the relay, if it is configured. Returns its address.
pub(super) fn start(
    shell: &Shell,
    store: &Arc<Store>,
    tasks: &mut Tasks,
) -> Result<Option<SocketAddr>, Failure> {
    let config = &shell.config.relay;
    let Some(address) = config.listen else {
        shell.board.ready(RELAY);
        return Ok(None);
    };
    let (listener, address) = listen(&shell.config, "relay.listen", address)?;
    let key = |name: &String| shell.keys.get(name).cloned().unwrap_or_else(|| watch::channel(None).1);
    let profiles = shell.config.profiles.iter();
    let profiles = profiles.map(|profile| (profile.name.as_str().into(), key(&profile.name))).collect();
    let met = store.lanes().into_iter().map(|lane| lane.lane.profile);
    let settings = Settings {
        tenants: Tenants::new(profiles, config.strict, met),
        token: config.token.clone(),
        hosts: config.hosts.clone(),
        instance: shell.instance.clone(),
        limits: Limits { connections_max: connections_max(shell), ..Limits::default() },
    };
    let queue = Arc::new(Pulsed::new(store.clone(), shell.board.pulse().clone()));
    let observer = Arc::new(Counted::new(shell.metrics.clone(), Via::Relay));
    tasks.spawn(Stage::Intake, "relay", |stop| async move {
        serve(listener, queue, settings, observer, stop, STOP_MAX).await;
        Ok(())
    });
    shell.board.ready(RELAY);
    Ok(Some(address))
}

/// As many connections as are configured, or as there are files left for, beside the socket's and the log's.
fn connections_max(shell: &Shell) -> usize {
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let wanted = count(shell.config.relay.connections_max);
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let of_others = count(shell.config.socket.connections_max).saturating_add(FILES_OF_THE_LOG);
    let fit = files.saturating_sub(of_others).max(CONNECTIONS_MIN);
    if fit < wanted {
        warn!(connections = fit, wanted, files, "the limit of open files leaves the relay fewer connections");
    }
    wanted.min(fit)
}
