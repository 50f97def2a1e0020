//! The one place that spawns.
//!
//! A task has a name, a stage, and a [`Stop`] to wait beside. The first task that ends without
//! being asked ends the process with its error. Stopping goes stage by stage, in the order of
//! [`Stage`]: each is told to stop and joined within its deadline; what is late is aborted and
//! named. So intake acknowledges what it has read while the log still takes it, and metrics are
//! served to the end. Connections, many and short, live in a [`Group`] of the task that accepts.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

/// How a task ends.
pub type TaskResult = Result<(), Box<dyn Error + Send + Sync>>;

/// When a task is told to stop; stages stop in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The gateway, which sends to the ways in: answers that are being given end.
    Gateway,
    /// Ways in: read what was sent, commit, acknowledge, close.
    Intake,
    /// Delivery: requests in flight settle.
    Drain,
    /// The log: a last flush.
    Store,
    /// What an operator sees, and the keys.
    Admin,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Gateway, Self::Intake, Self::Drain, Self::Store, Self::Admin];
}

/// How long each stage may take to stop.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For [`Stage::Gateway`].
    pub gateway: Duration,
    /// For [`Stage::Intake`].
    pub intake: Duration,
    /// For [`Stage::Drain`].
    pub drain: Duration,
    /// For [`Stage::Store`].
    pub store: Duration,
    /// For [`Stage::Admin`].
    pub admin: Duration,
}

impl Deadlines {
    /// How long stopping takes at most.
    pub fn sum(&self) -> Duration {
        Stage::ALL.iter().map(|stage| self.of(*stage)).sum()
    }

    fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Gateway => self.gateway,
            Stage::Intake => self.intake,
            Stage::Drain => self.drain,
            Stage::Store => self.store,
            Stage::Admin => self.admin,
        }
    }
}

/// Tells a task that it is time to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// One that nobody has asked yet, and the means to ask, for tests and for parts within parts.
    pub fn pair() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Returns once the task should stop; from then on at once. Cancel-safe.
    pub async fn requested(&mut self) {
        // A sender that is gone cannot ask any more: its tasks have nothing to run for.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Whether it is time.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

/// Why the process stops although nobody asked.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The task returned an error.
    #[error("{name} failed")]
    Failed {
        /// Which task.
        name: &'static str,
        /// Its error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The task returned, though nobody told it to stop: a bug.
    #[error("{name} ended by itself")]
    Ended {
        /// Which task.
        name: &'static str,
    },
    /// The task panicked: a bug.
    #[error("{name} panicked: {message}")]
    Panicked {
        /// Which task.
        name: &'static str,
        /// What it said.
        message: String,
    },
}

struct Task {
    name: &'static str,
    stage: Stage,
    abort: AbortHandle,
}

/// All tasks of the process.
pub struct Tasks {
    running: JoinSet<TaskResult>,
    known: HashMap<Id, Task>,
    stops: [watch::Sender<bool>; Stage::ALL.len()],
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            running: JoinSet::new(),
            known: HashMap::new(),
            stops: std::array::from_fn(|_| watch::channel(false).0),
        }
    }
}

impl Tasks {
    /// What tasks of `stage` wait beside.
    pub fn stop(&self, stage: Stage) -> Stop {
        Stop(self.stops[stage as usize].subscribe())
    }

    /// Starts a task. `task` gets the [`Stop`] of its stage and returns soon after it is requested.
    pub fn spawn<F>(&mut self, stage: Stage, name: &'static str, task: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = TaskResult> + Send + 'static,
    {
        let abort = self.running.spawn(task(self.stop(stage)));
        self.known.insert(abort.id(), Task { name, stage, abort });
    }

    /// Returns the word of `signal` once it resolves, or the error of the first task that ends.
    pub async fn run_until(
        &mut self,
        signal: impl Future<Output = &'static str>,
    ) -> Result<&'static str, TaskError> {
        tokio::select! {
            signal = signal => {
                info!(signal, "stopping");
                Ok(signal)
            }
            error = self.first_end() => {
                error!(error = crate::chain(&error), "stopping");
                Err(error)
            }
        }
    }

