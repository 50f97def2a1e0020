//! From the drain to the folder: a queue that never holds the drain up, and the task at its other end.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, Receiver, Sender};
use tracing::{info, warn};

use super::Receipt;
use super::folder::Folder;
use crate::tasks::{Stop, TaskResult, blocking};

/// Receipts that wait to be written: more than half a second's at the greatest pace.
const WAITING_MAX: usize = 16 * 1024;

/// Receipts that are written at once. Each takes less than 6 KiB, whatever its ids are, so a file has room for them.
pub(super) const WRITTEN_AT_ONCE_MAX: usize = 1024;

/// How often at most it is said that receipts cannot be written.
const SAID_EACH: Duration = Duration::from_secs(600);

/// Where receipts are handed in.
#[derive(Debug)]
pub(crate) struct Receipts {
    sender: Sender<Receipt>,
}

impl Receipts {
    /// The queue, and its other end, which is to be given to [`keep`].
    pub(crate) fn queue() -> (Self, Receiver<Receipt>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { sender }, receiver)
    }

    /// Hands one in; false if there is no room for it. Never waits.
    pub(crate) fn put(&self, receipt: Receipt) -> bool {
        self.sender.try_send(receipt).is_ok()
    }
}

/// Writes what is handed in, until told to stop and all of it is written. `miss` is told how many could not be.
pub(crate) async fn keep(
    mut folder: Folder,
    mut receipts: Receiver<Receipt>,
    miss: impl Fn(u64) + Send,
    mut stop: Stop,
) -> TaskResult {
    let mut trouble = Trouble::default();
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            n = receipts.recv_many(&mut batch, WRITTEN_AT_ONCE_MAX) => {
                if n == 0 {
                    // No drain hands in any more, nor will one.
                    stop.requested().await;
                    return Ok(());
                }
            }
            () = stop.requested(), if !receipts.is_closed() => {
                // What was handed in still comes.
                receipts.close();
                continue;
            }
        }
        let count = batch.len() as u64;
        let write = move || {
            let written = write(&mut folder, &batch);
            (folder, batch, written)
        };
        // Without a thread the process is going down without waiting.
        let Some(done) = blocking(write).await else { return Ok(()) };
        let written;
        (folder, batch, written) = done;
        batch.clear();
        if written.is_err() {
            miss(count);
        }
        trouble.heed(written, count);
    }
}

fn write(folder: &mut Folder, receipts: &[Receipt]) -> io::Result<()> {
    let mut lines = Vec::with_capacity(receipts.len() * 256);
    receipts.iter().for_each(|receipt| receipt.write(&mut lines));
    folder.append(&lines, crate::admin::now_ms())
}

/// What is said of receipts that cannot be written, now and then.
#[derive(Debug, Default)]
struct Trouble {
    said_at: Option<Instant>,
    is_said: bool,
    missed: u64,
}

impl Trouble {
    fn heed(&mut self, written: io::Result<()>, count: u64) {
        match written {
            Err(error) => {
                self.missed += count;
                if self.said_at.is_none_or(|at| at.elapsed() >= SAID_EACH) {
                    warn!(%error, missed = self.missed, "receipts cannot be written; events are delivered all the same");
                    (self.said_at, self.is_said) = (Some(Instant::now()), true);
                }
            }
            Ok(()) if self.is_said => {
                info!(missed = self.missed, "receipts are written again");
                (self.is_said, self.missed) = (false, 0);
            }
            Ok(()) => {}
        }
    }
}
