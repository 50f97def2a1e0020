//! `gateway`: the gateway in a process of its own, so that calls do not share fate with the log.
//!
//! It needs no agent to be there: events go to the agent's socket, or into spool files until there is one. It
//! reads of the configuration what concerns it, and no key of Revenium's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{info, warn};

use super::run::{Ready, listen_on};
use crate::admin::{self, Listener, Shown};
use crate::cli::GatewayArgs;
use crate::config::{Flags, GatewayRole, Surroundings, loops_into};
use crate::exit::{Exit, Failure, OrExit};
use crate::gateway::{CameTo, Counter, Gateway};
use crate::intake::Observer;
use crate::logging;
use crate::metrics::GatewayMetrics;
use crate::signals::StopSignals;
use crate::systemd::{Service, Sockets};
use crate::tasks::Stop;
use crate::web::Waiting;

/// Where it listens unless told otherwise.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8794);

/// For the events of the last calls to reach the agent, or a spool file.
const EMITTER_STOP_MAX: Duration = Duration::from_secs(5);

/// The socket's name, in the unit that holds it.
const SOCKET: &str = "gateway";

/// Runs the gateway to its end.
pub fn run(args: &GatewayArgs) -> Result<Exit, Failure> {
    // First of all: it may change the environment only while there is no other thread.
    let (service, sockets) = Service::take();
    let ended = run_for(&service, sockets, args);
    if let Err(failure) = &ended {
        service.failed(failure);
    }
    ended
}

fn run_for(service: &Service, sockets: Sockets, args: &GatewayArgs) -> Result<Exit, Failure> {
    let flags = Flags {
        config: args.config.clone(),
        socket: args.socket.clone(),
        gateway: args.listen.clone(),
        gateway_admin: args.admin.clone(),
        provider_url: args.provider_url.clone(),
        ..Flags::default()
    };
    let role = GatewayRole::load(&flags, &Surroundings::of_process())
        .or_exit(Exit::Config, "the configuration cannot be used")?;
    logging::init(role.logging).or_exit(Exit::Bug, "cannot start logging")?;
    for warning in &role.warnings {
        warn!(warning, "configuration");
    }
    super::run::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_exit(Exit::Io, "cannot start the runtime")?;
    let ended = runtime.block_on(live(&role, args.ready_file.as_deref(), service, sockets));
    // Connections that were cut off are on their way out; nothing else is left.
    runtime.shutdown_background();
    ended
}

async fn live(
    role: &GatewayRole,
    ready_file: Option<&Path>,
    service: &Service,
    mut sockets: Sockets,
) -> Result<Exit, Failure> {
    let mut signals = StopSignals::install().or_exit(Exit::Io, "cannot handle signals")?;
    let provider = super::run::provider(&role.gateway, &role.drain)?;
    let (listener, address, waiting) = listener(role, &mut sockets)?;
    if let Some((_, at)) = loops_into(&role.gateway.provider_url, &[("gateway.listen", address)]) {
        let url = &role.gateway.provider_url;
        return Err(Failure::new(
            Exit::Config,
            format!("gateway.provider_url: {url} is this gateway itself ({at})"),
        ));
    }
    let watched = match role.gateway.admin_listen {
        Some(address) => Some(listen_on("gateway.admin_listen", address)?),
        None => None,
    };
    let admin = watched.as_ref().map(|(_, address)| *address);
    let seen = super::run::gateway_seen(&role.data_dir)?;
    let emitter = emitter(role);
    let (stop, stopping) = Stop::pair();
    let settings = super::run::gateway_settings(&role.gateway);
    let metrics = GatewayMetrics::new(env!("CARGO_PKG_VERSION"));
    let gateway = Gateway {
        provider,
        settings,
        emitter: emitter.clone(),
        seen,
        observer: Arc::new(metrics.clone()),
        counter: Arc::new(metrics.clone()),
    };
    // It shows how the last calls end, too, and ends with them.
    let (_runs, never) = Stop::pair();
    let showing = async {
        match watched {
            Some((listener, _)) => {
                admin::serve(Listener::Tcp(listener), Shown::Gateway(metrics), never).await
            }
            None => std::future::pending().await,
        }
    };
    let serving = async {
        tokio::select! {
            () = gateway.serve(listener, waiting, stopping) => {}
            _ = showing => {}
        }
    };
    let mut serving = std::pin::pin!(serving);
    if let Some(path) = ready_file {
        let ready = Ready { gateway: Some(address), admin, ..Ready::default() };
        ready
            .write(path)
            .or_exit(Exit::Io, format_args!("cannot write the ready file {}", path.display()))?;
    }
    service.tell_ready().await;
    let shown = admin.map(tracing::field::display);
    info!(gateway = %address, admin = shown, provider = role.gateway.provider_url, "started");
    let signal = tokio::select! {
        () = &mut serving => return Err(Failure::new(Exit::Bug, "the gateway ended by itself")),
        signal = signals.next() => signal,
    };
    info!(signal, "stopping: answers that are being given come to their end");
    service.tell_stopping();
    stop.send_replace(true);
    let exit = tokio::select! {
        () = serving => Exit::Ok,
        signal = signals.next() => {
            warn!(signal, "stopped at once by another signal");
            Exit::Interrupted
        }
    };
    let report = crate::tasks::blocking(move || emitter.flush(EMITTER_STOP_MAX)).await;
    if let Some(left) = report.map(|report| report.in_memory).filter(|left| *left > 0) {
        warn!(events = left, "events reached neither the agent nor the spool, and are lost");
    }
    info!("stopped");
    Ok(exit)
}

fn listener(
    role: &GatewayRole,
    sockets: &mut Sockets,
) -> Result<(TcpListener, SocketAddr, Waiting), Failure> {
    const CONTEXT: &str = "cannot serve the gateway on the socket that systemd passes";
    if let Some(passed) = sockets.tcp(SOCKET).or_exit(Exit::Config, CONTEXT)? {
        let address = passed.local_addr().or_exit(Exit::Io, CONTEXT)?;
        if let Some(listen) = role.gateway.listen.filter(|listen| *listen != address) {
            let message = format!("{CONTEXT}: it is {address}, and gateway.listen says {listen}: leave one");
            return Err(Failure::new(Exit::Config, message));
        }
        let listener = TcpListener::from_std(passed).or_exit(Exit::Io, CONTEXT)?;
        return Ok((listener, address, Waiting::TheNext));
    }
    let (listener, address) = listen_on("gateway.listen", role.gateway.listen.unwrap_or(LISTEN))?;
    Ok((listener, address, Waiting::Ours))
}

impl Observer for GatewayMetrics {
    fn connection_opened(&self) {
        Self::connection_opened(self);
    }
    fn connection_closed(&self) {
        Self::connection_closed(self);
    }
}

impl Counter for GatewayMetrics {
    fn came_to(&self, what: CameTo) {
        Self::came_to(self, what);
    }
}

fn emitter(role: &GatewayRole) -> revenium_emitter::Emitter {
    let mut builder = revenium_emitter::Emitter::builder()
        .on_loss(|loss| warn!(events = loss.events, why = %loss.reason, "events were not metered"))
        .on_trouble(|trouble| warn!(%trouble, "the agent is away; events are kept in spool files"));
    if let Some(socket) = &role.socket {
        builder = builder.socket(socket);
    }
    if let Some(profile) = &role.gateway.profile {
        builder = builder.profile(profile);
    }
    builder.build()
}
