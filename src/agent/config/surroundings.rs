//! What the process finds around it: environment variables and its user.
//!
//! Read once, so that configuration is a function of its arguments and tests can pass their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The configuration of the machine's agent.
pub const MACHINE_FILE: &str = "/etc/revenium-agent/config.toml";

/// What the machine's unit gives its agent (`ops/systemd/revenium-agent.service`), seen from outside: a
/// credential lies beside the configuration, under its own name.
const OF_SERVICE: [(&str, &str); 3] = [
    ("STATE_DIRECTORY", "/var/lib/revenium-agent"),
    ("RUNTIME_DIRECTORY", "/run/revenium"),
    ("CREDENTIALS_DIRECTORY", "/etc/revenium-agent"),
];

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

    /// Those that the machine's agent has as a service.
    pub fn of_service() -> Self {
        Self::new(rustix::process::geteuid().as_raw(), OF_SERVICE)
    }

    /// Those that an agent of this user's own has as a service: without what only this shell knows.
    pub fn of_own_service(&self) -> Self {
        let kept = OF_USER.into_iter().filter_map(|name| Some((name, self.raw(name)?)));
        Self::new(self.uid, kept)
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
