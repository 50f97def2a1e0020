//! Who is on the other side of a connection, and whether it may speak.
//!
//! The kernel tells the peer's user and groups as they were when it connected; nothing that the
//! peer says can change them. The socket's file mode has decided before us; the lists narrow it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A connected process, as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Effective user.
    pub uid: u32,
    /// Effective group, then the supplementary ones.
    pub gids: Vec<u32>,
    /// Process, where the kernel tells it.
    pub pid: Option<u32>,
}

impl Peer {
    /// Asks the kernel who connected `socket`.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let cred = credentials(socket)?;
        let mut gids = vec![cred.gid];
        gids.extend(supplementary_gids(socket)?);
        // 0 is a process that our pid namespace does not have: one outside of our container.
        let pid = u32::try_from(cred.pid).ok().filter(|pid| *pid > 0);
        Ok(Self { uid: cred.uid, gids, pid })
    }
}

/// Who may connect.
///
/// With both lists empty, whoever the socket's file mode lets in. Otherwise a listed user or a
/// member of a listed group. Root and the agent's own user always may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    uids: Vec<u32>,
    gids: Vec<u32>,
    always: Vec<u32>,
}

impl Allow {
    /// The rule of `socket.allow_uids` and `socket.allow_gids`.
    pub fn new(uids: Vec<u32>, gids: Vec<u32>) -> Self {
        Self { uids, gids, always: vec![0, rustix::process::geteuid().as_raw()] }
    }

    /// The same rule without the two users that always may.
    #[cfg(test)]
    pub(crate) fn strictly(uids: Vec<u32>, gids: Vec<u32>) -> Self {
        Self { uids, gids, always: Vec::new() }
    }

    /// Whether `peer` may send events here; if not, the words for it.
    pub fn check(&self, peer: &Peer) -> Result<(), NotAllowed> {
        let is_open = self.uids.is_empty() && self.gids.is_empty();
        if is_open
            || self.always.contains(&peer.uid)
            || self.uids.contains(&peer.uid)
            || peer.gids.iter().any(|gid| self.gids.contains(gid))
        {
            return Ok(());
        }
        Err(NotAllowed { uid: peer.uid, allow_gids: self.gids.clone() })
    }
}

/// A peer that is in neither list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAllowed {
    /// The peer's user.
    pub uid: u32,
    /// The groups that would let it in.
    pub allow_gids: Vec<u32>,
}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {} may not send events here: add it to socket.allow_uids", self.uid)?;
        if !self.allow_gids.is_empty() {
            write!(f, ", or make it a member of a group in socket.allow_gids (")?;
            for (at, gid) in self.allow_gids.iter().enumerate() {
                write!(f, "{}{gid}", if at == 0 { "" } else { ", " })?;
            }
            write!(f, ")")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotAllowed {}

/// The peer's process, user and first group.
#[cfg(target_os = "linux")]
fn credentials(socket: &impl AsFd) -> io::Result<libc::ucred> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut bytes = libc::socklen_t::try_from(size_of_val(&cred)).expect("fits: three numbers");
    let (fd, value) = (socket.as_fd().as_raw_fd(), (&raw mut cred).cast());
    let length = &raw mut bytes;
    #[expect(unsafe_code, reason = "rustix has the process as a number that cannot be 0, and it can")]
    // SAFETY: `value` and `length` describe `cred`, which outlives the call; every bit pattern is valid
    // for it; and the descriptor is open while `socket` is borrowed.
    let answer = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, value, length) };
    if answer == 0 { Ok(cred) } else { Err(io::Error::last_os_error()) }
}

/// Groups that the kernel gives a process at most (`NGROUPS_MAX`).
const GIDS_MAX: usize = 65_536;

/// The peer's supplementary groups; `SO_PEERCRED` knows only its first one.
#[cfg(target_os = "linux")]
fn supplementary_gids(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut gids = vec![0u32; 64];
    let socket = socket.as_fd();
    loop {
        let mut bytes = libc::socklen_t::try_from(std::mem::size_of_val(gids.as_slice()))
            .expect("fits: at most GIDS_MAX groups of four bytes");
        let (fd, groups) = (socket.as_raw_fd(), gids.as_mut_ptr().cast());
        let length = &raw mut bytes;
        #[expect(
            unsafe_code,
            reason = "no safe wrapper has SO_PEERGROUPS, and only the kernel's word on groups counts"
        )]
        // SAFETY: `groups` and `length` describe `gids`, which outlives the call; the kernel writes
        // at most that many bytes, whole u32s for which every bit pattern is valid; and the
        // descriptor is open while `socket` is borrowed.
        let answer = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, groups, length) };
        let count = bytes as usize / size_of::<u32>();
        if answer == 0 {
            gids.truncate(count);
            return Ok(gids);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= gids.len() || count > GIDS_MAX {
            return Err(error);
        }
        gids.resize(count, 0);
    }
}

/// Elsewhere only the first group is known.
#[cfg(not(target_os = "linux"))]
fn supplementary_gids(_socket: &impl AsFd) -> io::Result<Vec<u32>> {
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gids: &[u32]) -> Peer {
        Peer { uid, gids: gids.to_vec(), pid: None }
    }

    #[test]
    fn the_lists_let_in_whom_they_name_and_the_file_mode_decides_without_them() {
        let own = rustix::process::geteuid().as_raw();
        let listed = Allow::new(vec![1001], vec![500]);
        for (allow, peer, passes) in [
            (Allow::new(vec![], vec![]), peer(4242, &[4242]), true),
            (listed.clone(), peer(1001, &[1001]), true),
            (listed.clone(), peer(4242, &[4242, 500]), true),
            (listed.clone(), peer(4242, &[4242, 501]), false),
            (listed.clone(), peer(0, &[0]), true),
            (listed, peer(own, &[7]), true),
            (Allow::new(vec![1001], vec![]), peer(4242, &[1001]), false),
            (Allow::new(vec![], vec![500]), peer(500, &[4242]), false),
        ] {
            assert_eq!(allow.check(&peer).is_ok(), passes, "{allow:?} {peer:?}");
        }
    }

    #[test]
    fn a_refused_peer_is_told_which_setting_to_change() {
        let refusal = Allow::strictly(vec![], vec![500, 501]).check(&peer(4242, &[1])).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "user 4242 may not send events here: add it to socket.allow_uids, \
             or make it a member of a group in socket.allow_gids (500, 501)"
        );
    }

    #[test]
    fn the_kernel_tells_user_and_all_groups_of_a_peer() {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = Peer::of(&socket).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gids[0], rustix::process::getegid().as_raw());
        let own: Vec<u32> = rustix::process::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        assert_eq!(peer.gids[1..], own);
        assert_eq!(peer.pid, Some(std::process::id()));
    }
}
