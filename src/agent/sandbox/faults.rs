//! What goes wrong, and when: a script of explicit steps, then chance.
//!
//! Each attempt at a metering route asks the script once. The first step that fits and has not
//! been used up decides; after the steps, a seeded chance does. The same seed gives the same
//! faults to the same sequence of attempts. What was injected is counted per kind.
//! This module decides only; `metering.rs` and `wire.rs` do it.

mod kind;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

pub(super) use kind::{Act, Extra};
pub use kind::{Class, KINDS, Kind};

/// A fault to inject: what kind, and how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The name of a [`Kind`], or `none`: this attempt goes well.
    pub kind: String,
    /// The `Retry-After` of an answer that has one, in seconds. Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
    /// How long a delay or a silence lasts, or how long a trickled answer takes per byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

/// A fault for attempts that fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens.
    pub fault: Fault,
    /// To how many attempts. Absent: every one that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Only on this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only when the `transactionId` contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
}

impl Step {
    /// The next `times` attempts meet a fault of `kind`.
    pub fn times(times: u64, kind: &str) -> Self {
        let fault = Fault { kind: kind.to_owned(), ..Fault::default() };
        Self { fault, times: Some(times), ..Self::default() }
    }
}

/// Faults by chance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// Where the sequence begins.
    pub seed: u64,
    /// Of a thousand attempts, how many meet a fault.
    pub per_mille: u32,
    /// How often each kind is drawn, relative to the others.
    pub weights: BTreeMap<String, u32>,
    /// The longest delay, in ms; each is drawn from 0 up to this.
    #[serde(default = "delay_ms_max")]
    pub delay_ms_max: u64,
    /// How long a silence lasts, in ms.
    #[serde(default = "silence_ms")]
    pub silence_ms: u64,
}

fn delay_ms_max() -> u64 {
    200
}

fn silence_ms() -> u64 {
    5_000
}

impl Chance {
    /// Every kind of `classes` with its usual weight.
    pub fn new(seed: u64, per_mille: u32, classes: &[Class]) -> Self {
        let weights = KINDS
            .iter()
            .filter(|kind| classes.contains(&kind.class))
            .map(|kind| (kind.name.to_owned(), kind.weight))
            .collect();
        Self { seed, per_mille, weights, delay_ms_max: delay_ms_max(), silence_ms: silence_ms() }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// In order; the first that fits and isn't used up decides.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What decides after the steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<Chance>,
}

impl Script {
    /// A crash test's upstream: three attempts in ten meet a fault of any kind that leaves the
    /// record deliverable. Nothing in it refuses a record for good.
    pub fn storm(seed: u64) -> Self {
        let chance = Chance::new(seed, 300, &[Class::Transient, Class::Blocking]);
        Self { steps: Vec::new(), chance: Some(chance) }
    }

    /// These steps, then nothing.
    pub fn steps(steps: Vec<Step>) -> Self {
        Self { steps, chance: None }
    }
}

/// Why a script can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// No kind has this name; [`KINDS`] has them all.
    #[error("no fault is called `{0}`")]
    UnknownKind(String),
    /// A chance that could draw nothing, or more than always.
    #[error("a chance needs at least one weight and at most 1000 per mille")]
    Chance,
}

/// A drawn fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) kind: &'static Kind,
    pub(super) retry_after_s: u32,
    pub(super) ms: Option<u64>,
}

/// The script in use and what it has injected.
#[derive(Debug)]
pub(super) struct Faults {
    /// Nothing can happen: nobody need take the lock.
    is_quiet: AtomicBool,
    state: Mutex<State>,
    injected: Vec<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    steps: Vec<(Step, Option<&'static Kind>)>,
    chance: Option<Dice>,
    random: u64,
}

/// A [`Chance`] made ready.
#[derive(Debug)]
struct Dice {
    chance: Chance,
    weights: Vec<(&'static Kind, u32)>,
    weight_sum: u32,
}

impl Faults {
    pub(super) fn new(script: Script) -> Result<Self, ScriptError> {
        let faults = Self {
            is_quiet: AtomicBool::new(true),
            state: Mutex::default(),
            injected: KINDS.iter().map(|_| AtomicU64::new(0)).collect(),
        };
        faults.replace(script)?;
        Ok(faults)
    }

