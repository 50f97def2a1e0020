//! One account's loop: what may go, goes; what ends, is settled; then it waits.

mod answer;
mod claim;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use revenium_store::{Record, Seq, Settlement};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::backoff::Backoff;
use super::clock::{Clock, Now};
use super::lane::LaneQueue;
use super::pace::{Gate, Pace};
use super::pauses::Permit;
use super::profile::{Profile, ProfileState};
use super::random::Random;
use super::status::{Observer, Status};
use super::suspects::Suspects;
use super::work::{Event, Flight, Sent, Work};
use super::{DrainError, Settings, Summary};
use crate::queue::Queue;
use crate::upstream::Transport;

/// How soon after a look at the queue's lanes a hint makes the loop look again.
const LOOK_EACH_MIN: Duration = Duration::from_millis(20);
/// How often it looks while records wait: postponed ones become due without a hint.
const LOOK_EACH: Duration = Duration::from_millis(500);
/// How often it looks when it knows of nothing.
const LOOK_EACH_IDLE: Duration = Duration::from_secs(5);
/// Bytes of bodies on their way, at most: 512 requests with a body of 1 MiB each would be too many.
const IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How often a pace that was learned is written down.
const SAVE_EACH: Duration = Duration::from_secs(10);

/// What the accounts have in common.
pub(super) struct Shared<Q, T, O> {
    pub(super) settings: Settings,
    pub(super) queue: Arc<Q>,
    pub(super) transport: Arc<T>,
    pub(super) observer: Arc<O>,
    pub(super) status: Status,
    pub(super) clock: Clock,
}

/// One account at work.
pub(super) struct Account<Q, T, O> {
    shared: Arc<Shared<Q, T, O>>,
    /// Its place in the status.
    index: usize,
    name: Arc<str>,
    profiles: Vec<ProfileState>,
    pace: Pace,
    backoff: Backoff,
    /// For records that meet `Blocked` while their route is open.
    blocked_backoff: Backoff,
    suspects: Suspects,
    /// When this drain began, by the wall clock as it was when the process did: a claim or a key begins a drain anew.
    began_ms: u64,
    random: Random,
    lanes: Vec<LaneQueue>,
    /// The lanes' places, main routes first: the order in which a paused profile is probed.
    probe_order: Vec<usize>,
    /// Whose turn it is.
    turn: usize,
    /// Records chosen to probe with, waiting for the pace: lane and record.
    probes: Vec<(usize, Record)>,
    in_flight: HashMap<Seq, Flight>,
    in_flight_bytes: usize,
    work: Work,
    looked_at: Option<Instant>,
    is_stale: bool,
    has_waiting: bool,
    saved_at: Instant,
    is_stopping: bool,
    failed: Option<JoinError>,
    summary: Summary,
}

impl<Q: Queue, T: Transport, O: Observer> Account<Q, T, O> {
    pub(super) fn new(
        shared: &Arc<Shared<Q, T, O>>,
        index: usize,
        name: Arc<str>,
        profiles: Vec<Profile>,
        random: &mut Random,
    ) -> Self {
        let now = shared.clock.now();
        let settings = &shared.settings;
        let pace =
            Pace::new(settings.pacing, settings.in_flight_max, settings.backoff_max, random.fork(), now.at);
        let profiles = profiles
            .into_iter()
            .map(|profile| ProfileState::new(profile, settings.main_route, random.fork(), now))
            .collect();
        Self {
            index,
            name,
            profiles,
            pace,
            backoff: Backoff::new(Duration::from_secs(1), settings.backoff_max),
            blocked_backoff: Backoff::new(Duration::from_secs(10), Duration::from_secs(600)),
            suspects: Suspects::default(),
            began_ms: shared.clock.unset_ms(now),
            random: random.fork(),
            lanes: Vec::new(),
            probe_order: Vec::new(),
            turn: 0,
            probes: Vec::new(),
            in_flight: HashMap::new(),
            in_flight_bytes: 0,
            work: Work::default(),
            looked_at: None,
            is_stale: true,
            has_waiting: false,
            saved_at: now.at,
            is_stopping: false,
            failed: None,
            summary: Summary::default(),
            shared: shared.clone(),
        }
    }

    /// Runs until `stop` turns true and what is in flight has ended. `hints` tell of new records.
    pub(super) async fn run(
        mut self,
        mut hints: watch::Receiver<()>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Summary, DrainError> {
        self.start();
        loop {
            let now = self.shared.clock.now();
            self.is_stale |= hints.has_changed().unwrap_or(false);
            hints.mark_unchanged();
            self.look(now);
            let wake = self.dispatch(now);
            self.publish(now, Some(wake));
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = self.work.next() => self.ended(ended),
                () = sleep_until(wake) => {}
                Ok(()) = hints.changed(), if !self.is_stale => self.is_stale = true,
            }
            while let Some(ended) = self.work.try_next() {
                self.ended(ended);
            }
            if let Some(error) = self.failed.take() {
                return Err(DrainError::Panicked(error));
            }
        }
        self.stop().await
    }

