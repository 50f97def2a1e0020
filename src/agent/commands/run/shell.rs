//! What every part of a running agent stands in: configuration, metrics, the board, the keys, and
//! the doors for an operator.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tracing::{info, warn};

use super::parts;
use crate::admin::{self, Board, ControlSocket, Door, Facts, Listener, ProfileFacts, Shown};
use crate::config::{Config, ProfileConfig, loops_into};
use crate::exit::{Exit, Failure, OrExit};
use crate::guarantee::Guarantee;
use crate::keys::{KeyHandle, KeySource};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::signals::Hangups;
use crate::tasks::{Stage, Tasks};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Files that are looked at for their owner: those of a log of 10 GiB, many times over.
const LEFTOVERS_MAX: usize = 10_000;

/// Given to every part. Cheap to clone.
#[derive(Clone)]
pub struct Shell {
    /// What the agent is told to do.
    pub config: Arc<Config>,
    /// Where parts count.
    pub metrics: Metrics,
    /// Where parts report.
    pub board: Arc<Board>,
    /// Each profile's key as it is now; `None` inside is a profile without a key.
    pub keys: Arc<HashMap<String, watch::Receiver<Option<Secret>>>>,
    /// This process, by a random id: the value of `x-revenium-agent`.
    pub instance: Arc<str>,
    /// Where metrics, health and the status page are, if anywhere.
    pub admin: Option<SocketAddr>,
}

