//! What one answer means: for the account's pace, for the way of its lane, and for the record.

use std::time::Duration;

use revenium_store::{DeadNote, Record, Settlement};
use tracing::{debug, info, warn};

use super::super::clock::{Now, millis};
use super::super::pace::{Answer, Kind};
use super::super::pauses::Verdict;
use super::super::reason::Reason;
use super::super::status::{Observer, Settled, Trouble};
use super::super::work::{Answered, Flight, Sent};
use super::Account;
use crate::queue::Queue;
use crate::upstream::{Cause, Outcome, Refusal, Reply, SendError, Transport};

/// How long Revenium remembers an Idempotency-Key; after that the transactionId alone protects.
const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

impl<Q: Queue, T: Transport, O: Observer> Account<Q, T, O> {
    /// Settles one request.
    pub(super) fn answered(&mut self, answered: &Answered, now: Now) {
        let Answered { record, sent, answer } = answered;
        let sent = *sent;
        self.in_flight.remove(&record.seq);
        self.profiles[self.lanes[sent.lane].profile].in_flight -= 1;
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(record.body.len());
        let outcome = Outcome::of(answer.as_ref(), now.wall_ms);
        if self.tell_pace(sent, answer, &outcome, now) {
            self.save_pace(now);
        }
        let is_paused = self.tell_pauses(record, sent, &outcome, now);
        let (settlement, dead) = self.decide(record, sent, &outcome, is_paused, now);
        match &settlement {
            Settlement::Delivered => self.summary.delivered += 1,
            Settlement::Dead(_) => self.summary.dead += 1,
            _ => self.summary.postponed += 1,
        }
        self.tell_status(record, &outcome, now);
        self.shared.observer.settled(&Settled {
            record,
            outcome: outcome.name(),
            reply: answer.as_ref().ok(),
            status: status_of(&outcome, answer),
            took: now.at.saturating_duration_since(sent.at),
            since_received: Duration::from_millis(now.wall_ms.saturating_sub(record.received_at_ms)),
            at_ms: now.wall_ms,
            attempts: Flight::of(record, sent.at_ms).attempts,
            dead,
            after_key_expiry: record.first_attempt_at_ms != 0
                && sent.at_ms.saturating_sub(record.first_attempt_at_ms) > millis(KEY_LIFE),
        });
        self.shared.queue.settle(record.seq, settlement);
    }

    /// True if the pace has to be written down.
    fn tell_pace(
        &mut self,
        sent: Sent,
        answer: &Result<Reply, SendError>,
        outcome: &Outcome,
        now: Now,
    ) -> bool {
        let reply = match answer {
            Ok(reply) => Some(reply),
            Err(SendError::Unheard(_)) => None,
            // Nothing was sent, so nothing is known.
            Err(SendError::Unsendable(_) | SendError::Unroutable(_)) => return false,
        };
        let after = reply.and_then(|reply| reply.retry_after(now.wall_ms));
        let window = reply.and_then(Reply::rate_window);
        let kind = match kind(reply, outcome) {
            Kind::Refused if self.is_of_former_key(sent) => Kind::Other,
            kind => kind,
        };
        let answer = Answer { sent_at: sent.at, kind, after, window };
        let was_down = self.pace.outage().is_some();
        let is_to_be_saved = self.pace.answered(&answer, now.at);
        match (was_down, self.pace.outage().is_some()) {
            (false, true) => {
                let why = match outcome {
                    Outcome::Retry(retry) => retry.words.as_str(),
                    _ => "",
                };
                warn!(account = %self.name, why, "the upstream fails; probing until it answers");
            }
            (true, false) => info!(account = %self.name, "the upstream answers again"),
            _ => {}
        }
        is_to_be_saved
    }

    /// Whether the record's route is paused now.
    fn tell_pauses(&mut self, record: &Record, sent: Sent, outcome: &Outcome, now: Now) -> bool {
        let queue = &mut self.lanes[sent.lane];
        let profile = queue.profile;
        let verdict = match outcome {
            Outcome::Delivered => Verdict::Passed,
            Outcome::Refused(refusal) if refusal.status != 0 => Verdict::Passed,
            Outcome::Blocked(block) => Verdict::Blocked(block.status, &block.words),
            Outcome::Refused(_) | Outcome::Retry(_) => Verdict::Unclear,
        };
        if verdict == Verdict::Passed {
            queue.passed += 1;
        }
        let route = record.lane.route;
        // What the former key met says nothing about this one.
        if !self.is_of_former_key(sent) {
            let state = &mut self.profiles[profile];
            state.is_proven |= verdict == Verdict::Passed;
            let was_paused = state.pauses.is_paused(route);
            let sent = (sent.at, sent.is_probe);
            if state.pauses.answered(route, record.seq, sent, verdict, now) {
                let is_paused = state.pauses.is_paused(route);
                if let (false, true, Outcome::Blocked(block)) = (was_paused, is_paused, outcome) {
                    warn!(
                        profile = %record.lane.profile, kind = kind_name(route), status = block.status,
                        words = block.words, "paused: sending is refused for a reason that is not the events'"
                    );
                } else if was_paused && !is_paused {
                    info!(profile = %record.lane.profile, kind = kind_name(route), "resumed");
                }
                self.pauses_changed(profile, now);
            }
        }
        self.profiles[profile].pauses.is_paused(route)
    }

