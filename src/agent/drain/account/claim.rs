//! Getting records out of the queue, and giving back those that may not go.

use revenium_store::{Record, Settlement};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::super::clock::Now;
use super::super::pauses::Permit;
use super::super::status::Observer;
use super::super::work::Claim;
use super::Account;
use crate::queue::{Queue, ReadError};
use crate::upstream::Transport;

/// Records claimed to choose a probe from.
const PROBES: usize = 8;
/// For how many seconds ahead records are claimed.
const CLAIM_AHEAD_S: f64 = 0.5;

impl<Q: Queue, T: Transport, O: Observer> Account<Q, T, O> {
    /// Claims for `lane` what it needs, if it may be sent to. Returns when it may, if that is known.
    pub(super) fn claim(&mut self, lane: usize, now: Now) -> Option<Instant> {
        let records_max = self.claim_max();
        let queue = &mut self.lanes[lane];
        let profile = &mut self.profiles[queue.profile];
        let (end, records_max, is_probe) = match profile.pauses.permit(queue.lane.route, now.at) {
            Permit::Wait => return None,
            Permit::At(at) => return Some(at),
            Permit::Probe => {
                profile.pauses.probing(queue.lane.route);
                (queue.probe_end(), PROBES, true)
            }
            Permit::Open => {
                let (end, records_max) = queue.claim(records_max)?;
                (end, records_max, false)
            }
        };
        let claim = Claim { lane, end, records_max, is_probe };
        self.work.claim(&self.shared.queue, queue.lane.clone(), claim, now.wall_ms);
        None
    }

    /// As many records as the pace can use soon.
    fn claim_max(&self) -> usize {
        let Some(per_second) = self.pace.per_second() else { return usize::MAX };
        // Rates are positive and far below what a usize holds.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let records_max = (per_second * CLAIM_AHEAD_S).ceil() as usize;
        records_max.max(1)
    }

    pub(super) fn claimed(&mut self, claim: Claim, claimed: Result<Vec<Record>, ReadError>, now: Now) {
        let mut records = claimed.unwrap_or_else(|error| {
            let account = &*self.name;
            match error {
                // A long rebuild is told of where it happens.
                ReadError::IndexNotReady => {
                    debug!(account, "the index has yet to follow; looking again soon")
                }
                error => warn!(account, %error, "cannot claim records; looking again soon"),
            }
            Vec::new()
        });
        let queue = &mut self.lanes[claim.lane];
        let pauses = &mut self.profiles[queue.profile].pauses;
        let route = queue.lane.route;
        if claim.is_probe {
            let chosen = pauses.choose_probe(route, records.iter().map(|record| record.seq));
            match chosen {
                Some(index) if !self.is_stopping => {
                    let record = records.swap_remove(index);
                    self.probes.push((claim.lane, record));
                }
                _ => pauses.found_no_probe(route, now.at),
            }
        } else {
            let may_go = pauses.permit(route, now.at) == Permit::Open && !self.is_stopping;
            let taken = if may_go { std::mem::take(&mut records) } else { Vec::new() };
            let asked = if may_go { claim.records_max } else { 0 };
            queue.claimed(claim.end, asked, taken);
        }
        for record in records {
            self.shared.queue.settle(record.seq, Settlement::Released);
        }
    }

    /// Gives back all claimed records that are not on their way.
    pub(super) fn release_all(&mut self) {
        for queue in &mut self.lanes {
            for record in queue.release() {
                self.shared.queue.settle(record.seq, Settlement::Released);
            }
        }
        for (lane, record) in std::mem::take(&mut self.probes) {
            let queue = &self.lanes[lane];
            let now = self.shared.clock.now();
            self.profiles[queue.profile].pauses.found_no_probe(queue.lane.route, now.at);
            self.shared.queue.settle(record.seq, Settlement::Released);
        }
    }
}
