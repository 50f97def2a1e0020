//! The agent that answers at the socket, and whether it gives way to this one.
//!
//! Only an agent that `start` has started does, and only to a newer one: the kernel says which program it is,
//! which has to be one of the copies, and its card says its version. One that a person or systemd started is
//! theirs to end.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use revenium_emitter::link;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::binary::Copies;
use super::version::Version;
use crate::commands::run::Card;
use crate::intake::Peer;

/// An agent may take so long to end: it reads connections and waits for requests, ten seconds each, and
/// closes its log.
const END_MAX: Duration = Duration::from_secs(40);

/// Who answers.
pub(super) struct Answering {
    peer: Option<Peer>,
    card: Option<Card>,
}

impl Answering {
    /// The agent at `socket`, if one is there.
    pub(super) fn at(socket: &Path) -> io::Result<Option<Self>> {
        let connected = link::check_owner(socket).and_then(|()| link::connect_now(socket));
        let peer = match connected {
            Ok(stream) => Some(Peer::of(&stream)?),
            // It has no room for one more right now.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let pid = peer.as_ref().and_then(|peer| peer.pid);
        let card = Card::read(socket).filter(|card| Some(card.pid) == pid);
        Ok(Some(Self { peer, card }))
    }

    /// Its version, if it says so.
    pub(super) fn version(&self) -> Option<&str> {
        self.card.as_ref().map(|card| card.version.as_str())
    }

    /// It, if it gives way to `version`.
    pub(super) fn outdated(&self, copies: &Copies, version: &Version) -> io::Result<Option<Outdated>> {
        let own = rustix::process::geteuid().as_raw();
        let Some(peer) = self.peer.as_ref().filter(|peer| peer.uid == own) else { return Ok(None) };
        let pid = peer.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let Some(pid) = pid.filter(|_| self.is_older(version)) else { return Ok(None) };
        // From here on it is this process and no later one of its number.
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(Some(Outdated { process: None })),
            opened => opened?,
        };
        // One that may not be looked at is of another container: not one of the copies here.
        let program = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).unwrap_or_default();
        Ok(copies.has(&program).then_some(Outdated { process: Some(process) }))
    }

    fn is_older(&self, version: &Version) -> bool {
        let card = self.card.as_ref().filter(|card| card.per_user);
        card.and_then(|card| Version::parse(&card.version)).is_some_and(|of| of < *version)
    }
}

/// An agent that gives way.
pub(super) struct Outdated {
    /// `None`: it has ended by itself.
    process: Option<OwnedFd>,
}

impl Outdated {
    /// Ends it, and returns once it has ended.
    pub(super) fn end(&self) -> io::Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        match pidfd_send_signal(process, Signal::TERM) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            sent => sent?,
        }
        let most = Timespec::try_from(END_MAX).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&most))? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "it was asked to end and did not")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::run::Ready;

    #[test]
    fn only_an_older_agent_per_user_gives_way() {
        let own = Version::parse("0.2.0").expect("a version");
        for (per_user, version, expected) in [
            (true, "0.1.9", true),
            (true, "0.2.0", false),
            (true, "0.3.0", false),
            (true, "x", false),
            (false, "0.1.0", false),
        ] {
            let card = Card {
                ready: Ready::default(),
                version: version.to_owned(),
                pid: 1,
                per_user,
                ephemeral: false,
            };
            assert_eq!(
                Answering { peer: None, card: Some(card) }.is_older(&own),
                expected,
                "{per_user} {version}"
            );
        }
        assert!(!Answering { peer: None, card: None }.is_older(&own), "who says nothing of itself stays");
    }
}
