//! Each profile's key: whether it is there, who may read it, and whether it looks like one.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::owner::Owner;
use super::{Case, Finding, Id};
use crate::config::ProfileConfig;
use crate::keys::{self, KeyError, KeySource};
use crate::secret::Secret;

/// Keys that may look and not meter.
const READ_ONLY: &str = "rev_rk_";

pub(super) fn look(case: &Case) -> Vec<Finding> {
    let profiles = case.config.profiles.iter();
    profiles.flat_map(|profile| of_profile(profile, &case.config.files, &case.owner)).collect()
}

fn of_profile(profile: &ProfileConfig, files: &[PathBuf], owner: &Owner) -> Vec<Finding> {
    let name = &profile.name;
    match &profile.key {
        None => vec![Finding::warning(
            Id::Key,
            name,
            "it has no API key: its events are kept, and not sent",
            format!(
                "`revenium-agent setup`, or write one to a file of mode 0600 and name it as profiles.{name}.api_key_file"
            ),
        )],
        Some(KeySource::Inline(key)) => {
            let shape = shape(name, keys::check(key.reveal()), "what is written down");
            vec![Finding::ok(Id::Key, name, "it is written down"), shape]
        }
        Some(KeySource::File(path)) => of_file(name, path, path, true, owner),
        Some(KeySource::Credential(path)) => {
            // systemd hands over a copy; whoever may read what it was copied from has the key as well.
            let beside = |file: &PathBuf| Some(file.parent()?.join(path.file_name()?));
            let source = files.iter().filter_map(beside).find(|source| source.is_file());
            of_file(name, path, source.as_deref().unwrap_or(path), source.is_some(), owner)
        }
    }
}

/// A key that is read from `path`, and guarded at `source`.
fn of_file(name: &str, path: &Path, source: &Path, is_guarded: bool, owner: &Owner) -> Vec<Finding> {
    let shown = path.display();
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return vec![not_readable(name, path, owner)];
        }
        Err(error) => {
            let next = format!("write the key to it: `(umask 077; cat > {})`", source.display());
            let cause = format!("{shown} cannot be read: {error}");
            return vec![Finding::problem(Id::Key, name, cause, next)];
        }
    };
    // What is advised for a file would be wrong for a folder.
    if !found.is_file() {
        let cause = format!("{shown} is not a regular file");
        return vec![Finding::problem(Id::Key, name, cause, "put the key into a file of its own")];
    }
    let mut findings = Vec::new();
    let guarded = if is_guarded { fs::metadata(source).ok() } else { None };
    findings.push(match guarded {
        Some(meta) => permission(name, path, source, &meta, owner),
        None => Finding::ok(Id::KeyPermission, name, format!("{shown} is guarded by systemd")),
    });
    match value(&KeySource::File(path.to_owned())) {
        Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            return vec![not_readable(name, path, owner)];
        }
        read => {
            findings.insert(0, Finding::ok(Id::Key, name, shown.to_string()));
            findings.push(shape(name, read, &shown.to_string()));
        }
    }
    findings
}

/// The key as it is now, whoever else may read it: that is a finding of its own.
pub(super) fn value(source: &KeySource) -> Result<Secret, KeyError> {
    match source {
        KeySource::File(path) => KeySource::Credential(path.clone()).read(),
        source => source.read(),
    }
}

/// Whether others may read `source`, and whether the agent may read it at `path`.
fn permission(name: &str, path: &Path, source: &Path, meta: &Metadata, owner: &Owner) -> Finding {
    let shown = source.display();
    if let Err(KeyError::Exposed { mode, .. }) = keys::check_mode_for(source, meta, owner.uid) {
        let cause = format!("{shown} is open to other users (mode {mode:04o}), and is refused for that");
        return Finding::problem(Id::KeyPermission, name, cause, format!("`chmod 600 {shown}`"));
    }
    // A credential's source is read by systemd.
    if path == source && !owner.may_read(path) {
        let cause = format!("the agent's {} may not read {shown}", owner.user());
        let next = format!("`chown {} {shown}` as root", owner.name());
        return Finding::problem(Id::KeyPermission, name, cause, next);
    }
    Finding::ok(Id::KeyPermission, name, format!("{shown} is closed to other users"))
}

/// This user may not read it: that is wrong if this user is the agent's.
fn not_readable(name: &str, path: &Path, owner: &Owner) -> Finding {
    let (shown, user) = (path.display(), owner.user());
    if owner.is_us() {
        let cause = format!("{user} may not read {shown}");
        let next = format!(
            "`chown {} {shown}` as root; for an agent of another user, {}",
            owner.name(),
            "run doctor as that user or root"
        );
        return Finding::problem(Id::KeyPermission, name, cause, next);
    }
    let cause = format!("{shown} is not for this user to read, which is as it should be");
    Finding::unknown(Id::KeyPermission, name, cause, owner.look_as())
}

fn shape(name: &str, read: Result<Secret, KeyError>, place: &str) -> Finding {
    match read {
        Ok(key) if key.reveal().starts_with(READ_ONLY) => Finding::problem(
            Id::KeyShape,
            name,
            format!("{} is a key for reading, which Revenium refuses here", key.masked()),
            format!("put a metering key (rev_mk_…) in place of {place}"),
        ),
        Ok(key) => Finding::ok(Id::KeyShape, name, key.masked()),
        Err(error) => Finding::problem(
            Id::KeyShape,
            name,
            crate::chain(&error),
            format!("put the key as Revenium shows it (rev_mk_… or hak_…) in place of {place}"),
        ),
    }
}
