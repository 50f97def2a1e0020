//! What becomes of events, in the words that callers get: outcomes, reasons, counts.

use std::fmt;
use std::time::Duration;

use revenium_event::line::Code;

use crate::trouble::Trouble;

/// What became of an event when it was emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Emitted {
    /// The kernel has it: the agent will get it even if this process is killed now.
    Sent,
    /// It is in this process's memory, and will be sent, or spooled while no agent is there.
    Queued,
    /// It is lost, and counted.
    Dropped(LossReason),
}

/// Why an event was lost, or was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// The memory for events was full: the agent is away or slow, and the spool has no room or cannot be
    /// written ([`Emitter::last_error`](crate::Emitter::last_error) says why).
    MemoryFull,
    /// It is longer than the agent takes.
    TooLarge,
    /// Metering is disabled by `REVENIUM_METERING_DISABLED=1`. Counted, but not reported as a loss.
    Disabled,
    /// The last handle was dropped, and neither the agent nor the spool took it in time.
    Closed,
    /// This process is the child of so many forks in a row, each with events of its own, that no more
    /// are told apart.
    ForkDepth,
    /// The agent refused it as wrong. It keeps it as a dead letter, if it could be read.
    RefusedInvalid,
    /// The agent refused it as too large.
    RefusedTooLarge,
    /// The agent had other bytes under its number. It keeps both for a person.
    RefusedConflict,
}

impl LossReason {
    pub(crate) const ALL: [Self; 8] = [
        Self::MemoryFull,
        Self::TooLarge,
        Self::Disabled,
        Self::Closed,
        Self::ForkDepth,
        Self::RefusedInvalid,
        Self::RefusedTooLarge,
        Self::RefusedConflict,
    ];

    pub(crate) fn of(code: Code) -> Self {
        match code {
            Code::TooLarge => Self::RefusedTooLarge,
            Code::Conflict => Self::RefusedConflict,
            _ => Self::RefusedInvalid,
        }
    }

    fn is_refusal(self) -> bool {
        matches!(self, Self::RefusedInvalid | Self::RefusedTooLarge | Self::RefusedConflict)
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemoryFull => "the memory for events was full",
            Self::TooLarge => "longer than the agent takes",
            Self::Disabled => "metering is disabled",
            Self::Closed => "the emitter was closed before it was taken",
            Self::ForkDepth => "too many forks in a row",
            Self::RefusedInvalid => "refused by the agent as invalid",
            Self::RefusedTooLarge => "refused by the agent as too large",
            Self::RefusedConflict => "refused by the agent as a conflict",
        })
    }
}

/// Events that were lost, as the callback of [`Builder::on_loss`](crate::Builder::on_loss) is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// How many, since the callback was last told of this reason.
    pub events: u64,
    /// What stood in the way, if something does.
    pub trouble: Option<Trouble>,
}

/// Why [`Emitter::emit_durable`](crate::Emitter::emit_durable) cannot say that an event is durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The agent did not take it; sending it again is no use.
    #[error("the agent refused the event: {0}")]
    Refused(Refused),
    /// There was no answer in time. The event may be durable; it is still kept, and goes on being sent or
    /// spooled. Do not emit it again.
    #[error("the agent did not answer within {} s; the event is kept", .0.as_secs_f64())]
    TimedOut(Duration),
    /// No agent was there, so it was flushed to a spool file, which the agent takes in when it is back. Do
    /// not emit it again.
    #[error("no agent was there; the event is in the spool")]
    Spooled,
    /// It was not taken in the first place, or given up at the end. It is not durable.
    #[error("the event was dropped: {0}")]
    Dropped(LossReason),
}

impl DurableError {
    /// Whether the event may be durable all the same, or become so: then it must not be emitted again.
    pub fn may_be_durable(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Spooled)
    }
}

/// What the agent said of an event that it did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Why, as one of the protocol's codes.
    pub reason: LossReason,
    /// The member at fault, if there is one.
    pub field: Option<String>,
    /// One sentence for a person.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// What a flush came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// Events emitted before the flush that are neither durable nor spooled nor refused: still in memory.
    pub in_memory: u64,
    /// Events that were spooled while it waited.
    pub spooled: u64,
    /// Events that became durable with the agent while it waited.
    pub durable: u64,
    /// Events that the agent refused for good while it waited.
    pub refused: u64,
}

impl FlushReport {
    /// Whether everything that was emitted before is out of this process's memory.
    pub fn is_complete(&self) -> bool {
        self.in_memory == 0
    }
}

/// What this process has emitted so far; after a fork a child counts from nothing.
///
/// `emitted` = `durable` + refused + `spooled` + dropped + `in_memory`, at every moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events given to `emit` and the like.
    pub emitted: u64,
    /// Events that were handed to the kernel at least once.
    pub sent: u64,
    /// Events that the agent said are durable.
    pub durable: u64,
    /// Events that were flushed to a spool file.
    pub spooled: u64,
    /// Events of spool files, also those of other processes, that were handed in and are durable.
    pub handed_in: u64,
    /// Events in memory.
    pub in_memory: u64,
    /// What those take, in bytes.
    pub in_memory_bytes: u64,
    /// What they may take.
    pub in_memory_bytes_max: u64,
    lost: [u64; LossReason::ALL.len()],
}

impl Stats {
    pub(crate) const ZERO: Self = Self {
        emitted: 0,
        sent: 0,
        durable: 0,
        spooled: 0,
        handed_in: 0,
        in_memory: 0,
        in_memory_bytes: 0,
        in_memory_bytes_max: 0,
        lost: [0; LossReason::ALL.len()],
    };

    /// Events lost or refused for this reason.
    pub fn lost(&self, reason: LossReason) -> u64 {
        self.lost[reason as usize]
    }

    /// Events dropped here, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.sum(|reason| !reason.is_refusal())
    }

    /// Events that the agent refused for good.
    pub fn refused(&self) -> u64 {
        self.sum(LossReason::is_refusal)
    }

    fn sum(&self, of: impl Fn(LossReason) -> bool) -> u64 {
        LossReason::ALL.into_iter().filter(|reason| of(*reason)).map(|reason| self.lost(reason)).sum()
    }

    pub(crate) fn lose(&mut self, reason: LossReason, events: u64) {
        self.lost[reason as usize] += events;
    }
}
