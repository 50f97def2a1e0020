//! What a connection of lines goes over: the socket's streams, or one of the relay's.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A stream whose sender can be shut out, and that can be waited for without a buffer.
pub(super) trait Wire: AsyncRead + AsyncWrite + AsFd + Unpin {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Lets the other side send no more, where that can be. What it has sent can still be read.
    fn shut_out(&self);

    /// Lets what comes wake nobody until [`Self::watch`]; it is read and written as ever meanwhile. False if it cannot.
    fn leave(&mut self) -> bool {
        false
    }

    /// Wakes again for what comes. False if the system has no room for it now.
    fn watch(&mut self) -> bool {
        true
    }
}

impl Wire for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    /// TCP cannot. Shut for reading, it takes all the same what is sent, but no longer says that there is room again: a
    /// sender that waits for it would wait for minutes.
    fn shut_out(&self) {}
}
