//! The connection, and handing events to the kernel: one by one as they are emitted, or a few at a time from the
//! background thread. What the kernel took half of is finished before anything else is begun.

use std::io::IoSlice;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use super::State;

/// Longest line that is sent by the thread that emits it; longer ones take their time elsewhere.
// An eighth of a socket's usual buffer: it is nearly always taken whole.
const DIRECT_BYTES_MAX: usize = 32_000;

/// Bytes that the background thread sends at a time, so that it holds the lock for microseconds.
const PUMP_BYTES: usize = 16 << 10;
/// Lines that it sends at a time.
const PUMP_LINES: usize = 32;

/// Events that are outstanding at most.
// Enough for 50,000 a second through a disk that takes 10 ms, and as many as fit into the socket.
const OUTSTANDING_MAX: usize = 512;

const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: Arc<UnixStream>,
    /// Every kept line up to this number was handed over, but for what is in `rest`.
    pub(super) sent_upto: u64,
    /// What the kernel has not taken yet of what was begun; goes before anything else.
    rest: Vec<u8>,
    rest_at: usize,
    is_broken: bool,
}

/// What one more call of [`State::pump`] would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Nothing: all that may be sent is sent.
    All,
    /// Send more.
    More,
    /// Nothing until the socket has room.
    Full,
    /// Nothing: there is no connection, or it broke.
    Broken,
}

