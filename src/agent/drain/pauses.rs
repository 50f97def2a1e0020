//! When a profile, or one route of it, is not sent to.
//!
//! `Blocked` is not about a record: a key, a URL, a bill. Once three distinct records of a route met
//! it with none passing in between, the route pauses; when the main route (completions) does, the
//! whole profile does. Everything is kept. A pause is probed with another record after a minute,
//! then ever more seldom, down to once in ten; the first that passes ends it. A changed key is
//! probed with at once. A profile without a key is paused too, and says so.
//!
//! Where fewer than three records wait, the same one three times pauses its route, never the
//! profile, and a record that comes later is probed with at once: it may be the record after all.
//!
//! Pure: `now` is given. Pauses survive a restart; one that met another key or URL is probed at once.

mod saved;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use revenium_store::Seq;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::clock::Now;
use super::random::Random;
use super::status::{PauseStatus, PauseWhy};

/// Distinct records that have to meet `Blocked`: one may be odd, three are no accident.
const RECORDS: usize = 3;
/// Or so many answers with none passing in between, if there are not so many records.
const ANSWERS: u32 = 3;
/// Waits between probes.
const PROBE_FIRST: Duration = Duration::from_secs(60);
const PROBE_MAX: Duration = Duration::from_secs(600);
/// How soon to look again when a route had no record to probe with.
const NOTHING_TO_PROBE: Duration = Duration::from_secs(10);
/// Records that met a pause and are not probed with again while there is another.
const MET_MAX: usize = 16;

/// Whether a route may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// Yes.
    Open,
    /// One record, to see whether the pause is over.
    Probe,
    /// Not before.
    At(Instant),
    /// Not before an answer or a key comes.
    Wait,
}

/// What one answer says about the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// The upstream took the record, or refused it for what is in it.
    Passed,
    /// Status and words.
    Blocked(u16, &'a str),
    /// It says nothing.
    Unclear,
}

/// The pauses of one profile.
#[derive(Debug, Clone)]
pub(super) struct Pauses {
    main_route: u8,
    has_key: bool,
    keyless_since_ms: u64,
    whole: Option<Pause>,
    routes: BTreeMap<u8, Route>,
    backoff: Backoff,
    random: Random,
}

#[derive(Debug, Clone, Default)]
struct Route {
    /// Distinct records that met `Blocked` since one passed.
    met: Vec<Seq>,
    /// Answers in which they did.
    answers: u32,
    pause: Option<Pause>,
    /// Not to be probed with before: it had no record for it.
    empty_until: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Pause {
    since: Instant,
    since_ms: u64,
    status: u16,
    words: String,
    probes: u32,
    next_probe: Instant,
    is_probing: bool,
    /// The last records that met it.
    met: VecDeque<Seq>,
    /// Whether enough distinct records met it to be sure that it is not about them.
    is_sure: bool,
    /// Records of the route that were waiting when last looked at.
    waiting: Option<u64>,
}

impl Pause {
    fn meets(&mut self, seq: Seq) {
        self.met.retain(|met| *met != seq);
        self.met.push_back(seq);
        if self.met.len() > MET_MAX {
            self.met.pop_front();
        }
    }
}

impl Route {
    fn clear(&mut self) {
        self.met.clear();
        self.answers = 0;
    }
}

impl Pauses {
    pub(super) fn new(main_route: u8, has_key: bool, random: Random, now: Now) -> Self {
        Self {
            main_route,
            has_key,
            keyless_since_ms: now.wall_ms,
            whole: None,
            routes: BTreeMap::new(),
            backoff: Backoff::new(PROBE_FIRST, PROBE_MAX),
            random,
        }
    }

