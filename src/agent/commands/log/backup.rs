//! A copy of the log's folder, before anything in it is changed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::RepairArgs;

/// What says nothing of events.
const LEFT_OUT: [&str; 2] = ["ballast", "lock"];

/// Where the copy goes: beside the log, unless a place is named.
pub(super) fn place(args: &RepairArgs, log: &Path) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    args.backup.clone().unwrap_or_else(|| log.with_file_name(format!("store-before-repair-{now}")))
}

/// Bytes of the copy.
pub(super) fn bytes(log: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in entries(log)? {
        let entry = entry?;
        bytes +=
            if entry.file_type()?.is_dir() { self::bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// Copies the log's folder to the new folder `to`, durably. If it fails, nothing of it is left; what was there before
/// is not touched.
pub(super) fn make(log: &Path, to: &Path) -> io::Result<()> {
    let above = to.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if above.canonicalize()?.starts_with(log.canonicalize()?) {
        return Err(io::Error::other("it would lie in the log itself; name a place outside of it"));
    }
    create(to)?;
    copy(log, to).inspect_err(|_| drop(fs::remove_dir_all(to)))?;
    File::open(above)?.sync_all()
}

/// A folder that only its owner can open, and that was not there.
fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in entries(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            create(&target)?;
            copy(&entry.path(), &target)?;
            continue;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
        io::copy(&mut File::open(entry.path())?, &mut file)?;
        file.sync_all()?;
    }
    File::open(to)?.sync_all()
}

fn entries(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    let is_left_out = |entry: &fs::DirEntry| LEFT_OUT.iter().any(|name| entry.file_name() == *name);
    Ok(fs::read_dir(dir)?.filter(move |entry| !entry.as_ref().is_ok_and(is_left_out)))
}