impl State {
    /// Hands the newest event to the kernel, if all before it are there and it can be done at once.
    pub(crate) fn send_newest(&mut self) -> bool {
        let (Some(line), Some(link)) = (self.kept.back(), &mut self.link) else { return false };
        let is_next = link.sent_upto == line.n - 1 && link.rest_at == link.rest.len();
        if !is_next
            || link.is_broken
            || self.is_held
            || self.switch_at.is_some()
            || self.kept.len() > OUTSTANDING_MAX
            || line.bytes().len() > DIRECT_BYTES_MAX
        {
            return false;
        }
        let bytes = line.bytes();
        match rustix::net::send(&*link.stream, bytes, FLAGS) {
            Ok(count) => {
                link.sent_upto = line.n;
                if count < bytes.len() {
                    link.leave(&bytes[count..]);
                }
                let is_whole = count == bytes.len();
                let n = line.n;
                self.note_sent(n);
                is_whole
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => false,
            Err(_) => {
                link.is_broken = true;
                false
            }
        }
    }

    /// Whether something is kept that was not handed to the kernel.
    pub(crate) fn has_unsent(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            link.rest_at < link.rest.len() || self.kept.back().is_some_and(|last| last.n > link.sent_upto)
        })
    }

    /// Whether [`Self::pump`] would try to send something.
    pub(crate) fn may_pump(&self) -> bool {
        let Some(link) = &self.link else { return false };
        if link.rest_at < link.rest.len() {
            return true;
        }
        let first = self.kept.partition_point(|line| line.n <= link.sent_upto);
        let last = self.switch_at.map_or(u64::MAX, |at| at - 1);
        !self.is_held
            && first.saturating_sub(self.deferred) < OUTSTANDING_MAX
            && self.kept.get(first).is_some_and(|line| line.n <= last)
    }

    /// Sends nothing for now but what was begun. Ends with [`Self::resend`].
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Sends some of what waits.
    pub(crate) fn pump(&mut self) -> Pumped {
        let Some(link) = &mut self.link else { return Pumped::Broken };
        if link.is_broken {
            return Pumped::Broken;
        }
        if link.rest_at < link.rest.len() {
            return link.send_rest();
        }
        if self.is_held {
            return Pumped::All;
        }
        let first = self.kept.partition_point(|line| line.n <= link.sent_upto);
        let last = self.switch_at.map_or(u64::MAX, |at| at - 1);
        let mut slices = [IoSlice::new(&[]); PUMP_LINES];
        let (mut count, mut bytes) = (0, 0);
        let room = OUTSTANDING_MAX.saturating_sub(first.saturating_sub(self.deferred)).min(PUMP_LINES);
        for line in self.kept.range(first..) {
            if count == room || bytes >= PUMP_BYTES || line.n > last {
                break;
            }
            slices[count] = IoSlice::new(line.bytes());
            bytes += line.bytes().len();
            count += 1;
        }
        if count == 0 {
            return Pumped::All;
        }
        let sent =
            rustix::net::sendmsg(&*link.stream, &slices[..count], &mut SendAncillaryBuffer::default(), FLAGS);
        let mut sent = match sent {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::NOBUFS) => return Pumped::Full,
            Err(Errno::INTR) => return Pumped::More,
            Err(_) => {
                link.is_broken = true;
                return Pumped::Broken;
            }
        };
        for line in self.kept.range(first..first + count) {
            if sent == 0 {
                break;
            }
            let taken = sent.min(line.bytes().len());
            link.sent_upto = line.n;
            if taken < line.bytes().len() {
                link.leave(&line.bytes()[taken..]);
            }
            sent -= taken;
        }
        let upto = link.sent_upto;
        self.note_sent(upto);
        Pumped::More
    }

    fn note_sent(&mut self, upto: u64) {
        let new = upto.saturating_sub(self.first_sent_upto);
        self.stats.sent += new;
        self.first_sent_upto += new;
    }

    /// Begins a connection with its hello. All that is kept goes out on it.
    pub(crate) fn connected(&mut self, stream: Arc<UnixStream>, hello: Vec<u8>) {
        let sent_upto = self.kept.front().map_or(self.next_n, |line| line.n) - 1;
        self.link = Some(Link { stream, sent_upto, rest: hello, rest_at: 0, is_broken: false });
        self.undefer();
    }

    /// Ends the connection. The other side sees the end even if a forked child has a copy of it.
    pub(crate) fn disconnected(&mut self) {
        if let Some(link) = self.link.take() {
            // It fails if the other side is gone, and then the same holds.
            let _ = rustix::net::shutdown(&*link.stream, rustix::net::Shutdown::Write);
        }
        self.undefer();
    }

    pub(super) fn undefer(&mut self) {
        self.is_held = false;
        if self.deferred > 0 {
            self.deferred = 0;
            self.kept.iter_mut().for_each(|line| line.is_deferred = false);
        }
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.is_broken)
    }

    /// Whether some events were deferred and nothing else is outstanding: time to send them again.
    pub(crate) fn may_resend(&self) -> bool {
        self.is_held && self.outstanding() == 0
    }

    /// Sends all that is kept again, from the front. Only when [`Self::may_resend`].
    pub(crate) fn resend(&mut self) {
        self.undefer();
        if let (Some(link), Some(first)) = (&mut self.link, self.kept.front()) {
            link.sent_upto = first.n - 1;
        }
    }

    /// Events that were handed over on this connection and not answered.
    pub(crate) fn outstanding(&self) -> usize {
        let Some(link) = &self.link else { return 0 };
        self.kept.partition_point(|line| line.n <= link.sent_upto).saturating_sub(self.deferred)
    }
}

impl Link {
    /// Keeps what the kernel did not take.
    fn leave(&mut self, rest: &[u8]) {
        self.rest.clear();
        self.rest.extend_from_slice(rest);
        self.rest_at = 0;
    }

    fn send_rest(&mut self) -> Pumped {
        let rest = &self.rest[self.rest_at..];
        match rustix::net::send(&*self.stream, &rest[..rest.len().min(PUMP_BYTES * 4)], FLAGS) {
            Ok(count) => self.rest_at += count,
            Err(Errno::AGAIN | Errno::NOBUFS) => return Pumped::Full,
            Err(Errno::INTR) => {}
            Err(_) => {
                self.is_broken = true;
                return Pumped::Broken;
            }
        }
        if self.rest_at == self.rest.len() {
            self.rest = Vec::new();
            self.rest_at = 0;
        }
        Pumped::More
    }
}
