//! The data directory: whether it can be written, whose it is, its room, and what a flush is worth there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfs, StatVfsMountFlags};

use super::{Case, Finding, Id};
use crate::commands::run::FOLDERS;
use crate::commands::status;
use crate::guarantee::Guarantee;

/// Entries that are looked at for their owner and size.
const ENTRIES_MAX: usize = 10_000;

pub(super) fn look(case: &Case) -> Vec<Finding> {
    let dir = &case.config.data_dir;
    let shown = dir.display().to_string();
    let existing = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let mut findings = vec![write(case, dir, existing)];
    findings.push(owner(case, dir));
    match rustix::fs::statvfs(existing) {
        Ok(stat) => findings.push(space(case, &shown, &stat)),
        Err(error) => findings.push(cannot_tell(Id::DiskSpace, &shown, &error.into())),
    }
    findings.push(match Guarantee::of(existing) {
        Ok(Guarantee { flushed: true, text }) => Finding::ok(Id::DiskGuarantee, shown, text),
        Ok(Guarantee { flushed: false, text }) => {
            let next = "put data_dir on a disk; in a container, on a volume";
            Finding::warning(Id::DiskGuarantee, shown, text, next)
        }
        Err(error) => cannot_tell(Id::DiskGuarantee, &shown, &error),
    });
    findings
}

fn cannot_tell(id: Id, shown: &str, error: &io::Error) -> Finding {
    Finding::unknown(id, shown, error.to_string(), "run doctor as root or the agent's user")
}

/// Whether the agent can write there, or can make it.
fn write(case: &Case, dir: &Path, existing: &Path) -> Finding {
    let shown = dir.display().to_string();
    let at = existing.display();
    let is_read_only =
        rustix::fs::statvfs(existing).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    if is_read_only {
        let cause = format!("{at} is on a file system that is mounted read-only");
        let next = format!(
            "`findmnt -T {at}` names it; `journalctl -k` says whether an error made it so; \
             `mount -o remount,rw` on it, or another data_dir"
        );
        return Finding::problem(Id::DiskWrite, shown, cause, next);
    }
    if !existing.is_dir() {
        let next = "name another data_dir, or move it away";
        return Finding::problem(Id::DiskWrite, shown, format!("{at} is not a folder"), next);
    }
    if !case.owner.is_us() {
        let cause = format!("it is for {} to write", case.owner.user());
        return if existing == dir && case.owner.may_look() {
            Finding::ok(Id::DiskWrite, shown, cause)
        } else {
            Finding::unknown(Id::DiskWrite, shown, cause, case.owner.look_as())
        };
    }
    match rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if existing == dir => Finding::ok(Id::DiskWrite, shown, "it can be written"),
        Ok(()) => Finding::ok(Id::DiskWrite, shown, "it is not there yet; the agent makes it"),
        Err(error) => {
            let (name, user) = (case.owner.name(), case.owner.user());
            let cause = format!("{user} may not write {at}: {}", io::Error::from(error));
            let next = format!("`install -d -m 700 -o {name} {shown}` as root, or another data_dir");
            Finding::problem(Id::DiskWrite, shown, cause, next)
        }
    }
}

/// Whether anything in it is another user's: an agent was run as that user once.
fn owner(case: &Case, dir: &Path) -> Finding {
    let shown = dir.display().to_string();
    let user = case.owner.user();
    if !case.owner.may_look() {
        let cause = format!("it is {user}'s, who alone may look");
        return Finding::unknown(Id::StoreOwner, shown, cause, case.owner.look_as());
    }
    if !dir.exists() {
        return Finding::ok(Id::StoreOwner, shown, format!("it is not there yet; {user} makes it"));
    }
    let foreign = entries(dir).into_iter().find_map(|path| {
        let uid = fs::symlink_metadata(&path).ok()?.uid();
        (uid != case.owner.uid).then_some((path, uid))
    });
    match foreign {
        None => Finding::ok(Id::StoreOwner, shown, format!("all of it is {user}'s")),
        Some((path, uid)) => {
            let other = case.owner.names.user(uid);
            let cause = format!("{} belongs to {other}, and the agent is {user}'s", path.display());
            let next = format!(
                "was an agent run as {other} by mistake? stop it, then `chown -R {} {shown}` as root; if it is \
                 {other}'s to run, ask doctor as {other}",
                case.owner.name()
            );
            Finding::problem(Id::StoreOwner, shown, cause, next)
        }
    }
}

/// The directory, and what an agent makes in it; a file system's own `lost+found` is root's for a reason.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let made = FOLDERS.map(|name| dir.join(name));
    let inside = made.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let inside = inside.map(|entry| entry.path()).take(ENTRIES_MAX);
    let made = made.iter().filter(|path| path.exists()).cloned();
    [dir.to_owned()].into_iter().chain(made).chain(inside).collect()
}

fn space(case: &Case, shown: &str, stat: &StatVfs) -> Finding {
    let of_log = |path: &PathBuf| fs::metadata(path).ok().filter(|found| found.is_file());
    let used =
        entries(&case.config.data_dir).iter().filter_map(of_log).map(|found| found.blocks() * 512).sum();
    let room = Room {
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        has_files: stat.f_files == 0 || stat.f_favail > 0,
        used,
        capacity: case.config.store.capacity_bytes,
        reserve: case.config.store.free_reserve_bytes,
    };
    room.judge(shown)
}

/// Bytes of the file system and of the log's bounds.
struct Room {
    free: u64,
    has_files: bool,
    used: u64,
    capacity: u64,
    reserve: u64,
}

impl Room {
    fn judge(&self, shown: &str) -> Finding {
        let bytes = status::bytes;
        let (free, reserve) = (bytes(self.free), bytes(self.reserve));
        if !self.has_files {
            let next = "remove files: `df -i` shows where the inodes went";
            return Finding::problem(Id::DiskSpace, shown, "the file system has no inode left", next);
        }
        if self.free < self.reserve {
            let cause =
                format!("{free} are free, less than the reserve of {reserve}: events are refused soon");
            let next = "make room (`df -h`, `du -xsh`), or lower store.free_reserve_bytes";
            return Finding::problem(Id::DiskSpace, shown, cause, next);
        }
        let to_grow = self.capacity.saturating_sub(self.used);
        let capacity = bytes(self.capacity);
        if self.free - self.reserve < to_grow {
            let cause =
                format!("the log may use {capacity}, and the disk has {free} free for it: it is full first");
            let next = "make room, or lower store.capacity_bytes to what the disk has";
            return Finding::warning(Id::DiskSpace, shown, cause, next);
        }
        Finding::ok(Id::DiskSpace, shown, format!("{free} free; the log may use {capacity}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level;

    #[test]
    fn the_log_and_the_reserve_must_fit_into_what_is_free() {
        const GIB: u64 = 1 << 30;
        let level = |free, used, has_files| {
            let room = Room { free, has_files, used, capacity: 10 * GIB, reserve: GIB };
            room.judge("/d").level
        };
        assert_eq!(level(11 * GIB, 0, true), Level::Ok);
        assert_eq!(level(11 * GIB - 1, 0, true), Level::Warning);
        assert_eq!(level(GIB, 10 * GIB, true), Level::Ok);
        assert_eq!(level(GIB - 1, 10 * GIB, true), Level::Problem);
        assert_eq!(level(11 * GIB, 0, false), Level::Problem);
    }
}
