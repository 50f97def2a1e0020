//! The ready file: what `run` listens on, once it does.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Its content, one JSON object. What is off is `null`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The Unix socket that takes events.
    pub socket: Option<PathBuf>,
    /// The relay's address.
    pub relay: Option<SocketAddr>,
    /// The gateway's address.
    pub gateway: Option<SocketAddr>,
    /// The address of metrics, health and the status page.
    pub admin: Option<SocketAddr>,
    /// The control socket.
    pub control: Option<PathBuf>,
}

impl Ready {
    /// Writes it beside `path`, then renames: whoever sees the file sees all of it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        fs::write(&beside, serde_json::to_string(self)? + "\n")?;
        fs::rename(&beside, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_file_has_the_names_that_clients_rely_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ready");
        let ready = Ready {
            socket: Some(PathBuf::from("/run/revenium/agent.sock")),
            relay: None,
            gateway: None,
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 8792))),
            control: Some(PathBuf::from("/data/control.sock")),
        };
        ready.write(&path).expect("written");
        assert_eq!(
            fs::read_to_string(&path).expect("read"),
            "{\"socket\":\"/run/revenium/agent.sock\",\"relay\":null,\"gateway\":null,\
             \"admin\":\"127.0.0.1:8792\",\"control\":\"/data/control.sock\"}\n"
        );
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left beside it");
    }
}
