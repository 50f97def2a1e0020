//! What keeps events from the agent, in one clear line for a person.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most bytes of `/etc/group` that are searched for a group's name.
const GROUP_BYTES_MAX: u64 = 1 << 20;

/// What stands between this process and the agent. Events are kept and spooled as long as there is room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// Nobody listens where the agent could be.
    #[error("no agent at {tried}; start it, or name its socket in REVENIUM_AGENT_SOCKET")]
    NoAgent {
        /// Where it was looked for, and what the system said.
        tried: String,
    },
    /// This user may not use the agent.
    #[error("{message}")]
    Denied {
        /// The agent's socket.
        socket: PathBuf,
        /// Why, and what to do.
        message: String,
    },
    /// The agent turned the connection away for now, or does not speak as expected.
    #[error("the agent does not serve this process: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// The spool cannot be written.
    #[error("cannot spool to {}: {message}", dir.display())]
    Spool {
        /// The spool.
        dir: PathBuf,
        /// Why.
        message: String,
    },
}

impl Trouble {
    /// What failing to connect means.
    pub(crate) fn of_connecting(tried: &[(PathBuf, io::Error)]) -> Self {
        let denied = tried.iter().find(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied);
        if let Some((socket, error)) = denied {
            return Self::Denied { socket: socket.clone(), message: why_denied(socket, error) };
        }
        let tried: Vec<_> =
            tried.iter().map(|(path, error)| format!("{} ({error})", path.display())).collect();
        Self::NoAgent { tried: tried.join(" or ") }
    }

    /// Whether the same thing is in the way, whatever the details.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

fn why_denied(socket: &Path, error: &io::Error) -> String {
    let uid = rustix::process::geteuid().as_raw();
    let path = socket.display();
    match fs::metadata(socket) {
        Ok(meta) if error.raw_os_error().is_some() => {
            let gid = meta.gid();
            let group = group_name(gid).unwrap_or_else(|| gid.to_string());
            format!(
                "user {uid} may not use {path}: it is for the group {group}; add the user to it \
                 (usermod -aG {group} …) and start this process anew"
            )
        }
        _ => format!("user {uid} may not use {path}: {error}"),
    }
}

/// The name of a group, as `/etc/group` has it.
fn group_name(gid: u32) -> Option<String> {
    let mut groups = String::new();
    fs::File::open("/etc/group").ok()?.take(GROUP_BYTES_MAX).read_to_string(&mut groups).ok()?;
    let of = |line: &str| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    };
    groups.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_denied_is_said_with_the_group_and_counts_over_being_alone() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        fs::write(&socket, "").unwrap();
        let gid = fs::metadata(&socket).unwrap().gid();
        let group = group_name(gid).unwrap_or_else(|| gid.to_string());
        let denied = || io::Error::from_raw_os_error(libc::EACCES);
        let tried = [("/nowhere".into(), io::ErrorKind::NotFound.into()), (socket, denied())];
        let trouble = Trouble::of_connecting(&tried);
        assert!(matches!(trouble, Trouble::Denied { .. }));
        assert!(trouble.to_string().contains(&format!("it is for the group {group};")), "{trouble}");
        assert!(trouble.to_string().lines().count() == 1);
        let alone = Trouble::of_connecting(&tried[..1]);
        assert!(alone.to_string().starts_with("no agent at /nowhere ("), "{alone}");
        assert!(!alone.is_like(&trouble));
    }

    #[test]
    fn groups_have_names() {
        assert_eq!(group_name(0).as_deref(), Some("root"));
        assert_eq!(group_name(4_000_000_000), None);
    }
}
