//! `[spool]`: folders in which senders leave events while no agent is there.

use std::path::{Path, PathBuf};

use revenium_emitter::place;

use super::reader::Reader;
use super::{Source, Surroundings};

/// Most folders.
const DIRS_MAX: usize = 16;

/// Where spool files are taken in from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The folders. By default the one that goes with the socket: `/var/spool/revenium`, the user's
    /// `$XDG_STATE_HOME/revenium/spool`, or `spool` beside a socket elsewhere. Empty: none.
    pub dirs: Vec<PathBuf>,
}

impl SpoolConfig {
    pub(super) fn read(reader: &mut Reader, around: &Surroundings, socket: &Path) -> Self {
        let var = |name: &str| around.raw(name);
        let beside = place::Surroundings { var: &var, uid: around.uid }.spool_beside(socket);
        Self { dirs: reader.paths("spool.dirs", DIRS_MAX, (vec![beside], Source::Default)) }
    }
}
