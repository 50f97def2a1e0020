//! Whose the agent is: the user whose permissions decide what it can do.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Access;

use super::agent::Standing;
use crate::user::Names;

/// The agent's user.
pub(super) struct Owner {
    /// The user.
    pub(super) uid: u32,
    /// Who runs this command.
    own: u32,
    pub(super) names: Names,
}

impl Owner {
    /// That of the agent that runs; of one that does not run, whoever the data directory belongs to, who
    /// started it last. What is root's says nothing to others: it is what an agent leaves that was run as root
    /// by mistake, so an agent would be this user's.
    pub(super) fn of(data_dir: &Path, standing: &Standing) -> Self {
        let own = rustix::process::geteuid().as_raw();
        let owner_of = |path: &Path| fs::symlink_metadata(path).ok().map(|found| found.uid());
        let uid = match standing {
            Standing::Absent => owner_of(data_dir).filter(|uid| *uid != 0).unwrap_or(own),
            Standing::Runs(_) | Standing::Silent(_) | Standing::Denied => {
                data_dir.ancestors().find_map(owner_of).unwrap_or(own)
            }
        };
        Self { uid, own, names: Names::read() }
    }

    /// Whether what this user may do is what the agent may.
    pub(super) fn is_us(&self) -> bool {
        self.uid == self.own
    }

    /// Whether this user may look at what is the agent's.
    pub(super) fn may_look(&self) -> bool {
        self.is_us() || self.own == 0
    }

    /// Whether the agent may read `path`.
    pub(super) fn may_read(&self, path: &Path) -> bool {
        if self.is_us() {
            // The kernel knows better, and this process's groups.
            return rustix::fs::access(path, Access::READ_OK).is_ok();
        }
        self.names.may_read(self.uid, path)
    }

    /// `user a`.
    pub(super) fn user(&self) -> String {
        self.names.user(self.uid)
    }

    /// The user as commands name it.
    pub(super) fn name(&self) -> String {
        self.names.user_name(self.uid).map_or_else(|| self.uid.to_string(), str::to_owned)
    }

    /// What to do to see more.
    pub(super) fn look_as(&self) -> String {
        format!("run doctor as root or {}", self.user())
    }
}