impl Shell {
    /// Makes the data directory, opens the doors, reads the keys. Nothing moves events yet.
    pub(super) async fn start(config: Config, tasks: &mut Tasks) -> Result<(Self, ControlSocket), Failure> {
        let config = Arc::new(config);
        let data_dir = &config.data_dir;
        make_dir(data_dir)
            .or_exit(Exit::Io, format_args!("cannot make the data directory {}", data_dir.display()))?;
        refuse_leftovers(data_dir)?;
        let guarantee = Guarantee::of(data_dir).or_exit(Exit::Io, "cannot look at the data directory")?;
        let instance: Arc<str> = uuid::Uuid::new_v4().simple().to_string().into();
        announce(&config, &guarantee, &instance);

        let names =
            |of: fn(&ProfileConfig) -> &String| config.profiles.iter().map(of).cloned().collect::<Vec<_>>();
        let mut accounts = names(|profile| &profile.account);
        accounts.sort();
        accounts.dedup();
        let metrics = Metrics::new(&names(|profile| &profile.name), &accounts, VERSION);
        metrics.set_guarantee(guarantee.flushed);
        metrics.set_disk_reserve(config.store.free_reserve_bytes);

        let keys = follow_keys(&config, tasks)?;
        let board = Arc::new(Board::new(facts(&config, guarantee, &instance, &keys), &parts::NAMES));
        let (control, control_file) = ControlSocket::bind(data_dir).map_err(|error| held(data_dir, error))?;
        serve(Listener::Unix(control), Door::Control, &board, &metrics, tasks);
        let admin = match config.admin.listen {
            Some(address) => {
                let (listener, address) = listen(&config, "admin.listen", address)?;
                serve(Listener::Tcp(listener), Door::Admin, &board, &metrics, tasks);
                Some(address)
            }
            None => None,
        };
        Ok((Self { config, metrics, board, keys: Arc::new(keys), instance, admin }, control_file))
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What another user's agent left in the data directory would fail later, and less clearly.
fn refuse_leftovers(data_dir: &Path) -> Result<(), Failure> {
    // Only what an agent makes: a file system's own `lost+found` is root's for a reason.
    let made = parts::FOLDERS.map(|name| data_dir.join(name));
    let inside = made.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let all = [data_dir.to_owned()].into_iter().chain(made.iter().cloned());
    for path in all.chain(inside.map(|entry| entry.path()).take(LEFTOVERS_MAX)) {
        if let Some(foreign) = crate::user::foreign(&path, data_dir) {
            let message = format!("cannot use the data directory {}: {foreign}", data_dir.display());
            return Err(Failure::new(Exit::Io, message));
        }
    }
    Ok(())
}

fn announce(config: &Config, guarantee: &Guarantee, instance: &str) {
    info!(version = VERSION, instance, data_dir = %config.data_dir.display(), "starting");
    for warning in &config.warnings {
        warn!(warning, "configuration");
    }
    let durability = guarantee.text.as_str();
    if guarantee.flushed {
        info!(durability, "effective guarantee");
    } else {
        warn!(durability, "effective guarantee");
    }
}

type Keys = HashMap<String, watch::Receiver<Option<Secret>>>;

fn follow_keys(config: &Config, tasks: &mut Tasks) -> Result<Keys, Failure> {
    let hangups = Hangups::install().or_exit(Exit::Io, "cannot handle signals")?;
    let mut keys = Keys::new();
    for profile in &config.profiles {
        let handle = KeyHandle::open(&profile.name, profile.key.as_ref())
            .or_exit(Exit::Config, format_args!("cannot read the key of profile {}", profile.name))?;
        keys.insert(profile.name.clone(), handle.current);
        if let Some(watch) = handle.watch {
            let hangups = hangups.subscribe();
            tasks.spawn(Stage::Admin, "key file", |stop| watch.follow(hangups, stop));
        }
    }
    tasks.spawn(Stage::Admin, "hangups", |stop| hangups.count(stop));
    Ok(keys)
}

fn facts(config: &Config, guarantee: Guarantee, instance: &str, keys: &Keys) -> Facts {
    let profile = |profile: &ProfileConfig| ProfileFacts {
        name: profile.name.clone(),
        url: profile.url.clone(),
        account: profile.account.clone(),
        key: keys.get(&profile.name).cloned().unwrap_or_else(|| watch::channel(None).1),
        key_source: profile.key.as_ref().map(|source| match source {
            KeySource::Inline(_) => "written down".to_owned(),
            KeySource::File(path) | KeySource::Credential(path) => path.display().to_string(),
        }),
    };
    Facts {
        version: VERSION,
        instance: instance.to_owned(),
        guarantee,
        data_dir: config.data_dir.clone(),
        free_reserve_bytes: config.store.free_reserve_bytes,
        profiles: config.profiles.iter().map(profile).collect(),
    }
}

fn held(data_dir: &Path, error: io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::AddrInUse { Exit::Temporary } else { Exit::Io };
    let context = format!("cannot open the control socket in {}", data_dir.display());
    Failure { exit, error: anyhow::Error::from(error).context(context) }
}

/// Listens on the address that `key` names, and returns the one that it got.
pub(super) fn listen(
    config: &Config,
    key: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), Failure> {
    let (listener, bound) = listen_on(key, address)?;
    refuse_loops(config, key, bound)?;
    Ok((listener, bound))
}

/// Listens on `address`, and returns the one that it got; `key` names it if it cannot.
pub(crate) fn listen_on(
    key: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = bind(address).and_then(|listener| {
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    });
    bound.map_err(|error| {
        let exit = if error.kind() == io::ErrorKind::AddrInUse { Exit::Temporary } else { Exit::Io };
        let context = format!("cannot listen on {address} ({key})");
        Failure { exit, error: anyhow::Error::from(error).context(context) }
    })
}

/// A client whose connection finds the kernel's queue full tries again only after a second.
const BACKLOG: u32 = 1024;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As the standard library does: an address that an earlier agent had can be used at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Configured addresses were checked with the configuration; a port that was picked only now was not.
pub(super) fn refuse_loops(config: &Config, key: &'static str, bound: SocketAddr) -> Result<(), Failure> {
    for profile in &config.profiles {
        if let Some((listener, address)) = loops_into(&profile.url, &[(key, bound)]) {
            let (name, url) = (&profile.name, &profile.url);
            let message = format!("profiles.{name}.url: {url} is this agent's own {listener} ({address})");
            return Err(Failure::new(Exit::Config, message));
        }
    }
    Ok(())
}

fn serve(listener: Listener, door: Door, board: &Arc<Board>, metrics: &Metrics, tasks: &mut Tasks) {
    let name = match door {
        Door::Admin => "admin",
        Door::Control => "control socket",
    };
    let shown = Shown::Agent(door, board.clone(), metrics.clone());
    tasks.spawn(Stage::Admin, name, |stop| admin::serve(listener, shown, stop));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Surroundings};

    #[test]
    fn a_port_that_is_picked_at_start_may_still_be_an_upstreams() {
        let vars = [("HOME", "/home/me"), ("REVENIUM_METERING_BASE_URL", "http://localhost:4711")];
        let flags = Flags { admin: Some("127.0.0.1:0".to_owned()), ..Flags::default() };
        let config = Config::load(&flags, &Surroundings::new(1000, vars)).expect("nothing is known yet");
        let failure =
            refuse_loops(&config, "admin.listen", ([127, 0, 0, 1], 4711).into()).expect_err("is ours");
        assert_eq!(failure.exit, Exit::Config);
        assert_eq!(
            failure.to_string(),
            "profiles.default.url: http://localhost:4711 is this agent's own admin.listen (127.0.0.1:4711)"
        );
        assert!(refuse_loops(&config, "admin.listen", ([127, 0, 0, 1], 4712).into()).is_ok());
    }
}
