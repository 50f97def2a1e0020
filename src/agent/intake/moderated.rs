//! A Unix stream that can be left unwatched for a while, so that what comes meanwhile wakes nobody.
//!
//! A sender that finds its reader asleep pays for waking it, within the call that sends. Left, the stream is read and
//! written as ever, but `Pending` is then no promise to wake: whoever leaves it sets a time to come back.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::wire::Wire;

/// See the module's text.
#[derive(Debug)]
pub(super) enum Moderated {
    Watched(UnixStream),
    Left(StdUnixStream),
}

impl Moderated {
    /// As a stream of its own, so that this one is as it was if that fails.
    fn twin(&self) -> io::Result<StdUnixStream> {
        self.as_fd().try_clone_to_owned().map(StdUnixStream::from)
    }
}

impl Wire for Moderated {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Watched(stream) => stream.poll_read_ready(cx),
            Self::Left(_) => Poll::Ready(Ok(())),
        }
    }

    fn shut_out(&self) {
        // Fails only if the other side is gone, and then the same holds.
        let _ = rustix::net::shutdown(self, rustix::net::Shutdown::Read);
    }

    fn leave(&mut self) -> bool {
        if let Self::Watched(_) = self
            && let Ok(twin) = self.twin()
        {
            *self = Self::Left(twin);
        }
        matches!(self, Self::Left(_))
    }

    fn watch(&mut self) -> bool {
        if let Self::Left(_) = self
            && let Ok(stream) = self.twin().and_then(UnixStream::from_std)
        {
            *self = Self::Watched(stream);
        }
        matches!(self, Self::Watched(_))
    }
}

impl AsFd for Moderated {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Watched(stream) => stream.as_fd(),
            Self::Left(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Moderated {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Watched(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Left(stream) => {
                now(stream.read(room.initialize_unfilled())).map_ok(|count| room.advance(count))
            }
        }
    }
}

impl AsyncWrite for Moderated {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Self::Left(stream) = this {
            let written = now(stream.write(bytes));
            // For room in it one wants to be woken.
            if written.is_ready() || !this.watch() {
                return written;
            }
        }
        match this {
            Self::Watched(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Left(_) => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self, rustix::net::Shutdown::Write).map_err(io::Error::from))
    }
}

fn now<T>(done: io::Result<T>) -> Poll<io::Result<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio::io::AsyncReadExt;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn read(stream: &mut Moderated, cx: &mut Context<'_>) -> Option<Vec<u8>> {
        let mut bytes = [0; 100];
        let mut room = ReadBuf::new(&mut bytes);
        match Pin::new(stream).poll_read(cx, &mut room) {
            Poll::Ready(read) => read.map(|()| Some(room.filled().to_vec())).unwrap(),
            Poll::Pending => None,
        }
    }

    /// Returns once the runtime has seen whatever had happened before at any stream.
    async fn seen() {
        let (mut one, other) = UnixStream::pair().unwrap();
        other.writable().await.unwrap();
        other.try_write(b"x").unwrap();
        one.read_u8().await.unwrap();
    }

    #[tokio::test]
    async fn what_comes_to_a_left_stream_wakes_nobody_and_is_read() {
        let (mine, theirs) = UnixStream::pair().unwrap();
        theirs.writable().await.unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        let mut stream = Moderated::Watched(mine);
        assert_eq!(read(&mut stream, cx), None);
        theirs.try_write(b"one").unwrap();
        seen().await;
        assert_eq!((woken.count(), read(&mut stream, cx)), (1, Some(b"one".to_vec())));

        assert!(stream.leave());
        assert_eq!(read(&mut stream, cx), None);
        theirs.try_write(b"two").unwrap();
        seen().await;
        assert_eq!((woken.count(), read(&mut stream, cx)), (1, Some(b"two".to_vec())));

        // What came before it is watched again is there to be read at once.
        theirs.try_write(b"three").unwrap();
        assert!(stream.watch());
        seen().await;
        assert_eq!(read(&mut stream, cx), Some(b"three".to_vec()));
        assert_eq!(read(&mut stream, cx), None);
        drop(theirs);
        seen().await;
        assert_eq!((woken.count(), read(&mut stream, cx)), (2, Some(Vec::new())));
    }

    #[tokio::test]
    async fn a_left_stream_without_room_is_watched_for_it() {
        let (mine, mut theirs) = UnixStream::pair().unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        let mut stream = Moderated::Watched(mine);
        assert!(stream.leave());
        let mut written = 0;
        while let Poll::Ready(count) = Pin::new(&mut stream).poll_write(cx, &[b'x'; 4096]) {
            written += count.unwrap();
            assert!(matches!(stream, Moderated::Left(_)) && written < 100 << 20);
        }
        assert!(matches!(stream, Moderated::Watched(_)) && woken.count() == 0);
        let mut all = vec![0; written];
        theirs.read_exact(&mut all).await.unwrap();
        seen().await;
        assert_eq!(woken.count(), 1);
    }
}
