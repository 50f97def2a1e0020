//! What the agent is told to do.
//!
//! `RawConfig` is what was written: flags over the environment over `conf.d`
//! over `config.toml` over defaults, each value with its place. [`Config`] is what it means, and
//! cannot be wrong: every bound is checked, every key was read once, every problem is reported
//! with its place before anything starts. `check` prints all of it, secrets masked.

mod error;
mod gateway;
mod layers;
mod profile;
mod reader;
mod relay;
mod section;
mod spool;
mod surroundings;
mod unit;
mod unknown;
mod url;
mod ways;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use error::{ConfigError, Problem, Source};
pub use gateway::{GatewayConfig, GatewayRole};
pub use profile::ProfileConfig;
pub use relay::RelayConfig;
pub use section::{AdminConfig, DrainConfig, LogFormat, LogLevel, LoggingConfig, SocketConfig, StoreConfig};
pub use spool::SpoolConfig;
pub use surroundings::{MACHINE_FILE, Surroundings};
pub(crate) use unit::duration as parse_duration;
pub use url::loops_into;
pub use ways::Ways;

use crate::secret::Secret;
use layers::RawConfig;
use reader::Reader;

/// What the command line says; it counts over everything else.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The configuration file, instead of the system's or the user's.
    pub config: Option<PathBuf>,
    /// `data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `socket.path`.
    pub socket: Option<PathBuf>,
    /// `admin.listen`.
    pub admin: Option<String>,
    /// `relay.listen`.
    pub relay: Option<String>,
    /// `gateway.listen`.
    pub gateway: Option<String>,
    /// `gateway.admin_listen`.
    pub gateway_admin: Option<String>,
    /// `gateway.provider_url`.
    pub provider_url: Option<String>,
    /// For one user's applications, with nothing but the Unix socket and no file unless `config` is one.
    pub per_user: bool,
    /// Send to the embedded stand-in instead of any upstream.
    pub sandbox: Option<SandboxFlags>,
}

/// Where the embedded stand-in is. Every profile is pointed at it.
#[derive(Debug, Clone)]
pub struct SandboxFlags {
    /// The sandbox's own, temporary data directory; the socket is in it too, unless `--socket` says else.
    pub data_dir: PathBuf,
    /// Its base URL.
    pub url: String,
    /// The key that it takes.
    pub key: Secret,
}

/// Everything the agent is told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the log, the index and the control socket are.
    pub data_dir: PathBuf,
    /// The Unix socket that takes events.
    pub socket: SocketConfig,
    /// Revenium's own API, for its SDKs.
    pub relay: RelayConfig,
    /// Anthropic's own API, metered.
    pub gateway: GatewayConfig,
    /// What senders left while no agent was there.
    pub spool: SpoolConfig,
    /// Metrics, health and the status page.
    pub admin: AdminConfig,
    /// The log and its bounds.
    pub store: StoreConfig,
    /// Delivery.
    pub drain: DrainConfig,
    /// Whether it is an agent of one user's applications, which hand over their keys.
    pub per_user: bool,
    /// Upstreams and their keys, by name; `default` is always there.
    pub profiles: Vec<ProfileConfig>,
    /// What is logged, and how.
    pub logging: LoggingConfig,
    /// Every key with its value and the place it was written, for `check`.
    pub entries: Vec<Entry>,
    /// What a person should know, though it works.
    pub warnings: Vec<String>,
    /// Files that were read.
    pub files: Vec<PathBuf>,
}

/// One line of `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key in full.
    pub key: String,
    /// Its value, masked if it is a secret.
    pub shown: String,
    /// Where it comes from.
    pub source: Source,
}

impl Config {
    /// Reads and checks the whole configuration, key files included.
    pub fn load(flags: &Flags, around: &Surroundings) -> Result<Self, ConfigError> {
        let (mut config, problems) = Self::inspect(flags, around);
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let keyless = config.profiles.iter().filter(|profile| profile.key.is_none() && !config.per_user);
        for ProfileConfig { name, .. } in keyless {
            config.warnings.push(format!("profile {name} has no API key: its events are kept, not sent"));
        }
        Ok(config)
    }

    /// The same, for `doctor`: whatever is wrong, with a default in the place of each value that is.
    pub fn inspect(flags: &Flags, around: &Surroundings) -> (Self, Vec<Problem>) {
        let mut raw = RawConfig::gather(flags, around);
        let profile_names = std::mem::take(&mut raw.profiles);
        let mut reader = Reader::new(&mut raw);
        let data_dir = section::data_dir(&mut reader, around);
        let socket = SocketConfig::read(&mut reader, around);
        let relay = RelayConfig::read(&mut reader);
        let gateway = GatewayConfig::read(&mut reader);
        let spool = SpoolConfig::read(&mut reader, around, &socket.path);
        let admin = AdminConfig::read(&mut reader);
        let store = StoreConfig::read(&mut reader);
        let drain = DrainConfig::read(&mut reader);
        let logging = LoggingConfig::read(&mut reader);
        let listeners = listeners(&admin, &relay, &gateway);
        let mut profiles = Vec::new();
        for name in &profile_names {
            profiles.push(ProfileConfig::read(&mut reader, name, around, &listeners));
        }
        let (entries, problems) = reader.finish();
        let (warnings, files) = (raw.warnings, raw.files);
        let config = Self {
            data_dir,
            socket,
            relay,
            gateway,
            spool,
            admin,
            store,
            drain,
            per_user: flags.per_user,
            profiles,
            logging,
            entries,
            warnings,
            files,
        };
        (config, problems)
    }

    /// Only the data directory, for commands that talk to a running agent: they may run as a user
    /// who can't read its keys, so nothing else is checked.
    pub fn locate_data_dir(flags: &Flags, around: &Surroundings) -> Result<PathBuf, ConfigError> {
        let mut raw = RawConfig::gather(flags, around);
        let mut reader = Reader::new(&mut raw);
        let data_dir = section::data_dir(&mut reader, around);
        reader.problems_so_far().map(|()| data_dir)
    }

    /// The profile `name`, if there is one.
    pub fn profile(&self, name: &str) -> Option<&ProfileConfig> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}

/// Our own listeners, for the check that no upstream is one of them.
fn listeners(
    admin: &AdminConfig,
    relay: &RelayConfig,
    gateway: &GatewayConfig,
) -> Vec<(&'static str, SocketAddr)> {
    let all =
        [("admin.listen", admin.listen), ("relay.listen", relay.listen), ("gateway.listen", gateway.listen)];
    all.into_iter().filter_map(|(key, address)| Some((key, address?))).collect()
}
