//! Sockets that systemd listens on for us (`revenium-agent.socket`, `revenium-agent-relay.socket`).
//!
//! They are the service manager's: it opened them before us and keeps them after us, so that whoever
//! connects while we are away waits and is not refused. We neither close them to others nor remove
//! their paths.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::net::{AddressFamily, SocketType, sockopt};

/// A socket was passed that cannot be what its name says. `FileDescriptorName=` in its unit names it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// It is of another kind.
    #[error("the socket {name:?} that systemd passes is not {wanted}: see its unit's Listen…= lines")]
    Kind {
        /// Its name.
        name: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// There are several.
    #[error("systemd passes {count} sockets named {name:?}, and one can be used")]
    Several {
        /// Their name.
        name: &'static str,
        /// How many.
        count: usize,
    },
    /// It cannot be set up.
    #[error("cannot use the socket {name:?} that systemd passes")]
    Io {
        /// Its name.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The passed sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(String, OwnedFd)>);

impl Sockets {
    pub(super) fn new(passed: Vec<(String, OwnedFd)>) -> Self {
        Self(passed)
    }

    /// Takes the Unix socket of this name, if one was passed.
    pub fn unix(&mut self, name: &'static str) -> Result<Option<UnixListener>, SocketError> {
        let Some(socket) = self.take(name)? else { return Ok(None) };
        check(&socket, name, &[AddressFamily::UNIX], "a Unix socket that listens (ListenStream=/…)")?;
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true).map_err(|source| SocketError::Io { name, source })?;
        Ok(Some(listener))
    }

    /// Takes the TCP socket of this name, if one was passed.
    pub fn tcp(&mut self, name: &'static str) -> Result<Option<TcpListener>, SocketError> {
        let Some(socket) = self.take(name)? else { return Ok(None) };
        let families = [AddressFamily::INET, AddressFamily::INET6];
        check(&socket, name, &families, "a TCP socket that listens (ListenStream=ADDRESS:PORT)")?;
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true).map_err(|source| SocketError::Io { name, source })?;
        Ok(Some(listener))
    }

    /// Names of those that nobody took; they are closed when this is dropped.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    fn take(&mut self, name: &'static str) -> Result<Option<OwnedFd>, SocketError> {
        let mut of_name: Vec<OwnedFd> =
            self.0.extract_if(.., |(other, _)| other == name).map(|(_, socket)| socket).collect();
        match of_name.len() {
            0 | 1 => Ok(of_name.pop()),
            count => Err(SocketError::Several { name, count }),
        }
    }
}

fn check(
    socket: &OwnedFd,
    name: &'static str,
    families: &[AddressFamily],
    wanted: &'static str,
) -> Result<(), SocketError> {
    let fd = socket.as_fd();
    let is_wanted = sockopt::socket_domain(fd).is_ok_and(|family| families.contains(&family))
        && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(fd) == Ok(true);
    if is_wanted { Ok(()) } else { Err(SocketError::Kind { name, wanted }) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_is_taken_by_its_name_if_it_is_what_the_name_says() {
        let dir = tempfile::tempdir().expect("a folder");
        let unix = |name: &str| OwnedFd::from(UnixListener::bind(dir.path().join(name)).expect("bound"));
        let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("bound"));
        let passed = |all: Vec<(&str, OwnedFd)>| {
            Sockets::new(all.into_iter().map(|(name, socket)| (name.to_owned(), socket)).collect())
        };
        let mut sockets = passed(vec![("x", tcp()), ("relay", tcp()), ("agent", unix("a"))]);
        assert!(sockets.unix("agent").expect("listens").is_some());
        assert!(sockets.unix("agent").expect("is gone").is_none());
        assert!(sockets.tcp("relay").expect("listens").is_some());
        assert_eq!(sockets.left().collect::<Vec<_>>(), ["x"]);

        let said = |result: Result<_, SocketError>| result.expect_err("is none").to_string();
        let stream = || OwnedFd::from(UnixStream::pair().expect("a pair").0);
        let wrong = "the socket \"agent\" that systemd passes is not a Unix socket that listens \
                     (ListenStream=/…): see its unit's Listen…= lines";
        assert_eq!(said(passed(vec![("agent", tcp())]).unix("agent").map(drop)), wrong);
        assert_eq!(said(passed(vec![("agent", stream())]).unix("agent").map(drop)), wrong);
        assert!(said(passed(vec![("relay", unix("b"))]).tcp("relay").map(drop)).contains("not a TCP socket"));
        let two = passed(vec![("agent", unix("c")), ("agent", unix("d"))]).unix("agent");
        assert_eq!(said(two.map(drop)), "systemd passes 2 sockets named \"agent\", and one can be used");
    }
}
