//! Writes a file whole or not at all: under a temporary name beside it, flushed, renamed, and its folder flushed.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How the names of files begin that are being written. One whose writer was killed stays.
pub(crate) const UNFINISHED: &str = ".revenium-";

/// Makes `content` that of the file, durably, with this mode whatever the umask. Until then nobody else can read
/// it. After an error the file is as it was.
pub(crate) fn write(path: &Path, mode: u32, content: &mut dyn Read) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)?;
    io::copy(content, &mut file)?;
    file.flush()?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}
