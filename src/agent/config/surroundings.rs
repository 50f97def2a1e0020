//! What the process finds around it: environment variables and its user.
//!
//! Read once, so that configuration is a function of its arguments and tests can pass their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The configuration of the machine's agent.
pub const MACHINE_FILE: &str = "/etc/revenium-agent/config.toml";

/// Where systemd puts the credentials of the machine's agent, and tells it of them.
const CREDENTIALS: &str = "/run/credentials/revenium-agent.service";
const CREDENTIALS_NAME: &str = "CREDENTIALS_DIRECTORY";

/// What else the machine's unit gives its agent (`ops/systemd/revenium-agent.service`).
const OF_SERVICE: [(&str, &str); 2] =
    [("STATE_DIRECTORY", "/var/lib/revenium-agent"), ("RUNTIME_DIRECTORY", "/run/revenium")];

/// What a user's agent has of the user's environment when it is started by systemd.
const OF_USER: [&str; 4] = ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"];

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

    /// Those that the machine's agent has as a service, seen from outside: a credential lies beside the
    /// configuration, under its own name.
    pub fn of_service() -> Self {
        let beside = Path::new(MACHINE_FILE).parent().and_then(Path::to_str).unwrap_or_default();
        let vars = OF_SERVICE.into_iter().chain([(CREDENTIALS_NAME, beside)]);
        Self::new(rustix::process::geteuid().as_raw(), vars)
    }

    /// Those that an agent of this user's own has as a service: without what only this shell knows.
    pub fn of_own_service(&self) -> Self {
        let kept = OF_USER.into_iter().filter_map(|name| Some((name, self.raw(name)?)));
        Self::new(self.uid, kept)
    }

    /// Those of them that `is_kept` names.
    pub fn only(&self, is_kept: impl Fn(&str) -> bool) -> Self {
        let is_kept = |name: &OsString| name.to_str().is_some_and(&is_kept);
        let kept = self.vars.iter().filter(|(name, _)| is_kept(name));
        Self { vars: kept.map(|(name, value)| (name.clone(), value.clone())).collect(), uid: self.uid }
    }

    /// All variables.
    pub fn vars(&self) -> &BTreeMap<OsString, OsString> {
        &self.vars
    }

    /// The configuration of an agent of the user's own: `$XDG_CONFIG_HOME/revenium-agent/config.toml`, else in
    /// `~/.config`. `None` for a user without a home.
    pub fn own_config(&self) -> Option<PathBuf> {
        let dir = self.dir("XDG_CONFIG_HOME").or_else(|| Some(self.dir("HOME")?.join(".config")))?;
        Some(dir.join("revenium-agent/config.toml"))
    }

    /// Where systemd keeps what lasts for this user's session.
    pub fn runtime_dir(&self) -> Option<PathBuf> {
        self.dir("XDG_RUNTIME_DIR")
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
        let config = config.unwrap_or(Path::new(MACHINE_FILE));
        if config == Path::new(MACHINE_FILE) && config.is_file() {
            for (name, dir) in OF_SERVICE.into_iter().chain([(CREDENTIALS_NAME, CREDENTIALS)]) {
                add(name, Path::new(dir));
            }
        }
        // Without a service that runs, what a credential is copied from is beside the configuration.
        if let Some(dir) = std::path::absolute(config).ok().as_deref().and_then(Path::parent) {
            add(CREDENTIALS_NAME, dir);
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
    pub fn raw(&self, name: &str) -> Option<OsString> {
        self.vars.get(std::ffi::OsStr::new(name)).cloned()
    }

    /// The first absolute path in the variable `name`, which systemd may fill with several.
    pub fn dir(&self, name: &str) -> Option<PathBuf> {
        let value = self.vars.get(std::ffi::OsStr::new(name))?;
        std::env::split_paths(value).next().filter(|path| path.is_absolute())
    }
}
