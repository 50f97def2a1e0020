//! What the ways in and the drain tell, as metrics.

use std::time::Duration;

use revenium_event::line::Code;
use revenium_event::{Kind, Warning};

use crate::admin::SpoolStatus;
use crate::drain::{self, Reason};
use crate::gateway::{self, CameTo};
use crate::intake::{self, Seen};
use crate::metrics::{Limit, Metrics, Outcome, Rejected, Via};
use crate::receipts::{Receipt, Receipts};
use crate::spool;

/// Counts what a way in tells.
pub(super) struct Counted {
    metrics: Metrics,
    via: Via,
}

impl Counted {
    /// For events that come in by `via`.
    pub(super) fn new(metrics: Metrics, via: Via) -> Self {
        Self { metrics, via }
    }
}

impl intake::Observer for Counted {
    fn connection_opened(&self) {
        self.metrics.connection_opened();
    }
    fn connection_closed(&self) {
        self.metrics.connection_closed();
    }
    fn connection_refused(&self, code: Code) {
        let limit = if code == Code::Denied { Limit::NotAllowed } else { Limit::Connections };
        self.metrics.limit_reached(limit);
    }
    fn accept_failed(&self) {
        self.metrics.limit_reached(Limit::Accept);
    }
    fn stored(&self, event: &Seen) {
        self.metrics.received(self.via, event.kind.code(), 1);
        self.metrics.tokens(&event.tokens);
    }
    fn refused(&self, code: Code) {
        let rejected = match code {
            Code::Invalid => Rejected::Invalid,
            Code::TooLarge => Rejected::TooLarge,
            Code::Conflict => {
                self.metrics.dead_lettered(Reason::Conflict.code());
                Rejected::Conflict
            }
            Code::Full => Rejected::Full,
            Code::Stopping => Rejected::Stopping,
            Code::Disk => Rejected::Disk,
            // Said of connections, which have their own counts.
            Code::Denied | Code::Busy => return,
        };
        self.metrics.rejected(rejected);
    }
    fn refusal_kept(&self) {
        self.metrics.dead_lettered(Reason::RefusedAtIntake.code());
    }
    fn refusal_not_kept(&self) {
        self.metrics.limit_reached(Limit::KeptRefusals);
    }
    fn warned(&self, _kind: Kind, warning: &Warning) {
        self.metrics.event_warning(warning.what.label());
    }
    fn appended(&self, _records: usize, took: Duration) {
        self.metrics.committed_in(took);
    }
    fn throttled(&self) {
        self.metrics.limit_reached(Limit::LinesPerSecond);
    }
    fn held_back(&self) {
        self.metrics.limit_reached(Limit::InFlight);
    }
    fn stalled(&self) {
        self.metrics.limit_reached(Limit::UnreadAnswers);
    }
    fn line_timed_out(&self) {
        self.metrics.limit_reached(Limit::LineTime);
    }
}

impl spool::Counter for Counted {
    fn taken(&self, bad_lines: u64) {
        self.metrics.spool_taken(bad_lines);
    }
    fn looked(&self, standing: &SpoolStatus) {
        self.metrics.set_spool(standing);
    }
}

impl gateway::Counter for Counted {
    fn came_to(&self, what: CameTo) {
        self.metrics.gateway(what.into());
    }
}

/// Counts what the drain tells, and hands in a receipt of each delivery.
pub(super) struct Settling {
    metrics: Metrics,
    receipts: Receipts,
}

impl Settling {
    pub(super) fn new(metrics: Metrics, receipts: Receipts) -> Self {
        Self { metrics, receipts }
    }
}

impl drain::Observer for Settling {
    fn settled(&self, settled: &drain::Settled<'_>) {
        if let Some(outcome) = Outcome::ALL.iter().find(|outcome| outcome.name() == settled.outcome) {
            self.metrics.requested(*outcome, settled.took);
            if *outcome == Outcome::Delivered {
                self.metrics.delivered(settled.record.lane.route, settled.since_received);
                if !self.receipts.put(Receipt::of(settled)) {
                    self.metrics.receipts_missed(1);
                }
            }
        }
        if let Some(reason) = settled.dead {
            self.metrics.dead_lettered(reason.code());
        }
        if settled.after_key_expiry {
            self.metrics.sent_after_key_expiry();
        }
    }
}
