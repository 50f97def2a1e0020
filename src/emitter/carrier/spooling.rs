//! When to spool, and where.
//!
//! At once when there is no agent to be found, and after a while when it answers nothing; then with pauses
//! that grow with the files of this outage, so that a long one makes few files. At once again when memory is
//! half full, for a flush, and at the end.

use std::time::{Duration, Instant};

use revenium_event::spool::FILE_BYTES_MAX;

use super::Carrier;
use super::connecting::new_producer;
use crate::builder::Place;
use crate::outcome::DurableError;
use crate::place::SYSTEM_SPOOL;
use crate::spool::{Limits, Writer};
use crate::trouble::Trouble;

/// An agent that answers nothing for so long is as good as away.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// The pause after a file, for each file of this outage.
const PAUSE_PER_FILE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The pause after a failure doubles from the first to the last of these; for a flush and at the end the
/// first.
const FAILED_PAUSE_FIRST: Duration = Duration::from_millis(100);
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Room that a file leaves for its hello.
const HELLO_BYTES_MAX: u64 = 1024;

/// The state of spooling.
pub(super) struct Spooling {
    writer: Writer,
    /// Files of this outage.
    files: u32,
    next_at: Instant,
    failures: u32,
    /// After a failure nothing is tried before, however urgent.
    again_at: Instant,
    /// The same for what is not urgent.
    again_calmly_at: Instant,
}

impl Spooling {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let writer = Writer::new(limits);
        Self { writer, files: 0, next_at: now, failures: 0, again_at: now, again_calmly_at: now }
    }

    pub(super) fn outage_ended(&mut self) {
        self.files = 0;
    }

    /// When something urgent may be tried again.
    pub(super) fn again_at(&self) -> Instant {
        self.again_at
    }

    fn wrote(&mut self, now: Instant) {
        self.files = self.files.saturating_add(1);
        self.failures = 0;
        self.next_at = now + PAUSE_PER_FILE.saturating_mul(self.files).min(PAUSE_MAX);
    }

    fn failed(&mut self, now: Instant) {
        let pause = FAILED_PAUSE_FIRST.saturating_mul(1 << self.failures.min(16)).min(FAILED_PAUSE_MAX);
        self.failures += 1;
        self.again_at = now + FAILED_PAUSE_FIRST;
        self.again_calmly_at = now + pause;
    }
}

impl Carrier {
    pub(super) fn spool_if_due(&mut self, now: Instant) {
        if !self.is_spooling_due(now) {
            return;
        }
        let dir = self.spool_place().spool.clone();
        let (producer, parked) = {
            let mut state = self.state();
            (*state.producer.get_or_insert_with(new_producer), state.park(FILE_BYTES_MAX - HELLO_BYTES_MAX))
        };
        let Some(first) = parked.front().map(|line| line.n) else { return };
        let hello = self.hello(producer);
        let lines = parked.iter().map(|line| line.bytes());
        match self.spooling.writer.write(&dir, &hello, producer, first, lines) {
            Ok(()) => {
                self.state().spooled(&parked);
                for line in &parked {
                    line.tell(Err(DurableError::Spooled));
                }
                self.spooling.wrote(now);
                self.handing_in.schedule_later(now);
            }
            Err(error) => {
                self.state().unpark(parked);
                self.spooling.failed(now);
                self.trouble(Trouble::Spool { dir, message: error.to_string() });
            }
        }
    }

    fn is_spooling_due(&self, now: Instant) -> bool {
        let config = &self.core.config;
        let (bytes, events, spool_by, close_by) = {
            let state = self.state();
            (state.memory_bytes(), state.in_memory(), state.spool_by, state.close_by)
        };
        if events == 0 {
            return false;
        }
        let is_away = self.is_away || self.is_denied;
        let is_stalled = now.saturating_duration_since(self.quiet_since) >= STALLED_AFTER;
        let is_wanted = spool_by.is_some_and(|by| is_away || now >= by)
            || close_by.is_some_and(|by| is_away || now + config.close_within / 2 >= by);
        if is_wanted {
            return now >= self.spooling.again_at;
        }
        let bounds = config.bounds;
        let is_filled = |eighths: usize| {
            bytes >= bounds.bytes_max / 8 * eighths || events >= bounds.events_max / 8 * eighths
        };
        let is_due = (is_away || is_stalled) && (now >= self.spooling.next_at || is_filled(4));
        // An agent that is there and too slow.
        let is_crowded = is_filled(7);
        (is_due || is_crowded) && now >= self.spooling.again_calmly_at
    }

    /// The place whose spool to use: where an agent was, or is to be expected.
    fn spool_place(&self) -> &Place {
        let places = self.places();
        let last = self.place.and_then(|at| places.get(at));
        // A socket outlives an agent that was killed.
        let left_behind = || places.iter().find(|place| place.socket.symlink_metadata().is_ok());
        // The machine's spool is made when an agent is installed for the machine.
        let installed =
            || places.iter().find(|place| place.spool.as_os_str() == SYSTEM_SPOOL && place.spool.is_dir());
        last.or_else(left_behind).or_else(installed).unwrap_or(&places[0])
    }
}
