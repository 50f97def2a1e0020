//! `run`: the life of the process.
//!
//! Configuration, logging, the shell (doors, keys, metrics), then the parts that move events, then
//! the ready file; from there on until a signal or the first task that ends. Stopping goes intake,
//! requests in flight, log, doors, each with its deadline. A second signal ends it at once: what was
//! acknowledged is in the log.

mod parts;
mod per_user;
mod ready;
mod sandbox;
mod shell;

use std::time::Duration;

use tracing::{info, warn};

use crate::cli::{self, RunArgs};
use crate::config::{Config, Surroundings};
use crate::exit::{Exit, Failure, OrExit};
use crate::logging;
use crate::signals::StopSignals;
use crate::systemd::{Service, Sockets};
use crate::tasks::{Deadlines, TaskError, Tasks};
pub(crate) use parts::{
    FOLDERS, LOG_DIR, SPOOL_QUARANTINE, gateway_seen, gateway_settings, log_options, provider,
};
pub(crate) use per_user::{Card, LOG, open_log};
pub use ready::Ready;
pub use shell::Shell;
pub(crate) use shell::listen_on;

/// Intake and drain keep their own deadlines; so much later they are aborted.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// For the log's last flush.
const STORE_STOP_MAX: Duration = Duration::from_secs(10);

/// For a scrape that is on its way.
const ADMIN_STOP_MAX: Duration = Duration::from_secs(2);

/// For work on blocking threads that nothing waits for any more.
const THREADS_STOP_MAX: Duration = Duration::from_secs(1);

/// Runs the agent to its end.
pub fn run(args: &RunArgs) -> Result<Exit, Failure> {
    if args.detached {
        per_user::detach();
    }
    // Before anything else: it may change the environment only while there is no other thread.
    let (service, sockets) = Service::take();
    let ended = run_for(&service, sockets, args);
    if let Err(failure) = &ended {
        service.failed(failure);
    }
    ended
}

fn run_for(service: &Service, sockets: Sockets, args: &RunArgs) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_exit(Exit::Io, "cannot start the runtime")?;
    let mut flags = cli::flags(&args.config, &args.listen);
    // Its address is part of the configuration.
    let sandbox = if args.sandbox { Some(runtime.block_on(sandbox::Prepared::new())?) } else { None };
    flags.per_user = args.per_user;
    flags.sandbox = sandbox.as_ref().map(sandbox::Prepared::flags);
    let config = Config::load(&flags, &Surroundings::of_process())
        .or_exit(Exit::Config, "the configuration cannot be used")?;
    logging::init(config.logging).or_exit(Exit::Bug, "cannot start logging")?;
    raise_file_limit();
    let ended = runtime.block_on(live(config, args, sandbox, service, sockets));
    match ended {
        Ok(Exit::Interrupted) => runtime.shutdown_background(),
        _ => runtime.shutdown_timeout(THREADS_STOP_MAX),
    }
    ended
}

async fn live(
    config: Config,
    args: &RunArgs,
    sandbox: Option<sandbox::Prepared>,
    service: &Service,
    sockets: Sockets,
) -> Result<Exit, Failure> {
    let mut signals = StopSignals::install().or_exit(Exit::Io, "cannot handle signals")?;
    let mut tasks = Tasks::default();
    let deadlines = Deadlines {
        gateway: config.gateway.listen.map_or(Duration::ZERO, |_| config.gateway.stop_deadline + STOP_GRACE),
        intake: parts::INTAKE_STOP_MAX + STOP_GRACE,
        drain: config.drain.stop_deadline + STOP_GRACE,
        store: STORE_STOP_MAX,
        admin: ADMIN_STOP_MAX,
    };
    // Opening a large log may take a while, and must not make a signal wait.
    let started = tokio::select! {
        started = start(config, args, sandbox, service, sockets, &mut tasks) => started?,
        signal = signals.next() => {
            info!(signal, "stopped before it had started");
            return Ok(Exit::Ok);
        }
    };
    service.ready();
    let Started { shell, shown, .. } = &started;
    let unneeded = async {
        match shown {
            Some(_) => per_user::idle(shell, args.idle_end, args.detached).await,
            None => std::future::pending().await,
        }
    };
    let asked = async {
        tokio::select! {
            signal = signals.next() => signal,
            why = unneeded => why,
        }
    };
    let cause = tasks.run_until(asked).await;
    // Whoever looks now must not take it for one that stays.
    let shell = started.shell.clone();
    let _held = started.stopping();
    service.stopping(deadlines.sum() + THREADS_STOP_MAX);
    let is_unneeded = cause.as_ref().is_ok_and(|cause| *cause == per_user::UNNEEDED);
    let shut = async {
        if is_unneeded {
            per_user::deliver_the_last(&shell).await;
        }
    };
    tokio::select! {
        late = tasks.stop_all(deadlines, shut) => finish(cause, &late),
        signal = signals.next() => {
            warn!(signal, "stopped at once by another signal");
            Ok(Exit::Interrupted)
        }
    }
}

