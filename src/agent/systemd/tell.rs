//! The task that talks to the service manager.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::notify::Notifier;
use super::{Phase, words};
use crate::admin::{Board, now_ms};
use crate::tasks::{Stop, TaskResult};

/// How often the status is refreshed, at least: when all is well, and while something is to come.
const STATUS_EVERY: Duration = Duration::from_secs(5);
const STATUS_EVERY_STARTING: Duration = Duration::from_secs(1);

/// Signs of life in the time that the watchdog waits for one.
const SIGNS_A_WAIT: u32 = 4;

/// The time that is asked for again and again while the log is being opened, and for how long: opening
/// reads the newest segments only, so that what takes longer is stuck.
const EXTEND: Duration = Duration::from_secs(30);
const OPENING_MAX: Duration = Duration::from_secs(15 * 60);

/// After a message that was not taken.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Beyond what stopping takes by its own deadlines.
const STOP_SPARE: Duration = Duration::from_secs(5);

pub(super) struct Teller {
    notifier: Arc<Notifier>,
    watchdog: Option<Duration>,
    board: Arc<Board>,
    began: Instant,
    /// What was told last.
    phase: Phase,
    status: String,
}

impl Teller {
    pub(super) fn new(notifier: Arc<Notifier>, watchdog: Option<Duration>, board: Arc<Board>) -> Self {
        let (began, phase, status) = (Instant::now(), Phase::Starting, String::new());
        Self { notifier, watchdog, board, began, phase, status }
    }

    pub(super) async fn run(mut self, mut phase: watch::Receiver<Phase>, mut stop: Stop) -> TaskResult {
        let sign_every = self.watchdog.map_or(STATUS_EVERY, |wait| wait / SIGNS_A_WAIT);
        loop {
            let now = *phase.borrow_and_update();
            let is_starting = !self.board.waiting_for().is_empty();
            let status_every = if is_starting { STATUS_EVERY_STARTING } else { STATUS_EVERY };
            let pause = if self.tell(now) { sign_every.min(status_every) } else { AGAIN_AFTER };
            tokio::select! {
                () = stop.requested() => return Ok(()),
                // The sender lives as long as the process.
                _ = phase.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tells what there is to tell; false if it was not taken and has to be told again.
    fn tell(&mut self, phase: Phase) -> bool {
        let now_ms = now_ms();
        let status = words::status(phase, &self.board.status(now_ms), now_ms);
        let lines = self.lines(phase, &status);
        if !lines.is_empty() && !self.notifier.send(&lines) {
            return false;
        }
        (self.phase, self.status) = (phase, status);
        true
    }

    fn lines(&self, phase: Phase, status: &str) -> String {
        let mut lines = String::new();
        let is_new = phase != self.phase;
        match phase {
            Phase::Starting if self.began.elapsed() < OPENING_MAX => extend(&mut lines, EXTEND),
            Phase::Starting => {}
            Phase::Ready => {
                if is_new {
                    lines.push_str("READY=1\n");
                }
                if self.watchdog.is_some_and(|wait| self.is_moving(wait)) {
                    lines.push_str("WATCHDOG=1\n");
                }
            }
            Phase::Stopping(within) if is_new => {
                lines.push_str("STOPPING=1\n");
                extend(&mut lines, within + STOP_SPARE);
            }
            Phase::Stopping(_) => {}
        }
        if status != self.status {
            // Writing to text cannot fail.
            let _ = writeln!(lines, "STATUS={status}");
        }
        lines
    }

    /// Whether log and drain move, or have nothing to move for. An upstream that is away stops neither.
    fn is_moving(&self, watchdog: Duration) -> bool {
        self.board.stalled_for(watchdog / 2).is_none()
    }
}

fn extend(lines: &mut String, by: Duration) {
    let _ = writeln!(lines, "EXTEND_TIMEOUT_USEC={}", by.as_micros());
}

#[cfg(test)]
#[path = "tell_tests.rs"]
mod tests;
