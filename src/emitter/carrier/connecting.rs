//! Finding the agent, and losing it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use revenium_event::Producer;
use revenium_event::line::{Code, Hello, VERSION};
use rustix::rand::GetRandomFlags;

use super::Carrier;
use crate::inbox::Inbox;
use crate::link;
use crate::trouble::Trouble;

/// The pause after the first failed connect; it doubles up to one of the others, and is scaled by a random
/// factor in 0.5..1.0, so that processes that lost an agent together do not come back together.
const CONNECT_PAUSE_FIRST: Duration = Duration::from_millis(10);
/// With events in memory.
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// With none, or when the agent wants nothing of us.
const CONNECT_PAUSE_IDLE_MAX: Duration = Duration::from_secs(10);

/// An agent that denied us gets no event for so long after connecting: it may deny us again.
const PROBATION: Duration = Duration::from_millis(200);

impl Carrier {
    pub(super) fn connect(&mut self, now: Instant) {
        let sockets: Vec<_> = self.places().iter().map(|place| place.socket.clone()).collect();
        let (stream, at) = match link::connect_first(&sockets) {
            Ok((stream, socket)) => (stream, sockets.iter().position(|other| other == socket)),
            Err(tried) => {
                self.is_away = true;
                self.back_off(now);
                self.trouble(Trouble::of_connecting(&tried));
                return;
            }
        };
        if let Some(bytes) = self.core.config.send_buffer_bytes {
            // For tests; without it they would merely test less.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, bytes);
        }
        let stream = Arc::new(stream);
        let mut state = self.state();
        let producer = *state.producer.get_or_insert_with(new_producer);
        let mut hello = Vec::new();
        self.hello(producer).write(&mut hello);
        state.connected(Arc::clone(&stream), hello);
        if self.is_denied {
            state.hold();
        }
        drop(state);
        if self.is_denied {
            self.resend_at = now + PROBATION;
        }
        self.stream = Some(stream);
        self.place = at;
        self.is_away = false;
        self.is_full = false;
        self.quiet_since = now;
        self.handing_in.schedule(now);
    }

    /// Whether the pause was for an idle process, and it has events now.
    pub(super) fn may_connect_early(&self, now: Instant) -> bool {
        !self.is_denied && self.connect_at > now + CONNECT_PAUSE_MAX && self.state().in_memory() > 0
    }

    pub(super) fn hello(&self, producer: Producer) -> Hello {
        Hello {
            v: VERSION,
            producer: Some(producer),
            profile: self.core.config.profile.clone(),
            ..Hello::default()
        }
    }

    pub(super) fn lost(&mut self, now: Instant) {
        self.state().disconnected();
        self.stream = None;
        self.inbox = Inbox::default();
        self.back_off(now);
    }

    fn back_off(&mut self, now: Instant) {
        let is_idle = self.is_denied || self.state().in_memory() == 0;
        let max = if is_idle { CONNECT_PAUSE_IDLE_MAX } else { CONNECT_PAUSE_MAX };
        let pause = CONNECT_PAUSE_FIRST.saturating_mul(1 << self.failures.min(16)).min(max);
        self.failures += 1;
        self.connect_at = now + pause.mul_f64(self.jitter());
    }

    /// A random factor in 0.5..1.0.
    fn jitter(&mut self) -> f64 {
        // xorshift64: never 0 once it is not.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let bits = u32::try_from(self.random >> 32).unwrap_or(0);
        0.5 + f64::from(bits) / f64::from(u32::MAX) / 2.0
    }

    /// The agent wants nothing of this connection.
    pub(super) fn turned_away(&mut self, code: Code, message: String, now: Instant) {
        // Stopping is no refusal: the next agent is to be found soon.
        self.is_denied |= code != Code::Stopping;
        let socket = self.place.and_then(|at| self.places().get(at)).map(|place| place.socket.clone());
        self.trouble(match (code, socket) {
            (Code::Denied, Some(socket)) => Trouble::Denied { socket, message },
            _ => Trouble::Refused { message },
        });
        self.lost(now);
    }
}

/// 128 random bits.
pub(super) fn new_producer() -> Producer {
    let mut bits = [0; 16];
    let drawn = rustix::rand::getrandom(&mut bits, GetRandomFlags::NONBLOCK);
    if drawn != Ok(bits.len()) {
        // Early in a boot, or where the call is forbidden: the standard library's way finds other sources.
        use std::hash::{BuildHasher, RandomState};
        for half in bits.chunks_mut(8) {
            let drawn = RandomState::new().hash_one((Instant::now(), std::process::id()));
            half.copy_from_slice(&drawn.to_le_bytes());
        }
    }
    Producer::from_bytes(bits)
}
