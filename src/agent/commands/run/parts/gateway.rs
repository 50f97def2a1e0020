//! The gateway, hosted by the agent.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use revenium_emitter::Emitter;

use super::super::shell::listen;
use super::Shell;
use super::count::Counted;
use crate::config::{DrainConfig, GatewayConfig, loops_into};
use crate::exit::{Exit, Failure, OrExit};
use crate::gateway::{Gateway, Limits, Provider, Seen, Settings, Way};
use crate::intake::PROFILE_DEFAULT;
use crate::metrics::Via;
use crate::tasks::{Stage, Tasks};
use crate::web::Waiting;

/// On the board: the gateway listens.
pub(super) const GATEWAY: &str = "gateway";

/// Serves the gateway, if it is configured; its events go to `socket` like those of any other sender. Returns its
/// address.
pub(super) fn start(shell: &Shell, socket: &Path, tasks: &mut Tasks) -> Result<Option<SocketAddr>, Failure> {
    let config = &shell.config.gateway;
    let Some(address) = config.listen else {
        shell.board.ready(GATEWAY);
        return Ok(None);
    };
    let provider = provider(config, &shell.config.drain)?;
    let (listener, address) = listen(&shell.config, "gateway.listen", address)?;
    if let Some((_, at)) = loops_into(&config.provider_url, &[("gateway.listen", address)]) {
        let message = format!("gateway.provider_url: {} is this gateway itself ({at})", config.provider_url);
        return Err(Failure::new(Exit::Config, message));
    }
    let seen = seen(&shell.config.data_dir)?;
    // It is the agent's, and so are its calls, whatever key the environment has.
    let profile = config.profile.as_deref().unwrap_or(PROFILE_DEFAULT);
    let mut emitter = Emitter::builder().socket(socket).profile(profile);
    if let Some(spool) = shell.config.spool.dirs.first() {
        emitter = emitter.spool(spool);
    }
    let (emitter, settings) = (emitter.build(), settings(config));
    let counted = Arc::new(Counted::new(shell.metrics.clone(), Via::Socket));
    let emitting = emitter.clone();
    let gateway =
        Gateway { provider, settings, emitter: emitting, seen, observer: counted.clone(), counter: counted };
    // Before intake stops, which takes the events of the last calls.
    tasks.spawn(Stage::Gateway, "gateway", |stop| async move {
        gateway.serve(listener, Waiting::Ours, stop).await;
        // Dropping the last handle hands over what is left, and blocks.
        crate::tasks::blocking(move || drop(emitter)).await;
        Ok(())
    });
    shell.board.ready(GATEWAY);
    Ok(Some(address))
}

/// The provider that the configuration names, reached as Revenium is.
pub(crate) fn provider(config: &GatewayConfig, egress: &DrainConfig) -> Result<Provider, Failure> {
    let ca_pem = match &egress.ca_file {
        Some(path) => Some(
            std::fs::read(path)
                .or_exit(Exit::Config, format_args!("cannot read drain.ca_file {}", path.display()))?,
        ),
        None => None,
    };
    let way = Way { proxy: egress.proxy.clone(), ca_pem };
    Provider::new(&config.provider_url, &way).or_exit(Exit::Config, "cannot set up the way to the provider")
}

/// What it remembers, which no other gateway may have open.
pub(crate) fn seen(data_dir: &Path) -> Result<Seen, Failure> {
    Seen::open(data_dir.join("gateway")).or_exit(Exit::Temporary, "cannot start the gateway")
}

/// What the gateway is told.
pub(crate) fn settings(config: &GatewayConfig) -> Settings {
    Settings {
        hosts: config.hosts.clone(),
        credential_from_key: config.credential_from_key,
        limits: Limits {
            connections_max: usize::try_from(config.connections_max).unwrap_or(usize::MAX),
            stop_max: config.stop_deadline,
            read_on_time_max: config.read_on_max,
            read_on_bytes_max: config.read_on_bytes_max,
            ..Limits::default()
        },
    }
}