    fn is_of_former_key(&self, sent: Sent) -> bool {
        self.profiles[self.lanes[sent.lane].profile].key_number != sent.key_number
    }

    /// What becomes of the record, and why if it is dead.
    fn decide(
        &mut self,
        record: &Record,
        sent: Sent,
        outcome: &Outcome,
        is_paused: bool,
        now: Now,
    ) -> (Settlement, Option<Reason>) {
        let flight = Flight::of(record, sent.at_ms);
        let passed = self.lanes[sent.lane].passed;
        let is_in_vain = is_paused || self.is_of_former_key(sent);
        // A clock set back since makes it shorter, never longer; one set forward changes nothing.
        let began_ms = self.began_ms.min(now.wall_ms);
        let before = Duration::from_millis(began_ms.saturating_sub(flight.first_attempt_at_ms));
        let after = |wait: Duration| flight.postponed(now.wall_ms.saturating_add(millis(wait)));
        let (reason, status, words) = match outcome {
            Outcome::Delivered => {
                self.suspects.forget(record.seq);
                return (Settlement::Delivered, None);
            }
            Outcome::Refused(refusal) => (refusal_reason(refusal), refusal.status, &refusal.words),
            Outcome::Retry(retry) => {
                let may_be_its_fault = matches!(retry.cause, Cause::Failed | Cause::Asked);
                if !may_be_its_fault || !self.suspects.failed(record.seq, passed, before, now.at) {
                    return (after(self.backoff.delay(flight.attempts, retry.after, &mut self.random)), None);
                }
                (Reason::Suspect, retry.status, &retry.words)
            }
            // The pause keeps it, or the former key met this; without these it may go at once.
            Outcome::Blocked(_) if is_in_vain => return (after(Duration::ZERO), None),
            Outcome::Blocked(block) => match self.suspects.blocked(record.seq, passed, before, now.at) {
                Some(tries) => {
                    return (after(self.blocked_backoff.delay(tries, None, &mut self.random)), None);
                }
                None => (Reason::RefusedAlone, block.status, &block.words),
            },
        };
        self.suspects.forget(record.seq);
        warn!(
            seq = record.seq.0, profile = %record.lane.profile, kind = kind_name(record.lane.route),
            reason = reason.name(), status, "a record became a dead letter"
        );
        let note = DeadNote { reason: reason.code(), status, words: words.clone(), at_ms: now.wall_ms };
        (Settlement::Dead(note), Some(reason))
    }

    fn tell_status(&self, record: &Record, outcome: &Outcome, now: Now) {
        let (status, words) = match outcome {
            Outcome::Delivered => {
                self.shared.status.update(self.index, |account| account.delivered_at_ms = now.wall_ms);
                return;
            }
            Outcome::Retry(retry) => (retry.status, &retry.words),
            Outcome::Refused(refusal) => (refusal.status, &refusal.words),
            Outcome::Blocked(block) => (block.status, &block.words),
        };
        debug!(seq = record.seq.0, outcome = outcome.name(), status, "a record was not delivered");
        let trouble = Trouble {
            lane: record.lane.clone(),
            outcome: outcome.name(),
            status,
            words: words.clone(),
            at_ms: now.wall_ms,
        };
        self.shared.status.update(self.index, |account| account.trouble = Some(trouble));
    }
}

/// The route's name in logs; the drain itself only tells routes apart.
fn kind_name(route: u8) -> &'static str {
    revenium_event::Kind::from_code(route).map_or("other", revenium_event::Kind::name)
}

fn kind<'a>(reply: Option<&'a Reply>, outcome: &Outcome) -> Kind<'a> {
    let Some(reply) = reply else { return Kind::Failed };
    match reply.status {
        429 => Kind::Throttled(reply.limited_reason().unwrap_or_default()),
        408 | 500..=507 | 509..=599 => Kind::Failed,
        _ if reply.is_permanent_4xx() => Kind::Refused,
        _ if *outcome == Outcome::Delivered => Kind::Delivered,
        _ => Kind::Other,
    }
}

fn refusal_reason(refusal: &Refusal) -> Reason {
    match refusal.status {
        0 => Reason::Unsendable,
        409 => Reason::Mismatch,
        413 => Reason::TooLarge,
        _ => Reason::RefusedByUpstream,
    }
}

fn status_of(outcome: &Outcome, answer: &Result<Reply, SendError>) -> u16 {
    match outcome {
        // A body that broke off is an answer that was not heard.
        Outcome::Retry(retry) => retry.status,
        _ => answer.as_ref().map_or(0, |reply| reply.status),
    }
}
