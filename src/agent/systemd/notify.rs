//! One datagram at a time to the service manager, without ever waiting for it.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends to one socket.
pub(super) struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notifier {
    /// For a path, or an abstract name, which begins with `@`. `None` if it is neither.
    pub(super) fn new(address: &OsStr) -> Option<Self> {
        let to = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(address),
            _ => return None,
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, to: to.ok()? })
    }

    /// Sends lines of `NAME=value`; false if it was not taken, as when too much waits to be read there.
    pub(super) fn send(&self, lines: &str) -> bool {
        self.socket.send_to_addr(lines.as_bytes(), &self.to).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_abstract_names_are_reached_and_anything_else_is_no_address() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("notify");
        let name = format!("revenium-notify-{}", std::process::id());
        let at_path = UnixDatagram::bind(&path).expect("bound");
        let address = SocketAddr::from_abstract_name(&name).expect("fits");
        let at_name = UnixDatagram::bind_addr(&address).expect("bound");
        for (receiver, address) in [(at_path, path.into_os_string()), (at_name, format!("@{name}").into())] {
            let notifier = Notifier::new(&address).expect("an address");
            assert!(notifier.send("READY=1\n"));
            let mut received = [0; 64];
            let bytes = receiver.recv(&mut received).expect("received");
            assert_eq!(&received[..bytes], b"READY=1\n");
            drop(receiver);
            assert!(!notifier.send("READY=1\n"), "nobody is there any more");
        }
        assert!(Notifier::new(OsStr::new("vsock:2:1")).is_none());
    }
}