    /// Puts `script` in the place of what is left of the present one. Counts go on.
    pub(super) fn replace(&self, script: Script) -> Result<(), ScriptError> {
        let state = State::new(script)?;
        let is_quiet = state.steps.is_empty() && state.chance.is_none();
        *self.lock() = state;
        self.is_quiet.store(is_quiet, Ordering::Release);
        Ok(())
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Acquire)
    }

    /// Whether a step asks for the transactionId, so that drawing must wait for the body.
    pub(super) fn looks_into_bodies(&self) -> bool {
        !self.is_quiet() && self.lock().steps.iter().any(|(step, _)| step.transaction.is_some())
    }

    /// Draws for one attempt and counts what was drawn.
    pub(super) fn draw(&self, path: &str, transaction: Option<&str>) -> Option<Drawn> {
        if self.is_quiet() {
            return None;
        }
        let drawn = self.lock().draw(path, transaction)?;
        self.injected[drawn.kind.index()].fetch_add(1, Ordering::Relaxed);
        Some(drawn)
    }

    /// How often each kind was injected, kinds that weren't left out.
    pub(super) fn injected(&self) -> BTreeMap<String, u64> {
        let counts = KINDS.iter().zip(&self.injected);
        counts
            .map(|(kind, count)| (kind.name.to_owned(), count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn kind(name: &str) -> Result<Option<&'static Kind>, ScriptError> {
    if name == "none" {
        return Ok(None);
    }
    match KINDS.iter().find(|kind| kind.name == name) {
        Some(kind) => Ok(Some(kind)),
        None => Err(ScriptError::UnknownKind(name.to_owned())),
    }
}

impl State {
    fn new(script: Script) -> Result<Self, ScriptError> {
        let mut state = Self::default();
        for step in script.steps {
            let kind = kind(&step.fault.kind)?;
            state.steps.push((step, kind));
        }
        if let Some(chance) = script.chance {
            let mut weights = Vec::new();
            for (name, weight) in &chance.weights {
                weights.push((kind(name)?.ok_or(ScriptError::Chance)?, *weight));
            }
            let weight_sum = weights.iter().fold(0_u32, |sum, (_, weight)| sum.saturating_add(*weight));
            if weight_sum == 0 || chance.per_mille > 1_000 {
                return Err(ScriptError::Chance);
            }
            state.random = chance.seed;
            state.chance = Some(Dice { chance, weights, weight_sum });
        }
        Ok(state)
    }

    fn draw(&mut self, path: &str, transaction: Option<&str>) -> Option<Drawn> {
        let fits = |step: &Step| {
            step.times != Some(0)
                && step.path.as_deref().is_none_or(|only| only == path)
                && step
                    .transaction
                    .as_deref()
                    .is_none_or(|part| transaction.is_some_and(|transaction| transaction.contains(part)))
        };
        if let Some((step, kind)) = self.steps.iter_mut().find(|(step, _)| fits(step)) {
            step.times = step.times.map(|left| left - 1);
            let kind = (*kind)?;
            return Some(Drawn {
                kind,
                retry_after_s: step.fault.retry_after_s.unwrap_or(1),
                ms: step.fault.ms,
            });
        }
        let Dice { chance, weights, weight_sum } = self.chance.as_ref()?;
        if below(&mut self.random, 1_000) >= u64::from(chance.per_mille) {
            return None;
        }
        let mut place = below(&mut self.random, u64::from(*weight_sum));
        let (kind, _) = weights.iter().find(|(_, weight)| {
            let is_here = place < u64::from(*weight);
            place = place.saturating_sub(u64::from(*weight));
            is_here
        })?;
        let ms = match kind.act {
            Act::StoreLate | Act::AnswerLate => {
                Some(below(&mut self.random, chance.delay_ms_max.saturating_add(1)))
            }
            Act::Silence | Act::StoreThenSilence => Some(chance.silence_ms),
            _ => None,
        };
        Some(Drawn { kind, retry_after_s: 1, ms })
    }
}

/// A number in `0..bound` (0 for a bound of 0), by splitmix64.
fn below(state: &mut u64, bound: u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % bound.max(1)
}

#[cfg(test)]
mod tests;
