//! Applications that go on sending while the service is restarted, stopped or killed.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::machine::Machine;
use crate::support::{Producer, until};

/// Events between two looks at whether to go on; each time a new connection is made.
const EVENTS_A_CONNECTION: u64 = 20;

pub(crate) struct Load {
    path: PathBuf,
    ends: Arc<AtomicBool>,
    durable: Arc<AtomicU64>,
    producers: Vec<JoinHandle<(Producer, Vec<ErrorKind>)>>,
}

/// What became of it.
pub(crate) struct Sent {
    /// Events that were sent; all of them are durable.
    pub(crate) events: u64,
    /// How connections failed meanwhile.
    pub(crate) failures: Vec<ErrorKind>,
}

impl Load {
    /// Begins to send to the machine's agent.
    pub(crate) fn begin(machine: &Machine) -> Self {
        let path = machine.path("/run/revenium/agent.sock");
        let (ends, durable) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let begin = |id| {
            let (path, ends, durable) = (path.clone(), ends.clone(), durable.clone());
            std::thread::spawn(move || send(Producer::new(id), &path, &ends, &durable))
        };
        let producers = (1..=4).map(begin).collect();
        Self { path, ends, durable, producers }
    }

    /// Returns once so many more events are durable.
    pub(crate) fn wait_more(&self, events: u64) {
        let wanted = self.durable.load(Ordering::Relaxed) + events;
        until("events durable", || self.durable.load(Ordering::Relaxed), |durable| *durable >= wanted);
    }

    /// Begins nothing new, and sees what was sent through to its answer.
    pub(crate) fn finish(self) -> Sent {
        self.ends.store(true, Ordering::Relaxed);
        let mut sent = Sent { events: 0, failures: Vec::new() };
        for producer in self.producers {
            let (mut producer, failures) = producer.join().expect("sends");
            let all = producer.next;
            producer.persist(&self.path, all, 64);
            sent.events += all;
            sent.failures.extend(failures);
        }
        sent
    }
}

fn send(
    mut producer: Producer,
    path: &Path,
    ends: &AtomicBool,
    all_durable: &AtomicU64,
) -> (Producer, Vec<ErrorKind>) {
    let mut failures = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let before = producer.durable;
        let sent: io::Result<()> = producer.run(path, before + EVENTS_A_CONNECTION, 8);
        all_durable.fetch_add(producer.durable - before, Ordering::Relaxed);
        if let Err(error) = sent {
            failures.push(error.kind());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    (producer, failures)
}
