//! Names of users and groups, for messages to people.
//!
//! Read from `/etc/passwd` and `/etc/group`, bounded, and only when something is to be said; whoever
//! is known elsewhere (a directory service) is called by number. Decides nothing.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Access;

/// Most bytes that are read of either file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the two files say.
#[derive(Debug, Default)]
pub(crate) struct Names {
    passwd: String,
    group: String,
}

impl Names {
    /// Reads them. A file that cannot be read knows nobody.
    pub(crate) fn read() -> Self {
        Self { passwd: text("/etc/passwd"), group: text("/etc/group") }
    }

    /// The name of a user, if it has one.
    pub(crate) fn user_name(&self, uid: u32) -> Option<&str> {
        name(&self.passwd, uid)
    }

    /// The name of a group, if it has one.
    pub(crate) fn group_name(&self, gid: u32) -> Option<&str> {
        name(&self.group, gid)
    }

    /// `user a`, or `user 1000`.
    pub(crate) fn user(&self, uid: u32) -> String {
        format!("user {}", self.user_name(uid).map_or_else(|| uid.to_string(), str::to_owned))
    }

    /// `group a`, or `group 1000`.
    pub(crate) fn group(&self, gid: u32) -> String {
        format!("group {}", self.group_name(gid).map_or_else(|| gid.to_string(), str::to_owned))
    }

    /// The number of a group.
    pub(crate) fn gid(&self, group: &str) -> Option<u32> {
        let mut lines = self.group.lines().map(|line| line.split(':'));
        lines.find_map(|mut fields| (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?)
    }

    /// Whether the user may read `path`, by its mode and those of the folders above it.
    pub(crate) fn may_read(&self, uid: u32, path: &Path) -> bool {
        let may = |path: &Path, bit: u32| {
            let Ok(found) = std::fs::metadata(path) else { return false };
            let bit = match () {
                () if found.uid() == uid => bit << 6,
                () if self.is_of(uid, found.gid()) => bit << 3,
                () => bit,
            };
            found.mode() & bit != 0
        };
        uid == 0 || may(path, 0o4) && path.ancestors().skip(1).all(|dir| may(dir, 0o1))
    }

    /// Whether the group is the user's own, or one that lists it.
    fn is_of(&self, uid: u32, gid: u32) -> bool {
        let ids = |line: &str| {
            let mut ids = line.split(':').skip(2).map(|id| id.parse::<u32>().ok());
            Some((ids.next()??, ids.next()??))
        };
        self.passwd.lines().any(|line| ids(line) == Some((uid, gid))) || self.is_listed(uid, gid)
    }

    /// Whether the user is listed as a member of the group: the next login has it, this one may not.
    pub(crate) fn is_listed(&self, uid: u32, gid: u32) -> bool {
        let Some(user) = self.user_name(uid) else { return false };
        let of_group = |line: &&str| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(gid);
        let members = self.group.lines().find(of_group).and_then(|line| line.split(':').nth(3));
        members.is_some_and(|members| members.split(',').any(|member| member == user))
    }
}

/// What to do about `path`, which this user may not write although the agent has to: a sentence with the
/// command, which mends all of `root`. `None` if it is ours, or writable, or cannot be looked at.
pub(crate) fn foreign(path: &Path, root: &Path) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    let found = std::fs::symlink_metadata(path).ok()?;
    if found.uid() == own || rustix::fs::access(path, Access::WRITE_OK).is_ok() {
        return None;
    }
    let names = Names::read();
    let (owner, runs_as) = (names.user(found.uid()), names.user(own));
    let chown = names.user_name(own).map_or_else(|| own.to_string(), str::to_owned);
    let (path, root) = (path.display(), root.display());
    Some(format!(
        "{path} belongs to {owner}, and this agent runs as {runs_as}; if an agent was run as {owner} before, \
         `chown -R {chown} {root}` as root"
    ))
}

fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    // What is left unread is called by number.
    let _ = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The name of the line with this id: both files are `name:password:id:…`.
fn name(file: &str, id: u32) -> Option<&str> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let of_line: u32 = fields.nth(1)?.parse().ok()?;
        (of_line == id && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_have_their_names_and_else_their_numbers() {
        let names = Names {
            passwd: "root:x:0:0:root:/root:/bin/sh\nbroken\nb:x:1001:1001::/:/bin/sh\n".to_owned(),
            group: "root:x:0:\nrevenium:x:500:a,b\nother:x:501:ab\n".to_owned(),
        };
        assert_eq!(
            (names.user(0), names.user(1001), names.user(7)),
            ("user root".into(), "user b".into(), "user 7".into())
        );
        assert_eq!((names.group(500), names.group(7)), ("group revenium".into(), "group 7".into()));
        assert_eq!(
            [(1001, 500), (1001, 501), (1001, 0), (7, 500)].map(|(u, g)| names.is_listed(u, g)),
            [true, false, false, false]
        );
    }
}
