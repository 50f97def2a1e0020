//! Signals: SIGTERM and SIGINT stop the process, a second one ends it at once, SIGHUP reads key
//! files again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

use crate::tasks::{Stop, TaskResult};

/// SIGTERM and SIGINT, as one.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on these signals no longer end the process by themselves.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns the name of the next one. Cancel-safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Counts SIGHUPs: each asks to read key files again.
pub struct Hangups {
    hangup: Signal,
    count: watch::Sender<u64>,
}

impl Hangups {
    /// From here on SIGHUP no longer ends the process.
    pub fn install() -> io::Result<Self> {
        Ok(Self { hangup: signal(SignalKind::hangup())?, count: watch::channel(0).0 })
    }

    /// Changes with every SIGHUP.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Counts until told to stop.
    pub async fn count(mut self, mut stop: Stop) -> TaskResult {
        loop {
            tokio::select! {
                () = stop.requested() => return Ok(()),
                _ = self.hangup.recv() => {
                    info!("SIGHUP: reading key files again");
                    self.count.send_modify(|count| *count += 1);
                }
            }
        }
    }
}
