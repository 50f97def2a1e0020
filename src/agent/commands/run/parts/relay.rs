//! The relay.

use std::net::SocketAddr;
use std::sync::Arc;

use revenium_store::Store;
use tokio::net::TcpListener;
use tracing::warn;

use super::super::shell::{listen, refuse_loops};
use super::Shell;
use super::count::Counted;
use super::intake::{STOP_MAX, line_limits};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::intake;
use crate::metrics::Via;
use crate::queue::Pulsed;
use crate::relay::{Limits, Settings, serve};
use crate::systemd::Sockets;
use crate::tasks::{Stage, Tasks};
use crate::tenant::Tenants;
use crate::web::Waiting;

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
    tenants: &Arc<Tenants>,
    sockets: &mut Sockets,
    tasks: &mut Tasks,
) -> Result<Option<SocketAddr>, Failure> {
    let config = &shell.config.relay;
    let (listener, address, waiting) = match (passed(shell, sockets)?, config.listen) {
        (Some((listener, address)), _) => (listener, address, Waiting::TheNext),
        (None, Some(address)) => {
            let (listener, address) = listen(&shell.config, "relay.listen", address)?;
            (listener, address, Waiting::Ours)
        }
        (None, None) => {
            shell.board.ready(RELAY);
            return Ok(None);
        }
    };
    let limits = Limits { connections_max: connections_max(shell), ..Limits::default() };
    let settings = Settings {
        tenants: tenants.clone(),
        is_strict: config.strict,
        token: config.token.clone(),
        hosts: config.hosts.clone(),
        instance: shell.instance.clone(),
        lines: lines(&shell.config, limits.connections_max),
        limits,
    };
    let queue = Arc::new(Pulsed::new(store.clone(), shell.board.pulse().clone()));
    let observer = Arc::new(Counted::new(shell.metrics.clone(), Via::Relay));
    tasks.spawn(Stage::Intake, "relay", |stop| async move {
        serve(listener, waiting, queue, settings, observer, stop, STOP_MAX).await;
        Ok(())
    });
    shell.board.ready(RELAY);
    Ok(Some(address))
}

/// The socket that systemd passes, if it does. Its unit says where it is, so `relay.listen` must say the
/// same or nothing; beyond loopback it needs a token as any other does.
fn passed(shell: &Shell, sockets: &mut Sockets) -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
    const CONTEXT: &str = "cannot serve the relay on the socket that systemd passes";
    let Some(passed) = sockets.tcp(RELAY).or_exit(Exit::Config, CONTEXT)? else { return Ok(None) };
    let address = passed.local_addr().or_exit(Exit::Io, CONTEXT)?;
    let config = &shell.config.relay;
    if let Some(listen) = config.listen.filter(|listen| *listen != address) {
        let message = format!("{CONTEXT}: it is {address}, and relay.listen says {listen}: leave one");
        return Err(Failure::new(Exit::Config, message));
    }
    if !address.ip().is_loopback() && config.token.is_none() {
        let message =
            format!("{CONTEXT}: {address} can be reached from other machines: set relay.token_file");
        return Err(Failure::new(Exit::Config, message));
    }
    refuse_loops(&shell.config, "relay.listen", address)?;
    let listener = TcpListener::from_std(passed).or_exit(Exit::Io, CONTEXT)?;
    Ok(Some((listener, address)))
}

/// Half of the connections may become ones of lines, and be idle for long; requests have the other half.
fn lines(config: &Config, connections_max: usize) -> intake::Limits {
    intake::Limits {
        connections_max: connections_max / 2,
        // They are all nobody's.
        connections_per_uid_max: 0,
        in_flight_bytes_total_max: 16 << 20,
        ..line_limits(config)
    }
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
