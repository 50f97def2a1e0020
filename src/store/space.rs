//! Room on the disk: what is free, and a ballast that is given up so that settling can go on.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::options::Options;

/// Free bytes of the file system that holds `dir`, as an unprivileged user may use them.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Writes the ballast if it is not there; room for it is not worth an error.
pub(crate) fn take_ballast(options: &Options) {
    let path = ballast(&options.dir);
    if path.exists() {
        return;
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut f| io::copy(&mut io::repeat(0).take(options.ballast_bytes), &mut f));
    if written.is_err() {
        let _ = std::fs::remove_file(&path);
    }
}

/// Gives the ballast's bytes back to the file system.
pub(crate) fn release_ballast(dir: &Path) {
    if std::fs::remove_file(ballast(dir)).is_ok() {
        tracing::warn!("the disk is full: the ballast is given up so that settling goes on");
    }
}

fn ballast(dir: &Path) -> PathBuf {
    dir.join("ballast")
}
