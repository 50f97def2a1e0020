//! What the process finds around it: environment variables and its user.
//!
//! Read once, so that configuration is a function of its arguments and tests can pass their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The machine's configuration, and what its unit (`ops/systemd`) gives the service.
const SYSTEM_CONFIG: &str = "/etc/revenium-agent/config.toml";
const SYSTEM_STATE: &str = "/var/lib/revenium-agent";
const SYSTEM_RUNTIME: &str = "/run/revenium";
const SYSTEM_CREDENTIALS: &str = "/run/credentials/revenium-agent.service";

/// Where systemd puts credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The environment and the user that the process runs with.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    vars: BTreeMap<OsString, OsString>,
    /// The effective user id.
    pub uid: u32,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self { vars: std::env::vars_os().collect(), uid: rustix::process::geteuid().as_raw() }
    }

    /// Made-up ones.
    pub fn new<K: Into<OsString>, V: Into<OsString>>(
        uid: u32,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self { vars: vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect(), uid }
    }

    /// Those of the agent that this process is asked about: what the machine's unit gives its service is
    /// added to this process's own, as far as it is there. `config` is the file that is named, if one is.
    pub fn of_agent(config: Option<&Path>) -> Self {
        let mut around = Self::of_process();
        let mut add = |name: &str, dir: &Path| {
            if dir.is_dir() {
                around.vars.entry(name.into()).or_insert_with(|| dir.into());
            }
        };
        let config = config.unwrap_or(Path::new(SYSTEM_CONFIG));
        if config == Path::new(SYSTEM_CONFIG) && config.is_file() {
            add("STATE_DIRECTORY", Path::new(SYSTEM_STATE));
            add("RUNTIME_DIRECTORY", Path::new(SYSTEM_RUNTIME));
            add(CREDENTIALS, Path::new(SYSTEM_CREDENTIALS));
        }
        // Without a service that runs, what a credential is copied from is beside the configuration.
        if let Some(dir) = std::path::absolute(config).ok().as_deref().and_then(Path::parent) {
            add(CREDENTIALS, dir);
        }
        around
    }

    /// The variable `name`; one that is empty counts as not set. `Err` if it isn't UTF-8.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ()> {
        match self.vars.get(std::ffi::OsStr::new(name)) {
            Some(value) if !value.is_empty() => value.to_str().map(Some).ok_or(()),
            _ => Ok(None),
        }
    }

    /// The variable as it is.
    pub(super) fn raw(&self, name: &str) -> Option<OsString> {
        self.vars.get(std::ffi::OsStr::new(name)).cloned()
    }

    /// The first absolute path in the variable `name`, which systemd may fill with several.
    pub(super) fn dir(&self, name: &str) -> Option<PathBuf> {
        let value = self.vars.get(std::ffi::OsStr::new(name))?;
        std::env::split_paths(value).next().filter(|path| path.is_absolute())
    }
}