    /// Stops every stage, in order, and waits for `shut` once nothing more can come in. Returns the names of
    /// tasks that had to be aborted.
    pub async fn stop_all(
        mut self,
        deadlines: Deadlines,
        shut: impl Future<Output = ()>,
    ) -> Vec<&'static str> {
        let (mut late, mut shut) = (Vec::new(), std::pin::pin!(shut));
        for stage in Stage::ALL {
            if stage == Stage::Drain {
                shut.as_mut().await;
            }
            self.stop_stage(stage, deadlines.of(stage), &mut late).await;
        }
        late
    }

    /// The first end of any task, which is unexpected. Waits for ever while there is no task.
    async fn first_end(&mut self) -> TaskError {
        match self.running.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, Ok(())))) => TaskError::Ended { name: self.forget(id) },
            Some(Ok((id, Err(source)))) => TaskError::Failed { name: self.forget(id), source },
            Some(Err(error)) => {
                TaskError::Panicked { name: self.forget(error.id()), message: panic_message(error) }
            }
        }
    }

    async fn stop_stage(&mut self, stage: Stage, deadline: Duration, late: &mut Vec<&'static str>) {
        self.stops[stage as usize].send_replace(true);
        let until = Instant::now() + deadline;
        while self.known.values().any(|task| task.stage == stage) {
            let Ok(Some(joined)) = timeout_at(until, self.running.join_next_with_id()).await else {
                break;
            };
            self.note_end(joined);
        }
        self.known.retain(|_, task| {
            if task.stage == stage {
                warn!(task = task.name, deadline_ms = deadline.as_millis(), "did not stop in time, aborted");
                task.abort.abort();
                late.push(task.name);
            }
            task.stage != stage
        });
    }

    /// Logs how a task ended while the process stops. It may be one of a later stage.
    fn note_end(&mut self, joined: Result<(Id, TaskResult), JoinError>) {
        match joined {
            Ok((id, Ok(()))) => drop(self.known.remove(&id)),
            Ok((id, Err(error))) => {
                // Not within the macro, whose arguments are evaluated only if somebody listens.
                let name = self.forget(id);
                error!(task = name, error = crate::chain(&*error), "failed while stopping");
            }
            // One that was aborted for being late was reported then.
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                let name = self.forget(error.id());
                error!(task = name, error = panic_message(error), "panicked while stopping");
            }
        }
    }

    fn forget(&mut self, id: Id) -> &'static str {
        self.known.remove(&id).map_or("an unnamed task", |task| task.name)
    }
}

/// Short tasks of one kind, at most `max` at a time: the connections of a listener.
///
/// They belong to the task that accepts and stop with it: dropping the group aborts what is left.
/// A panic ends its own connection only; it is logged, since a bug that one client can trigger
/// must not end metering for all.
pub struct Group {
    name: &'static str,
    max: usize,
    running: JoinSet<()>,
}

impl Group {
    /// An empty group; `name` is the one to log.
    pub fn new(name: &'static str, max: usize) -> Self {
        Self { name, max, running: JoinSet::new() }
    }

    /// Returns once there is room for one more. Cancel-safe.
    pub async fn room(&mut self) {
        while let Some(joined) = self.running.try_join_next() {
            self.joined(joined);
        }
        while self.running.len() >= self.max {
            if let Some(joined) = self.running.join_next().await {
                self.joined(joined);
            }
        }
    }

    /// Starts one more, whether or not there is [`room`](Self::room).
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(task);
    }

    /// How many run, counting those that ended but were not joined yet.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Returns once all have ended.
    pub async fn finish(mut self) {
        while let Some(joined) = self.running.join_next().await {
            self.joined(joined);
        }
    }

    fn joined(&self, joined: Result<(), JoinError>) {
        if let Err(error) = joined {
            error!(task = self.name, error = panic_message(error), "panicked");
        }
    }
}

/// Runs `work`, which may block, on a thread where that is allowed, and returns what it returned.
///
/// `None` if the runtime is going down and has no thread for it. A panic of `work` is the caller's.
/// Dropping the future does not end the work.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) if error.is_cancelled() => None,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Waits on a thread that may block, such as one of [`blocking`], for what is asynchronous.
///
/// Panics outside of the runtime's threads.
pub fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

fn panic_message(error: JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "aborted".to_owned() };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().unwrap_or(&"no message").to_string(),
    }
}

#[cfg(test)]
mod tests;