/// What is up.
struct Started {
    shell: Shell,
    /// Of an agent of one user.
    shown: Option<per_user::Shown>,
    held: Held,
}

/// The control socket's file, and a sandbox's folder: they go with this.
type Held = (crate::admin::ControlSocket, Option<tempfile::TempDir>);

impl Started {
    /// Takes the card away; the rest stays until it is dropped.
    fn stopping(self) -> Held {
        self.held
    }
}

/// Brings everything up.
async fn start(
    config: Config,
    args: &RunArgs,
    sandbox: Option<sandbox::Prepared>,
    service: &Service,
    mut sockets: Sockets,
    tasks: &mut Tasks,
) -> Result<Started, Failure> {
    let (shell, control) = Shell::start(config, tasks).await?;
    let (stand_in, sandbox_dir) = sandbox.map(sandbox::Prepared::into_parts).unzip();
    service.follow(&shell.board, tasks);
    let ways = parts::start(&shell, stand_in, &mut sockets, tasks).await?;
    for name in sockets.left() {
        warn!(name, "systemd passes a socket that is not known here; it is closed");
    }
    let ready = Ready {
        socket: ways.socket,
        relay: ways.relay,
        gateway: ways.gateway,
        admin: shell.admin,
        control: Some(control.path().to_owned()),
    };
    if let Some(path) = &args.ready_file {
        ready
            .write(path)
            .or_exit(Exit::Io, format_args!("cannot write the ready file {}", path.display()))?;
    }
    let card = match &ready.socket {
        Some(socket) if args.per_user => {
            let card = per_user::Shown::new(socket, ready.clone(), !shell.board.is_flushed());
            Some(card.or_exit(Exit::Io, "cannot write agent.json beside the socket")?)
        }
        _ => None,
    };
    if let (Some(_), Some(socket)) = (&sandbox_dir, &ready.socket) {
        sandbox::welcome(socket, ready.relay, ready.gateway);
    }
    let socket = ready.socket.as_deref().map(|path| tracing::field::display(path.display()));
    let shown = |address: Option<std::net::SocketAddr>| address.map(tracing::field::display);
    info!(
        socket,
        relay = shown(ready.relay),
        gateway = shown(ready.gateway),
        admin = shown(ready.admin),
        "started"
    );
    Ok(Started { shell, shown: card, held: (control, sandbox_dir) })
}

fn finish(cause: Result<&'static str, TaskError>, late: &[&'static str]) -> Result<Exit, Failure> {
    match cause {
        Ok(_) => {
            // Each was warned about when it was aborted.
            info!(aborted = late.len(), "stopped");
            Ok(Exit::Ok)
        }
        Err(error) => {
            let exit = match &error {
                TaskError::Failed { source, .. } if source.is::<std::io::Error>() => Exit::Io,
                TaskError::Failed { .. } => Exit::Failure,
                TaskError::Ended { .. } | TaskError::Panicked { .. } => Exit::Bug,
            };
            Err(error).or_exit(exit, "stopped by an error")
        }
    }
}

/// Every connection is a file: take as many as the system lets us, not its cautious default.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Not worth failing for; the limit in effect is a metric.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