    fn state_name(&self) -> String {
        format!("drain.pace.{}", self.name)
    }

    fn start(&mut self) {
        let now = self.shared.clock.now();
        if let Some(saved) = self.shared.queue.state(&self.state_name()) {
            self.pace.restore(&saved, now);
        }
        for (index, profile) in self.profiles.iter_mut().enumerate() {
            if profile.restore(&*self.shared.queue, now) {
                self.pace.forgive();
            }
            self.work.watch_key(index, profile.profile.key.clone());
        }
        self.publish_pauses(now);
    }

    fn save_pace(&mut self, now: Now) {
        self.saved_at = now.at;
        self.shared.queue.put_state(&self.state_name(), &self.pace.save(now));
    }

    /// Looks at the queue's lanes, if it is time to.
    fn look(&mut self, now: Now) {
        let since = self.looked_at.map(|at| now.at.saturating_duration_since(at));
        if since.is_some_and(|since| since < self.look_each(now.at)) {
            return;
        }
        self.looked_at = Some(now.at);
        self.is_stale = false;
        self.has_waiting = false;
        for stats in self.shared.queue.lanes() {
            let named = |state: &ProfileState| state.profile.name == stats.lane.profile;
            let Some(profile) = self.profiles.iter().position(named) else { continue };
            self.has_waiting |= stats.waiting > 0;
            self.profiles[profile].pauses.waiting(stats.lane.route, stats.waiting, now.at);
            if stats.waiting <= stats.claimed {
                continue;
            }
            match self.lanes.iter_mut().find(|queue| queue.lane == stats.lane) {
                Some(queue) => queue.hint(),
                None => {
                    let mut queue = LaneQueue::new(stats.lane, profile);
                    queue.hint();
                    self.lanes.push(queue);
                    self.probe_order = (0..self.lanes.len()).collect();
                    let main_route = self.shared.settings.main_route;
                    self.probe_order.sort_by_key(|lane| self.lanes[*lane].lane.route != main_route);
                }
            }
        }
    }

    fn look_each(&self, now: Instant) -> Duration {
        match (self.is_stale, self.has_waiting) {
            _ if self.pace.closed_until(now).is_some() => LOOK_EACH_IDLE,
            (true, _) => LOOK_EACH_MIN,
            (false, true) => LOOK_EACH,
            (false, false) => LOOK_EACH_IDLE,
        }
    }

    /// Starts all that may start now; returns when there may be more without anything ending.
    fn dispatch(&mut self, now: Now) -> Instant {
        let mut wake = self.looked_at.unwrap_or(now.at) + self.look_each(now.at);
        if let Some(until) = self.pace.closed_until(now.at) {
            // It may be long: the records are the queue's meanwhile.
            self.release_all();
            return wake.max(now.at + LOOK_EACH_MIN).min(until);
        }
        if let Some(at) = self.send_all(now) {
            wake = wake.min(at);
        }
        for place in 0..self.probe_order.len() {
            if let Some(at) = self.claim(self.probe_order[place], now) {
                wake = wake.min(at);
            }
        }
        wake
    }

    /// Sends what is claimed and may go. Returns when the pace opens again, if it closed.
    fn send_all(&mut self, now: Now) -> Option<Instant> {
        while let Some(lane) = self.next_lane(now.at) {
            if self.in_flight_bytes >= IN_FLIGHT_BYTES_MAX {
                return None;
            }
            match self.pace.gate(self.in_flight.len(), now.at) {
                Gate::Open => {}
                Gate::At(at) => return Some(at),
                Gate::Busy => return None,
            }
            if let Some(place) = self.probes.iter().position(|(probed, _)| *probed == lane) {
                let (lane, record) = self.probes.swap_remove(place);
                self.send(lane, record, true, now);
            } else if let Some(record) = self.lanes[lane].take() {
                self.send(lane, record, false, now);
            }
        }
        None
    }

    /// The lane whose turn it is, of those with a record that may go; probes come first.
    fn next_lane(&mut self, now: Instant) -> Option<usize> {
        if let Some((lane, _)) = self.probes.first() {
            return Some(*lane);
        }
        let count = self.lanes.len();
        let lane = (self.turn..self.turn + count).map(|turn| turn % count).find(|lane| {
            let queue = &self.lanes[*lane];
            let profile = &self.profiles[queue.profile];
            !queue.is_empty()
                && profile.trusts_key()
                && profile.pauses.permit(queue.lane.route, now) == Permit::Open
        })?;
        self.turn = lane + 1;
        Some(lane)
    }

