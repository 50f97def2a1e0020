//! What the intake is told: where to listen, who may come, and every bound.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::peer::Allow;
use crate::tenant::Tenants;

/// What the intake needs to know, validated by its caller.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the socket is; at most 107 bytes, as the kernel wants it.
    pub path: PathBuf,
    /// The socket's file mode, such as `0o660`.
    pub mode: u32,
    /// Who may connect.
    pub allow: Allow,
    /// Whose events there are. One for anybody else is refused at the door.
    pub tenants: Arc<Tenants>,
    /// The bounds.
    pub limits: Limits,
}

/// Every bound of the intake. Memory of a connection: its buffer, what it has in flight and its
/// answers; an idle one holds next to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time of one user. 0: no bound of its own.
    pub connections_per_uid_max: usize,
    /// Connections that the kernel holds while they wait to be accepted.
    pub backlog: i32,
    /// Lines a second of one user, all connections together; beyond it they are read more slowly.
    /// 0: no bound.
    pub lines_per_second_per_uid_max: u32,
    /// Refused events of one user that are kept as dead letters, a second.
    pub kept_refusals_per_second_per_uid_max: u32,
    /// Refused events of one user that are kept at once.
    pub kept_refusals_burst_per_uid: u32,
    /// Lines that are appended together.
    pub batch_lines_max: usize,
    /// Bytes of bodies that are appended together; one event more may fit in.
    pub batch_bytes_max: usize,
    /// Batches of one connection between reading and acknowledging.
    pub in_flight_batches_max: usize,
    /// Bytes of bodies of one connection between reading and acknowledging.
    pub in_flight_bytes_max: usize,
    /// The same for all connections together.
    pub in_flight_bytes_total_max: usize,
    /// Answers of one connection that wait to be read; beyond it no more lines are taken.
    pub answer_bytes_max: usize,
    /// How long a line may stay unfinished without another byte.
    pub line_timeout: Duration,
    /// How long answers may wait to be read without any progress.
    pub answer_timeout: Duration,
    /// The same once the agent is stopping.
    pub answer_timeout_stopping: Duration,
    /// After which time without a byte a connection's buffer is given back.
    pub idle_after: Duration,
    /// After which time without a byte a connection is closed, without losing what comes just then.
    pub idle_max: Option<Duration>,
    /// How often to see whether the socket's path still leads here.
    pub path_check_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // With one descriptor each, half of the 2,048 files that a service may usually open.
            connections_max: 1024,
            // The other half is kept for other users.
            connections_per_uid_max: 512,
            backlog: 1024,
            lines_per_second_per_uid_max: 0,
            kept_refusals_per_second_per_uid_max: 10,
            kept_refusals_burst_per_uid: 1_000,
            batch_lines_max: 1024,
            batch_bytes_max: 1 << 20,
            in_flight_batches_max: 8,
            in_flight_bytes_max: 4 << 20,
            in_flight_bytes_total_max: 64 << 20,
            answer_bytes_max: 256 << 10,
            line_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(30),
            answer_timeout_stopping: Duration::from_secs(1),
            idle_after: Duration::from_secs(2),
            // Applications meter rarely; a connection that outlives its application ends by itself.
            idle_max: Some(Duration::from_secs(3600)),
            path_check_every: Duration::from_secs(1),
        }
    }
}
