//! The agent's own copy of its program: `revenium-agent/<version>/revenium-agent` in the user's data folder.
//!
//! It outlives the virtual environment that it came with. A copy is whole or not there: it is written under
//! another name, flushed and renamed, and one that is there is compared before it is run. Copies of older
//! versions go once nobody runs them; what else is there is left alone.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::version::Version;
use crate::whole;

/// The program's name.
const NAME: &str = "revenium-agent";

/// Copies of every version.
pub(super) struct Copies {
    dir: PathBuf,
}

impl Copies {
    /// Those in the user's data folder.
    pub(super) fn new(data_home: &Path) -> Self {
        Self { dir: data_home.join(NAME) }
    }

    /// Whether `program`, as the kernel tells it of a process, is one of them.
    pub(super) fn has(&self, program: &Path) -> bool {
        // Of one that was replaced meanwhile the kernel says so after its name.
        program.starts_with(&self.dir)
            && program.to_string_lossy().trim_end_matches(" (deleted)").ends_with(NAME)
    }

    /// The copy of `program`, which is of `version`; made if it is not there as it should be.
    pub(super) fn of(&self, program: &Path, version: &str) -> io::Result<PathBuf> {
        let dir = self.dir.join(version);
        let copy = dir.join(NAME);
        if is_same(program, &copy).unwrap_or(false) {
            return Ok(copy);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        whole::write(&copy, 0o700, &mut File::open(program)?)?;
        Ok(copy)
    }

    /// Removes copies of versions before `version` that no process runs. What cannot be removed stays.
    pub(super) fn remove_older(&self, version: &Version) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let running = running();
        for dir in entries.flatten().map(|entry| entry.path()) {
            let of = dir.file_name().and_then(|name| name.to_str()).and_then(Version::parse);
            let is_older = of.is_some_and(|of| of < *version);
            if is_older && !running.iter().any(|program| program.starts_with(&dir)) {
                let _ = fs::remove_file(dir.join(NAME));
                let _ = fs::remove_dir(&dir);
            }
        }
    }
}

/// Whether there is a program at `copy` with the same bytes.
fn is_same(program: &Path, copy: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(program)?, File::open(copy)?);
    let meta = other.metadata()?;
    if one.metadata()?.len() != meta.len() || meta.permissions().mode() & 0o777 != 0o700 {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = one.read(&mut ours)?;
        if count == 0 {
            return Ok(true);
        }
        other.read_exact(&mut theirs[..count])?;
        if ours[..count] != theirs[..count] {
            return Ok(false);
        }
    }
}

/// The programs of all processes that this user may look at.
fn running() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| fs::read_link(entry.path().join("exe")).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_made_once_and_again_if_it_is_not_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let program = dir.path().join("program");
        fs::write(&program, vec![7; 200_000]).expect("written");
        let copies = Copies::new(&dir.path().join("share"));
        let copy = copies.of(&program, "1.0.0").expect("copied");
        assert_eq!(copy, dir.path().join("share/revenium-agent/1.0.0/revenium-agent"));
        let modified = || fs::metadata(&copy).and_then(|meta| meta.modified()).expect("is there");
        let first = modified();
        copies.of(&program, "1.0.0").expect("is there");
        assert_eq!(modified(), first);
        for half in [vec![7; 100_000], [vec![7; 199_999], vec![8]].concat()] {
            fs::write(&copy, half).expect("written");
            copies.of(&program, "1.0.0").expect("made again");
            assert_eq!(fs::read(&copy).expect("read"), vec![7; 200_000]);
        }
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!((mode(&copy), mode(copy.parent().expect("has one"))), (0o700, 0o700));
        assert!(copies.has(&copy) && !copies.has(&program));
        assert!(copies.has(Path::new(&format!("{} (deleted)", copy.display()))));
    }

    #[test]
    fn only_older_copies_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let program = dir.path().join("program");
        fs::write(&program, "x").expect("written");
        let copies = Copies::new(dir.path());
        for version in ["0.9.0", "0.10.0", "0.11.0"] {
            copies.of(&program, version).expect("copied");
        }
        fs::create_dir(copies.dir.join("keys")).expect("made");
        copies.remove_older(&Version::parse("0.10.0").expect("a version"));
        let left = |name: &str| copies.dir.join(name).exists();
        assert_eq!(["0.9.0", "0.10.0", "0.11.0", "keys"].map(left), [false, true, true, true]);
    }
}
