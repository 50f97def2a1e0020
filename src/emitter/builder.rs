//! How an emitter is set up. Everything has a default that works.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use revenium_event::profile_is_valid;

use crate::emitter::Emitter;
use crate::outcome::Loss;
use crate::place;
use crate::spool::Limits;
use crate::state::Bounds;
use crate::trouble::Trouble;

/// The variable that turns all metering off, when it is `1`.
pub const DISABLED_VARIABLE: &str = "REVENIUM_METERING_DISABLED";

/// Memory for events, by default: some ten thousand of them.
const MEMORY_BYTES_MAX: usize = 4 << 20;

/// Events in memory, whatever their size.
const MEMORY_EVENTS_MAX: usize = 65_536;

/// Bytes that one process has in spool files, by default.
const SPOOL_BYTES_MAX: u64 = 256 << 20;

/// Spool files of one process: at one every 30 seconds, eight hours; larger ones follow when memory fills.
const SPOOL_FILES_MAX: usize = 1_024;

/// Bytes of all files in a spool, if it can be listed, in multiples of what one process may have.
const FOLDER_SHARES: u64 = 4;

/// Files in a spool, if it can be listed.
const FOLDER_FILES_MAX: usize = 10_000;

/// How long dropping the last handle may take, by default.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Told of events that were lost.
pub(crate) type OnLoss = Box<dyn Fn(&Loss) + Send + Sync>;

/// Told of what stands between this process and the agent.
pub(crate) type OnTrouble = Box<dyn Fn(&Trouble) + Send + Sync>;

/// Sets up an [`Emitter`]. Building never fails, never waits, and needs no agent.
///
/// ```
/// use revenium_emitter::Emitter;
///
/// let emitter = Emitter::builder()
///     .profile("team-a")
///     .on_loss(|loss| eprintln!("{} events were not metered: {}", loss.events, loss.reason))
///     .build();
/// ```
#[must_use = "nothing is set up until it is built"]
pub struct Builder {
    profile: Option<String>,
    socket: Option<PathBuf>,
    spool: Option<PathBuf>,
    memory_bytes_max: usize,
    spool_bytes_max: u64,
    is_buffered: bool,
    close_within: Duration,
    on_loss: Option<OnLoss>,
    on_trouble: Option<OnTrouble>,
    send_buffer_bytes: Option<usize>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            profile: None,
            socket: None,
            spool: None,
            memory_bytes_max: MEMORY_BYTES_MAX,
            spool_bytes_max: SPOOL_BYTES_MAX,
            is_buffered: false,
            close_within: CLOSE_WITHIN,
            on_loss: None,
            on_trouble: None,
            send_buffer_bytes: None,
        }
    }

    /// The agent's profile, and so the account, that is billed for events that name none. Without it, it is that of
    /// the API key in `REVENIUM_METERING_API_KEY`, by its fingerprint, so that two applications with two keys are never
    /// billed to each other; and without a key the agent's `default`. A name that cannot be a profile's is refused by the agent with every event, and
    /// billed to nobody.
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// The agent's socket: this one and no other.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// Where events are kept while no agent is there, instead of the socket's own spool.
    pub fn spool(mut self, dir: impl Into<PathBuf>) -> Self {
        self.spool = Some(dir.into());
        self
    }

    /// Memory for events that the agent has not answered for, in bytes; 4 MiB by default. Each event takes
    /// its buffer and about a hundred bytes. What does not fit is dropped and counted.
    pub fn memory_bytes_max(mut self, bytes: usize) -> Self {
        self.memory_bytes_max = bytes;
        self
    }

    /// Bytes that this process may have in spool files; 256 MiB by default, and in all files of the folder
    /// four times that. Beyond, events stay in memory.
    pub fn spool_bytes_max(mut self, bytes: u64) -> Self {
        self.spool_bytes_max = bytes;
        self
    }

    /// Whether `emit` only moves the event into memory and leaves sending to the background thread, which
    /// looks every few milliseconds. A nanosecond matter for the caller, but **a process that is killed
    /// loses what it had not sent**.
    pub fn buffered(mut self, is_buffered: bool) -> Self {
        self.is_buffered = is_buffered;
        self
    }

    /// How long dropping the last handle may wait for the agent; 2 seconds by default. What it has not taken
    /// by half of that is spooled.
    pub fn close_within(mut self, deadline: Duration) -> Self {
        self.close_within = deadline;
        self
    }

    /// Called from the background thread when events were lost or refused, at most a few times a second for
    /// each reason. It should return soon: nothing is sent meanwhile. A panic in it is ignored.
    pub fn on_loss(mut self, callback: impl Fn(&Loss) + Send + Sync + 'static) -> Self {
        self.on_loss = Some(Box::new(callback));
        self
    }

    /// Called from the background thread when something new stands between this process and the agent, once
    /// until it is over. It should return soon, and a panic in it is ignored.
    pub fn on_trouble(mut self, callback: impl Fn(&Trouble) + Send + Sync + 'static) -> Self {
        self.on_trouble = Some(Box::new(callback));
        self
    }

    /// The socket's buffer, for tests of what happens when it is full.
    #[doc(hidden)]
    pub fn send_buffer_bytes(mut self, bytes: usize) -> Self {
        self.send_buffer_bytes = Some(bytes);
        self
    }

    /// The emitter. The environment is read here, and not again.
    pub fn build(self) -> Emitter {
        let sockets = self.socket.map_or_else(place::sockets, |path| vec![path]);
        let spool = |socket: &Path| self.spool.clone().unwrap_or_else(|| place::spool(socket));
        let places = sockets.into_iter().map(|socket| Place { spool: spool(&socket), socket }).collect();
        let (profile, odd_profile) = match self.profile.or_else(place::profile) {
            Some(name) if !profile_is_valid(&name) => (None, Some(name)),
            name => (name, None),
        };
        let config = Config {
            places,
            profile,
            odd_profile,
            bounds: Bounds { bytes_max: self.memory_bytes_max, events_max: MEMORY_EVENTS_MAX },
            spool_limits: Limits {
                own_bytes_max: self.spool_bytes_max,
                own_files_max: SPOOL_FILES_MAX,
                folder_bytes_max: self.spool_bytes_max.saturating_mul(FOLDER_SHARES),
                folder_files_max: FOLDER_FILES_MAX,
            },
            is_buffered: self.is_buffered,
            is_disabled: env::var_os(DISABLED_VARIABLE).is_some_and(|value| value == "1"),
            close_within: self.close_within,
            on_loss: self.on_loss,
            on_trouble: self.on_trouble,
            send_buffer_bytes: self.send_buffer_bytes,
        };
        Emitter::of(Arc::new(config))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Builder");
        shown.field("profile", &self.profile).field("socket", &self.socket).field("spool", &self.spool);
        shown.finish_non_exhaustive()
    }
}

/// An agent's socket and the spool that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) socket: PathBuf,
    pub(crate) spool: PathBuf,
}

/// What an emitter was set up with.
pub(crate) struct Config {
    /// Where the agent may be, the first choice first.
    pub(crate) places: Vec<Place>,
    pub(crate) profile: Option<String>,
    /// A profile's name that can be none: it goes into the events, where the agent says so.
    pub(crate) odd_profile: Option<String>,
    pub(crate) bounds: Bounds,
    pub(crate) spool_limits: Limits,
    pub(crate) is_buffered: bool,
    pub(crate) is_disabled: bool,
    pub(crate) close_within: Duration,
    pub(crate) on_loss: Option<OnLoss>,
    pub(crate) on_trouble: Option<OnTrouble>,
    pub(crate) send_buffer_bytes: Option<usize>,
}
