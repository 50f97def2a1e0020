//! The relay.

use std::net::SocketAddr;
use std::sync::Arc;

use revenium_store::Store;
use tokio::sync::watch;

use super::super::shell::listen;
use super::Shell;
use super::count::Counted;
use super::intake::STOP_MAX;
use crate::exit::Failure;
use crate::metrics::Via;
use crate::queue::Pulsed;
use crate::relay::{Limits, Settings, Tenants, serve};
use crate::tasks::{Stage, Tasks};

/// On the board: the relay listens.
pub(super) const RELAY: &str = "relay";

/// Serves the relay, if it is configured. Returns its address.
pub(super) async fn start(
    shell: &Shell,
    store: &Arc<Store>,
    tasks: &mut Tasks,
) -> Result<Option<SocketAddr>, Failure> {
    let config = &shell.config.relay;
    let Some(address) = config.listen else {
        shell.board.ready(RELAY);
        return Ok(None);
    };
    let (listener, address) = listen(&shell.config, "relay.listen", address).await?;
    let key = |name: &String| shell.keys.get(name).cloned().unwrap_or_else(|| watch::channel(None).1);
    let profiles = shell.config.profiles.iter();
    let profiles = profiles.map(|profile| (profile.name.as_str().into(), key(&profile.name))).collect();
    let met = store.lanes().into_iter().map(|lane| lane.lane.profile);
    let settings = Settings {
        tenants: Tenants::new(profiles, config.strict, met),
        token: config.token.clone(),
        hosts: config.hosts.clone(),
        instance: shell.instance.clone(),
        limits: Limits {
            connections_max: usize::try_from(config.connections_max).unwrap_or(usize::MAX),
            ..Limits::default()
        },
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