    /// Whether `route` may be sent to. Of a paused profile's routes, ask for the main one first.
    pub(super) fn permit(&self, route: u8, now: Instant) -> Permit {
        if !self.has_key {
            return Permit::Wait;
        }
        let state = self.routes.get(&route);
        let Some(pause) = self.whole.as_ref().or_else(|| state?.pause.as_ref()) else {
            return Permit::Open;
        };
        if pause.is_probing {
            return Permit::Wait;
        }
        let empty_until = state.and_then(|state| state.empty_until);
        let at = empty_until.map_or(pause.next_probe, |until| until.max(pause.next_probe));
        if at > now { Permit::At(at) } else { Permit::Probe }
    }

    /// A record of `route` is being fetched to probe with.
    pub(super) fn probing(&mut self, route: u8) {
        if let Some(pause) = self.pause_of(route) {
            pause.is_probing = true;
        }
    }

    /// There was none that could be sent now.
    pub(super) fn found_no_probe(&mut self, route: u8, now: Instant) {
        if let Some(pause) = self.pause_of(route) {
            pause.is_probing = false;
        }
        self.routes.entry(route).or_default().empty_until = Some(now + NOTHING_TO_PROBE);
    }

    /// Of `records`, the one to probe `route` with: one that did not meet the pause, if there is one.
    pub(super) fn choose_probe(&mut self, route: u8, records: impl Iterator<Item = Seq>) -> Option<usize> {
        let pause = self.pause_of(route)?;
        let met = |seq: &Seq| pause.met.iter().position(|met| met == seq).map_or(0, |at| at + 1);
        records.enumerate().min_by_key(|(_, seq)| met(seq)).map(|(index, _)| index)
    }

    /// A record of `route`, sent at `sent_at`, was answered. True if a pause began, changed or ended.
    pub(super) fn answered(
        &mut self,
        route: u8,
        seq: Seq,
        (sent_at, is_probe): (Instant, bool),
        verdict: Verdict<'_>,
        now: Now,
    ) -> bool {
        match verdict {
            Verdict::Passed => self.passed(route, sent_at, is_probe, now.at),
            Verdict::Blocked(status, words) => self.blocked(route, seq, is_probe, (status, words), now),
            Verdict::Unclear if is_probe => {
                let wait = self.backoff.delay(1, None, &mut self.random);
                if let Some(pause) = self.pause_of(route) {
                    pause.is_probing = false;
                    pause.next_probe = now.at + wait;
                }
                true
            }
            Verdict::Unclear => false,
        }
    }

    fn passed(&mut self, route: u8, sent_at: Instant, is_probe: bool, now: Instant) -> bool {
        if let Some(state) = self.routes.get_mut(&route) {
            state.clear();
        }
        let ends = self.pause_of(route).is_some_and(|pause| is_probe || sent_at > pause.since);
        if !ends {
            return false;
        }
        if self.whole.take().is_some() {
            // What blocked the profile may have been what blocked its other routes.
            for state in self.routes.values_mut() {
                state.clear();
                state.pause.iter_mut().for_each(|pause| {
                    pause.next_probe = now;
                    pause.is_probing = false;
                });
            }
        } else if let Some(state) = self.routes.get_mut(&route) {
            state.pause = None;
        }
        self.routes.values_mut().for_each(|state| state.empty_until = None);
        true
    }

    fn blocked(
        &mut self,
        route: u8,
        seq: Seq,
        is_probe: bool,
        (status, words): (u16, &str),
        now: Now,
    ) -> bool {
        let probes = self.pause_of(route).map_or(1, |pause| pause.probes.saturating_add(1));
        let wait = self.backoff.delay(probes, None, &mut self.random);
        if let Some(pause) = self.pause_of(route) {
            pause.meets(seq);
            if is_probe {
                pause.probes = probes;
                pause.next_probe = now.at + wait;
                pause.is_probing = false;
                (pause.status, pause.words) = (status, words.to_owned());
            }
            let has_changed = is_probe || pause.met.len() >= RECORDS && !pause.is_sure;
            pause.is_sure |= pause.met.len() >= RECORDS;
            self.widen(route);
            return has_changed;
        }
        let state = self.routes.entry(route).or_default();
        state.answers += 1;
        if !state.met.contains(&seq) {
            state.met.push(seq);
        }
        if state.met.len() < RECORDS && state.answers < ANSWERS {
            return false;
        }
        state.pause = Some(Pause {
            since: now.at,
            since_ms: now.wall_ms,
            status,
            words: words.to_owned(),
            probes,
            next_probe: now.at + wait,
            is_probing: false,
            is_sure: state.met.len() >= RECORDS,
            met: std::mem::take(&mut state.met).into(),
            waiting: None,
        });
        self.widen(route);
        true
    }

