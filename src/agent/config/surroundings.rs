//! What the process finds around it: environment variables and its user.
//!
//! Read once, so that configuration is a function of its arguments and tests can pass their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

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
