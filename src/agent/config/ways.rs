//! How applications of this machine reach an agent, as its configuration says.
//!
//! For commands that run beside the agent, as users who may not read its keys: nothing else is read or
//! checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::layers::RawConfig;
use super::reader::Reader;
use super::{ConfigError, RelayConfig, SocketConfig, SpoolConfig, Surroundings};
use crate::secret::Secret;

/// The ways in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    /// The Unix socket.
    pub socket: PathBuf,
    /// Where senders leave events while no agent runs; `None` if they are told not to.
    pub spool: Option<PathBuf>,
    /// The relay, if the configuration turns it on.
    pub relay: Option<SocketAddr>,
    /// What the relay's clients must show, if anything.
    pub relay_token: Option<Secret>,
}

impl Ways {
    /// Those of the agent whose configuration is at `file`, with `conf.d` beside it; of a file that is not
    /// there, the defaults. `around` are the agent's surroundings.
    pub fn of(file: &Path, around: &Surroundings) -> Result<Self, ConfigError> {
        let mut raw = RawConfig::default();
        raw.add_what_is_at(file);
        let mut reader = Reader::new(&mut raw);
        let socket = SocketConfig::read(&mut reader, around).path;
        let spool = SpoolConfig::read(&mut reader, around, &socket).dirs.into_iter().next();
        let relay = RelayConfig::read(&mut reader);
        reader.problems_so_far()?;
        Ok(Self { socket, spool, relay: relay.listen, relay_token: relay.token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_says_of_the_ways_in_is_read_without_its_keys() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("config.toml");
        let own = Surroundings::new(1000, [("HOME", "/home/me"), ("XDG_RUNTIME_DIR", "/run/user/1000")]);
        let ways = |around: &Surroundings| Ways::of(&file, around).expect("is right");
        assert_eq!(
            ways(&own),
            Ways {
                socket: "/run/user/1000/revenium/agent.sock".into(),
                spool: Some("/home/me/.local/state/revenium/spool".into()),
                relay: None,
                relay_token: None,
            },
            "what is not there says nothing"
        );
        let toml = "relay.listen = \"127.0.0.1:8793\"\nprofiles.default.credential = \"key\"\n";
        std::fs::write(&file, toml).expect("written");
        assert_eq!(
            ways(&Surroundings::of_service()),
            Ways {
                socket: "/run/revenium/agent.sock".into(),
                spool: Some("/var/spool/revenium".into()),
                relay: Some(SocketAddr::from(([127, 0, 0, 1], 8793))),
                relay_token: None,
            }
        );
    }
}
