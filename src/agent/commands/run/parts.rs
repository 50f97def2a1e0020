//! The parts that move events, in the order they start: log, stand-in, drain, intake, spool.
//!
//! The shell is up when [`start`] is called: `/readyz` answers 503 and names what isn't ready yet,
//! until each part has said so on the board. An error here ends the process with its exit code.
//! Stopping goes the other way round: intake while the log still takes it, then the drain, then
//! the log and the stand-in.

mod count;
mod drain;
mod gateway;
mod intake;
mod log;
mod relay;
mod shown;
mod spool;
mod view;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use revenium_store::Store;
use tokio::sync::watch;

use super::Shell;
use super::sandbox::StandIn;
use crate::desk::{Claims, Desk};
use crate::exit::{Exit, Failure, OrExit};
use crate::keyring::Keyring;
use crate::systemd::Sockets;
use crate::tasks::Tasks;
use crate::tenant::Tenants;

/// What must report `ready` on the board before `/readyz` answers 200.
pub(super) const NAMES: [&str; 5] = [log::LOG, log::INDEX, intake::SOCKET, relay::RELAY, gateway::GATEWAY];

/// Where bad lines of spool files are kept, in the data directory.
pub(crate) use spool::QUARANTINE as SPOOL_QUARANTINE;

/// Where the log is, in the data directory.
pub(crate) use log::{DIR as LOG_DIR, options as log_options};

/// Where keys are kept that clients hand over, in the data directory.
const KEYS: &str = "keys";

/// What the parts make in the data directory.
pub(crate) const FOLDERS: [&str; 3] = [log::DIR, spool::QUARANTINE, KEYS];

pub(crate) use gateway::{provider, seen as gateway_seen, settings as gateway_settings};

/// How long connections may take to be read to their end and acknowledged when the agent stops.
pub(super) use intake::STOP_MAX as INTAKE_STOP_MAX;

/// The ways in that were opened.
pub(super) struct Ways {
    /// The Unix socket.
    pub(super) socket: Option<PathBuf>,
    /// The relay's address.
    pub(super) relay: Option<SocketAddr>,
    /// The gateway's address.
    pub(super) gateway: Option<SocketAddr>,
}

/// Starts every part.
pub(super) async fn start(
    shell: &Shell,
    stand_in: Option<StandIn>,
    sockets: &mut Sockets,
    tasks: &mut Tasks,
) -> Result<Ways, Failure> {
    let store = log::open(shell, tasks).await?;
    if let Some(stand_in) = stand_in {
        stand_in.serve(tasks);
    }
    let configured: Vec<Arc<str>> =
        shell.config.profiles.iter().map(|profile| profile.name.as_str().into()).collect();
    let claims = Arc::new(Claims::open(&store, configured.clone()));
    let keyring = keyring(shell)?;
    drain::start(shell, &store, claims.follow(), keyring.as_deref(), tasks)?;
    shell.board.attach_desk(Desk::new(store.clone(), configured, claims));
    let tenants = tenants(shell, &store, keyring);
    let relay = relay::start(shell, &store, &tenants, sockets, tasks)?;
    let socket = intake::start(shell, store.clone(), &tenants, sockets, tasks)?;
    spool::start(shell, store, tenants, tasks);
    let gateway = gateway::start(shell, &socket, tasks)?;
    Ok(Ways { socket: Some(socket), relay, gateway })
}

/// The keys that clients hand over, of an agent to which they may.
fn keyring(shell: &Shell) -> Result<Option<Arc<Keyring>>, Failure> {
    if !shell.config.per_user {
        return Ok(None);
    }
    let dir = shell.config.data_dir.join(KEYS);
    let context = format!("cannot use the keys in {}", dir.display());
    Keyring::open(dir).or_exit(Exit::Io, context).map(|keyring| Some(Arc::new(keyring)))
}

/// Whose events there are, for all ways in.
fn tenants(shell: &Shell, store: &Store, keyring: Option<Arc<Keyring>>) -> Arc<Tenants> {
    let key = |name: &String| shell.keys.get(name).cloned().unwrap_or_else(|| watch::channel(None).1);
    let profiles = shell.config.profiles.iter();
    let profiles = profiles.map(|profile| (profile.name.as_str().into(), key(&profile.name))).collect();
    let met = store.lanes().into_iter().map(|lane| lane.lane.profile);
    Arc::new(Tenants::new(profiles, keyring, met))
}