    fn send(&mut self, lane: usize, record: Record, is_probe: bool, now: Now) {
        let profile = &mut self.profiles[self.lanes[lane].profile];
        let Some(key) = profile.key.clone() else {
            self.shared.queue.settle(record.seq, Settlement::Released);
            return;
        };
        profile.in_flight += 1;
        let sent = Sent { lane, at: now.at, at_ms: now.wall_ms, is_probe, key_number: profile.key_number };
        self.in_flight.insert(record.seq, Flight::of(&record, now.wall_ms));
        self.in_flight_bytes += record.body.len();
        self.pace.sent(now.at);
        self.work.send(&self.shared.transport, record, sent, key);
    }

    fn ended(&mut self, ended: Result<Event, JoinError>) {
        let now = self.shared.clock.now();
        match ended {
            Ok(Event::Answered(answered)) => self.answered(&answered, now),
            Ok(Event::Claimed(claim, claimed)) => self.claimed(claim, claimed, now),
            Ok(Event::KeyChanged(profile)) => self.key_changed(profile, now),
            Err(error) if error.is_cancelled() => {}
            Err(error) => self.failed = Some(error),
        }
    }

    fn key_changed(&mut self, profile: usize, now: Now) {
        let state = &mut self.profiles[profile];
        if state.refresh_key(now) {
            info!(profile = %state.profile.name, has_key = state.key.is_some(), "the API key changed");
            self.pace.forgive();
            self.pauses_changed(profile, now);
        }
        let key = self.profiles[profile].profile.key.clone();
        self.work.watch_key(profile, key);
    }

    /// A pause of `profile` began, changed or ended.
    fn pauses_changed(&mut self, profile: usize, now: Now) {
        let state = &self.profiles[profile];
        state.save(&*self.shared.queue, now);
        for queue in self.lanes.iter_mut().filter(|queue| queue.profile == profile) {
            if state.pauses.is_paused(queue.lane.route) {
                for record in queue.release() {
                    self.shared.queue.settle(record.seq, Settlement::Released);
                }
            } else {
                queue.hint();
            }
        }
        self.publish_pauses(now);
    }

    /// Lets what is in flight end until the deadline; the rest is to be sent again.
    async fn stop(mut self) -> Result<Summary, DrainError> {
        self.is_stopping = true;
        let deadline = Instant::now() + self.shared.settings.stop_deadline;
        self.release_all();
        self.publish(self.shared.clock.now(), Some(deadline));
        while !self.in_flight.is_empty() || self.work.has_claims() {
            tokio::select! {
                biased;
                Some(ended) = self.work.next() => self.ended(ended),
                () = sleep_until(deadline) => break,
            }
        }
        self.work.abandon();
        while let Some(ended) = self.work.next().await {
            self.ended(ended);
        }
        let now = self.shared.clock.now();
        for flight in std::mem::take(&mut self.in_flight).into_values() {
            self.summary.abandoned += 1;
            self.shared.queue.settle(flight.seq, flight.postponed(now.wall_ms));
        }
        self.save_pace(now);
        self.profiles.iter().for_each(|profile| profile.save(&*self.shared.queue, now));
        self.publish(now, None);
        self.failed.map_or(Ok(self.summary), |error| Err(DrainError::Panicked(error)))
    }

    /// Shows how it stands; the loop turns again by `turns_by`, if it does.
    fn publish(&mut self, now: Now, turns_by: Option<Instant>) {
        let pace = &self.pace;
        let in_flight = self.in_flight.len();
        self.shared.status.update(self.index, |status| {
            status.requests_per_second = pace.per_second();
            status.in_flight = in_flight;
            status.turns_by = turns_by;
            status.in_flight_max = pace.in_flight_max();
            status.is_slowed_by_refusals = pace.is_slowed_by_refusals();
            status.outage = pace.outage().map(|(since, next)| (now.wall_ms_at(since), now.wall_ms_at(next)));
            status.throttled = pace
                .throttled(now.at)
                .map(|throttle| (now.wall_ms_at(throttle.until), throttle.reason.clone()));
        });
        if now.at.saturating_duration_since(self.saved_at) >= SAVE_EACH && self.has_waiting {
            self.save_pace(now);
        }
    }

    fn publish_pauses(&self, now: Now) {
        let of = |state: &ProfileState| state.pauses.status(&state.profile.name, now);
        let pauses = self.profiles.iter().flat_map(of).collect();
        self.shared.status.update(self.index, |status| status.pauses = pauses);
    }
}

impl Flight {
    /// Tried, with what came of it unknown.
    fn postponed(self, not_before_ms: u64) -> Settlement {
        Settlement::Postponed {
            not_before_ms,
            attempts: self.attempts,
            first_attempt_at_ms: self.first_attempt_at_ms,
        }
    }
}
