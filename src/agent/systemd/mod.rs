//! systemd, when it runs the agent: what it hands over, and what it is told.
//!
//! Told by datagrams to `$NOTIFY_SOCKET` (sd_notify(3)): ready, a line of status, more time while the
//! log is recovered, the watchdog. What was handed over is taken once and its variables are unset,
//! so that no child takes it for its own. Without systemd nothing here does anything.

mod environment;
mod notify;
mod socket;
mod tell;
mod words;

pub(crate) use words::age;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::environment::Handed;
use self::notify::Notifier;
pub use self::socket::{SocketError, Sockets};
use crate::admin::Board;
use crate::exit::Failure;
use crate::tasks::{Stage, Tasks};

/// How far the agent's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    /// Stopping takes at most so long.
    Stopping(Duration),
}

/// How often, and after what pauses, a process without a board says that it is ready.
const READY_TRIES_MAX: u32 = 50;
const READY_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The service manager, as far as there is one.
pub struct Service {
    notifier: Option<Arc<Notifier>>,
    watchdog: Option<Duration>,
    phase: watch::Sender<Phase>,
}

impl Service {
    /// Takes what systemd handed to this process: once, and before any thread is started. A second
    /// call gets nothing.
    pub fn take() -> (Self, Sockets) {
        let Handed { notify, watchdog, sockets } = environment::take();
        let notifier = notify.and_then(|address| Notifier::new(&address)).map(Arc::new);
        let service = Self { notifier, watchdog, phase: watch::Sender::new(Phase::Starting) };
        (service, Sockets::new(sockets))
    }

    /// Tells it of the phases from now on, and what `board` shows.
    pub fn follow(&self, board: &Arc<Board>, tasks: &mut Tasks) {
        let Some(notifier) = self.notifier.clone() else { return };
        let teller = tell::Teller::new(notifier, self.watchdog, board.clone());
        let phase = self.phase.subscribe();
        tasks.spawn(Stage::Admin, "service manager", |stop| teller.run(phase, stop));
    }

    /// The sockets listen and the log is open.
    pub fn ready(&self) {
        self.phase.send_replace(Phase::Ready);
    }

    /// The agent stops, within so long.
    pub fn stopping(&self, within: Duration) {
        self.phase.send_replace(Phase::Stopping(within));
    }

    /// Tells it that a process listens which has no board to [`follow`](Self::follow), and would be ended for want of
    /// a word within its `TimeoutStartSec`. Waits a little if too much waits to be read there.
    pub async fn tell_ready(&self) {
        let Some(notifier) = &self.notifier else { return };
        for _ in 0..READY_TRIES_MAX {
            if notifier.send("READY=1\n") {
                return;
            }
            tokio::time::sleep(READY_AGAIN_AFTER).await;
        }
    }

    /// Tells it that such a process stops.
    pub fn tell_stopping(&self) {
        if let Some(notifier) = &self.notifier {
            // It told us to, as a rule, and knows.
            let _ = notifier.send("STOPPING=1\n");
        }
    }

    /// It ends by an error, which `systemctl status` then shows.
    pub fn failed(&self, failure: &Failure) {
        if let Some(notifier) = &self.notifier {
            // There is no later try: the process ends.
            let _ = notifier.send(&format!("STATUS={}\n", words::failed(failure)));
        }
    }
}
