//! What a storm does, drawn before anything happens.

use std::env;
use std::time::Duration;

use crate::dice::{self, Dice};
use crate::upstream::Weather;

const ROUNDS: u64 = 25;

/// One life of the agent.
#[derive(Debug)]
pub(crate) struct Round {
    /// What the weather changes to before it.
    pub(crate) weather: Option<Weather>,
    /// New events for each producer.
    pub(crate) more: Vec<u64>,
    /// When it is killed.
    pub(crate) moment: Moment,
    /// Whether the index is deleted after it.
    pub(crate) loses_index: bool,
}

/// When the agent is killed.
#[derive(Debug)]
pub(crate) enum Moment {
    /// So much into its start, in hundredths of what a start took lately.
    Starting(u32),
    /// A moment after so many events of this life were acknowledged.
    Acknowledged(u64, Duration),
    /// So long after it had started.
    Running(Duration),
    /// Once it has delivered so many events.
    Delivered(u64),
    /// Once nothing is under way and, if it comes to that, nothing waits.
    Idle,
    /// Not at all: applications are killed with events in the kernel, and it ends in peace after so many
    /// acknowledgements, or all.
    Outliving(u64),
    /// So long after it was asked to stop, which was when so many events were acknowledged.
    Stopping(u64, Duration),
}

/// A storm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
    pub(crate) keeps_all: bool,
}

impl Plan {
    pub(crate) fn from_environment() -> Self {
        Self {
            seed: dice::seed("REVENIUM_CRASH_SEED"),
            rounds: dice::number("REVENIUM_CRASH_ROUNDS").unwrap_or(ROUNDS),
            keeps_all: env::var_os("REVENIUM_CRASH_KEEP").is_some(),
        }
    }

    /// Whether the default profile's key is refused before the kill with this number.
    pub(crate) fn has_wrong_key(self, kill: u64) -> bool {
        let from = self.rounds / 2;
        (from..from + (self.rounds / 40).max(3)).contains(&kill)
    }
}

impl Round {
    pub(crate) fn draw(dice: &mut Dice, producers: usize) -> Self {
        let weather = dice.one_in(4).then(|| match dice.between(0..=9) {
            0 => Weather::Calm,
            1 => Weather::Outage,
            2 | 3 => Weather::Gale,
            _ => Weather::Storm,
        });
        // Nothing, a little, a load, a flood.
        let most = match dice.between(0..=9) {
            0 => 0,
            1..=6 => 40,
            7 | 8 => 150,
            _ => 900,
        };
        let more: Vec<u64> = (0..producers).map(|_| dice.between(0..=most)).collect();
        let part = dice.between(0..=more.iter().sum());
        let moment = match dice.between(0..=25) {
            0..=4 => Moment::Starting(u32::try_from(dice.between(0..=130)).expect("is small")),
            5..=13 => Moment::Acknowledged(part, soon(dice)),
            14 | 15 => Moment::Running(dice.duration(Duration::from_millis(600))),
            16..=19 => Moment::Delivered(dice.between(1..=300)),
            24 | 25 => Moment::Outliving(part),
            20 | 21 => Moment::Stopping(part, dice.duration(Duration::from_millis(30))),
            _ => Moment::Idle,
        };
        Self { weather, more, moment, loses_index: dice.one_in(12) }
    }
}

/// At once, or within the time of a commit.
fn soon(dice: &mut Dice) -> Duration {
    if dice.one_in(2) { Duration::ZERO } else { dice.duration(Duration::from_millis(4)) }
}
