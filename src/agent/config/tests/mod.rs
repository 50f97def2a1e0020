//! Tests of `config`: a folder to write configuration into, and surroundings to read it in.

mod key;
mod precedence;
mod refusal;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::keys::KeySource;

const KEY: &str = "rev_mk_0123456789abcdefghij";
const OTHER_KEY: &str = "hak_9876543210zyxwvutsrq";

/// A folder with a configuration in it.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        self.write_mode(name, text, 0o600)
    }

    fn write_mode(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("has one")).expect("made");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode set");
        path
    }

    /// Flags that read `config.toml` here.
    fn flags(&self) -> Flags {
        Flags { config: Some(self.path("config.toml")), ..Flags::default() }
    }
}

fn around(vars: &[(&str, &str)]) -> Surroundings {
    let home = [("HOME", "/home/me")];
    Surroundings::new(1000, home.iter().chain(vars).map(|(name, value)| (*name, *value)))
}

fn load(toml: &str, vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = Dir::new();
    dir.write("config.toml", toml);
    Config::load(&dir.flags(), &around(vars))
}

/// What is wrong with `toml`, without the path of the file.
fn refused(toml: &str, vars: &[(&str, &str)]) -> Vec<String> {
    let problems = load(toml, vars).expect_err(toml).problems;
    problems
        .iter()
        .map(|problem| {
            problem
                .to_string()
                .rsplit_once("/config.toml:")
                .map_or(problem.to_string(), |(_, rest)| rest.to_owned())
        })
        .collect()
}
