//! Why this user may not open a socket, and what to do about it, in one line for a person.

use std::fmt::Write;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::user::Names;

/// What `error` means for `socket`, if it says that the file system forbids opening it.
pub(crate) fn explain(socket: &Path, error: &io::Error) -> Option<String> {
    if error.raw_os_error() != Some(rustix::io::Errno::ACCESS.raw_os_error()) {
        return None;
    }
    let (barrier, needed) = barrier(socket)?;
    let uid = rustix::process::geteuid().as_raw();
    Some(words(&Names::read(), uid, socket, &barrier, needed))
}

/// What stands in the way, and the permission of its group that would let somebody pass: the socket, or
/// the first folder that cannot be passed.
fn barrier(socket: &Path) -> Option<(Metadata, u32)> {
    match fs::metadata(socket) {
        Ok(found) => Some((found, 0o020)),
        Err(_) => socket.ancestors().skip(1).find_map(|dir| Some((fs::metadata(dir).ok()?, 0o010))),
    }
}

fn words(names: &Names, uid: u32, socket: &Path, barrier: &Metadata, needed: u32) -> String {
    let mut text = format!("{} may not open {}: it is for ", names.user(uid), socket.display());
    let gid = barrier.gid();
    if barrier.mode() & needed == 0 {
        // Its group may not either.
        text.push_str(&names.user(barrier.uid()));
        text.push_str(" alone");
        return text;
    }
    text.push_str(&names.group(gid));
    let group = names.group_name(gid).map_or_else(|| gid.to_string(), str::to_owned);
    let _ = match names.user_name(uid) {
        Some(_) if names.is_listed(uid, gid) => {
            write!(text, ", which this login does not have yet; log in again")
        }
        Some(user) => write!(text, "; add the user: `usermod -aG {group} {user}`, then log in again"),
        None => write!(text, "; make the user a member of it, then log in again"),
    };
    text
}
