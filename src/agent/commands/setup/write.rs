//! Puts a file into place, whole or not at all. What somebody else wrote is kept, unless it is to be replaced; then it
//! stays under another name.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::whole;

/// Most backups of one file.
const BACKUPS_MAX: u32 = 100;

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It was not there.
    Written,
    /// It is as it would have been written.
    Same,
    /// It is another, and was left alone.
    Kept,
    /// It was another, which is kept under this name if it was to be.
    Replaced(Option<PathBuf>),
}

/// What to do with a file that is there and is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfOther {
    Keep,
    BackUp,
    Replace,
}

/// Nothing was changed, but for folders.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub(super) struct PutError {
    path: PathBuf,
    source: io::Error,
}

/// What [`put`] would meet: `Kept` is a file that is another.
pub(super) fn look(path: &Path, content: &[u8]) -> Result<Put, PutError> {
    let found = File::open(path).and_then(|file| {
        // A byte more than ours is another file's.
        let (bytes_max, mut bytes) = (content.len() as u64 + 1, Vec::new());
        file.take(bytes_max).read_to_end(&mut bytes).map(|_| bytes)
    });
    match found {
        Ok(bytes) if bytes == content => Ok(Put::Same),
        Ok(_) => Ok(Put::Kept),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Put::Written),
        Err(source) => Err(PutError { path: path.to_owned(), source }),
    }
}

/// Sees to it that `path` holds `content`. Its mode is `mode`, whatever the umask.
pub(super) fn put(path: &Path, mode: u32, content: &[u8], if_other: IfOther) -> Result<Put, PutError> {
    let failed = |source| PutError { path: path.to_owned(), source };
    let found = match look(path, content)? {
        // What others could read is not as it was to be, whatever its bytes.
        Put::Same if if_other == IfOther::Replace && mode_of(path).map_err(failed)? != mode => Put::Kept,
        found => found,
    };
    match (found, if_other) {
        (Put::Written, _) => {}
        (Put::Kept, IfOther::BackUp) => {
            let backup = back_up(path).map_err(failed)?;
            whole::write(path, mode, &mut &*content).map_err(failed)?;
            return Ok(Put::Replaced(Some(backup)));
        }
        (Put::Kept, IfOther::Replace) => {
            whole::write(path, mode, &mut &*content).map_err(failed)?;
            return Ok(Put::Replaced(None));
        }
        (found, _) => return Ok(found),
    }
    whole::write(path, mode, &mut &*content).map_err(failed)?;
    Ok(Put::Written)
}

/// Makes the folder, closed to others if `is_private`; one that is there is left as it is.
pub(super) fn make_folder(path: &Path, is_private: bool) -> Result<(), PutError> {
    if path.is_dir() {
        return Ok(());
    }
    let mode = if is_private { 0o700 } else { 0o755 };
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    // The umask has no part in it: the service has to read its configuration.
    let made = made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)));
    made.map_err(|source| PutError { path: path.to_owned(), source })
}

fn mode_of(path: &Path) -> io::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// Gives the file a second name, under which it stays when it is replaced.
fn back_up(path: &Path) -> io::Result<PathBuf> {
    for n in 1..=BACKUPS_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(if n == 1 { ".bak".to_owned() } else { format!(".bak{n}") });
        match fs::hard_link(path, &name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => return linked.map(|()| name.into()),
        }
    }
    Err(io::Error::other(format!("there are {BACKUPS_MAX} backups of it already")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_with_another_mode_are_replaced_if_anything_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        let put = |mode, if_other| put(&path, mode, b"a", if_other).expect("put");
        assert_eq!(put(0o644, IfOther::Keep), Put::Written);
        assert_eq!(put(0o600, IfOther::BackUp), Put::Same, "it may be a person's choice");
        assert_eq!(put(0o600, IfOther::Replace), Put::Replaced(None));
        assert_eq!((put(0o600, IfOther::Replace), mode_of(&path).expect("there")), (Put::Same, 0o600));
    }

    #[test]
    fn what_is_there_is_kept_replaced_or_backed_up_and_written_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        let put = |content: &str, if_other| put(&path, 0o640, content.as_bytes(), if_other).expect("put");
        assert_eq!(put("a", IfOther::Keep), Put::Written);
        assert_eq!(put("a", IfOther::BackUp), Put::Same);
        assert_eq!(put("b", IfOther::Keep), Put::Kept);
        assert_eq!(put("b", IfOther::Replace), Put::Replaced(None));
        for (content, backup) in [("c", "file.bak"), ("d", "file.bak2")] {
            assert_eq!(put(content, IfOther::BackUp), Put::Replaced(Some(dir.path().join(backup))));
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect(name);
        assert_eq!((read("file"), read("file.bak"), read("file.bak2")), ("d".into(), "b".into(), "c".into()));
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 3, "nothing else is left");
    }
}
