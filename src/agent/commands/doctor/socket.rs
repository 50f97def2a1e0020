//! The socket that applications send to: who listens, and whether this user may send.
//!
//! Nobody is connected to who might be started by it: systemd starts an agent for the first connection to a
//! socket that it holds. Who listens is read from `/proc/net/unix`, and an agent that runs is connected to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use revenium_emitter::{link, place};
use rustix::fs::Access;

use super::{Case, Finding, Id, is_there};
use crate::client;
use crate::config::Source;
use crate::user::Names;

/// The group whose members send to the machine's agent.
const GROUP: &str = "revenium";

/// As much of `/proc/net/unix` as is read.
const SOCKETS_BYTES_MAX: u64 = 16 << 20;

/// In the flags of `/proc/net/unix`: somebody accepts connections (`__SO_ACCEPTCON`).
const ACCEPTS: u64 = 0x1_0000;

pub(super) fn look(case: &Case) -> Vec<Finding> {
    let path = path(case);
    let names = &case.owner.names;
    let group = group(&path, names);
    [listens(&path, case)].into_iter().chain(group).collect()
}

/// Where applications send: where the configuration says, else where senders look.
fn path(case: &Case) -> PathBuf {
    let configured = &case.config.socket.path;
    let entry = case.config.entries.iter().find(|entry| entry.key == "socket.path");
    let is_written =
        entry.is_some_and(|entry| !matches!(entry.source, Source::Default | Source::DefaultFrom(_)));
    let found = place::sockets().into_iter().find(|path| is_there(path));
    found.filter(|_| !is_written).unwrap_or_else(|| configured.clone())
}

fn listens(path: &Path, case: &Case) -> Finding {
    let (shown, is_running) = (path.display().to_string(), case.standing.is_running());
    let start =
        format!("start the agent: `{} start revenium-agent`, or `revenium-agent run`", case.systemctl());
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let next = "see socket.group";
            return Finding::unknown(Id::Socket, shown, "this user may not look there", next);
        }
        Err(_) if is_running => {
            let next = "is socket.path the one that it was started with? an agent whose socket was removed \
                        makes it anew within seconds, unless systemd holds it: \
                        `systemctl restart revenium-agent.socket`";
            return Finding::problem(Id::Socket, shown, "an agent runs, and its socket is not there", next);
        }
        Err(error) => {
            return Finding::warning(Id::Socket, shown, format!("nobody listens: {error}"), start);
        }
    };
    if !meta.file_type().is_socket() {
        let next = format!("move it away: `mv {shown} {shown}.old`; then {start}");
        return Finding::problem(Id::Socket, shown, "it is not a socket", next);
    }
    if let Err(error) = link::check_owner(path) {
        let next = "senders trust no socket in another user's folder: name another path (socket.path)";
        return Finding::problem(Id::Socket, shown, error.to_string(), next);
    }
    if !is_running && is_anybody_accepting(|bound| bound == path) {
        return Finding::ok(
            Id::Socket,
            shown,
            "somebody listens: systemd, or an agent that may not be asked",
        );
    }
    match link::connect_now(path) {
        Ok(_) => Finding::ok(Id::Socket, shown, "an agent listens"),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let next = "`revenium-agent status`: it has no room for more connections now";
            Finding::warning(Id::Socket, shown, "somebody listens, and takes no connection now", next)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Finding::unknown(Id::Socket, shown, "this user may not open it", "see socket.group")
        }
        Err(error) => {
            let next = format!("an agent that was killed left it, and the next one replaces it: {start}");
            Finding::problem(Id::Socket, shown, format!("nobody listens: {error}"), next)
        }
    }
}

/// Whether a Unix socket takes connections whose path, as it was bound, is one of these; nobody is connected to.
pub(super) fn is_anybody_accepting(is: impl Fn(&Path) -> bool) -> bool {
    let mut text = Vec::new();
    // What cannot be read is not known to be there.
    let _ = File::open("/proc/net/unix").and_then(|file| file.take(SOCKETS_BYTES_MAX).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let is_it = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let flags = fields.nth(3).and_then(|flags| u64::from_str_radix(flags, 16).ok()).unwrap_or(0);
        flags & ACCEPTS != 0 && fields.nth(3).is_some_and(|path| is(Path::new(path)))
    };
    text.lines().any(is_it)
}

/// Whether this user may send. `None` if there is nothing to send to.
fn group(path: &Path, names: &Names) -> Option<Finding> {
    let shown = path.display().to_string();
    if path == Path::new(place::SYSTEM_SOCKET) && names.gid(GROUP).is_none() {
        let cause = format!("this machine has no group {GROUP}: only root and the agent's own user can send");
        let next = "`systemd-sysusers revenium-agent.conf`, then `usermod -aG revenium USER`";
        return Some(Finding::warning(Id::SocketGroup, shown, cause, next));
    }
    if let Err(error) = rustix::fs::access(path, Access::WRITE_OK) {
        // It names the group, and how to become a member of it.
        let cause = client::explain_denied(path, &io::Error::from(error))?;
        let next = "do that; an application that runs already has to be started again";
        return Some(Finding::problem(Id::SocketGroup, shown, cause, next));
    }
    let meta = fs::metadata(path).ok()?;
    let (user, group) = (names.user(meta.uid()), names.group(meta.gid()));
    let mode = meta.mode() & 0o7777;
    Some(Finding::ok(Id::SocketGroup, shown, format!("this user may send; {user}, {group}, mode {mode:04o}")))
}