    /// A pause of the main route that is surely not about its records is the whole profile's.
    fn widen(&mut self, route: u8) {
        if route != self.main_route || self.whole.is_some() {
            return;
        }
        if let Some(state) = self.routes.get_mut(&route)
            && state.pause.as_ref().is_some_and(|pause| pause.is_sure)
        {
            self.whole = state.pause.take();
        }
    }

    /// So many records of `route` wait. One that came since the last look may show that a pause is
    /// about the records that met it.
    pub(super) fn waiting(&mut self, route: u8, waiting: u64, now: Instant) {
        let Some(pause) = self.routes.get_mut(&route).and_then(|state| state.pause.as_mut()) else { return };
        let before = pause.waiting.replace(waiting);
        if !pause.is_sure && before.is_some_and(|before| waiting > before) {
            pause.next_probe = now;
        }
    }

    /// The profile's key is another, or was taken away: all pauses are to be probed now. Answers to
    /// what was sent with the old one are not to be told here.
    pub(super) fn key_changed(&mut self, has_key: bool, now: Now) {
        if self.has_key && !has_key {
            self.keyless_since_ms = now.wall_ms;
        }
        self.has_key = has_key;
        self.probe_now(now.at);
    }

    fn probe_now(&mut self, now: Instant) {
        let of_routes = self.routes.values_mut().filter_map(|state| {
            state.clear();
            state.empty_until = None;
            state.pause.as_mut()
        });
        for pause in of_routes.chain(&mut self.whole) {
            pause.next_probe = now;
            pause.probes = 0;
            pause.is_probing = false;
        }
    }

    /// Whether `route` is paused, by itself or with its profile.
    pub(super) fn is_paused(&self, route: u8) -> bool {
        !self.has_key
            || self.whole.is_some()
            || self.routes.get(&route).is_some_and(|state| state.pause.is_some())
    }

    /// The pause that holds `route`.
    fn pause_of(&mut self, route: u8) -> Option<&mut Pause> {
        match &mut self.whole {
            Some(pause) => Some(pause),
            None => self.routes.get_mut(&route)?.pause.as_mut(),
        }
    }

    fn each(&self) -> impl Iterator<Item = (Option<u8>, &Pause)> {
        let whole = self.whole.iter().map(|pause| (None, pause));
        let routes =
            self.routes.iter().filter_map(|(route, state)| Some((Some(*route), state.pause.as_ref()?)));
        whole.chain(routes)
    }

    /// What a person is told.
    pub(super) fn status(&self, profile: &str, now: Now) -> Vec<PauseStatus> {
        let mut all = Vec::new();
        if !self.has_key {
            all.push(PauseStatus {
                profile: profile.to_owned(),
                route: None,
                why: PauseWhy::NoKey,
                status: 0,
                words: "the profile has no API key".to_owned(),
                since_ms: self.keyless_since_ms,
                next_probe_ms: None,
            });
        }
        all.extend(self.each().map(|(route, pause)| PauseStatus {
            profile: profile.to_owned(),
            route,
            why: PauseWhy::Blocked,
            status: pause.status,
            words: pause.words.clone(),
            since_ms: pause.since_ms,
            next_probe_ms: Some(now.wall_ms_at(pause.next_probe)),
        }));
        all
    }
}

#[cfg(test)]
mod tests;
