//! How much of what was not flushed happened to reach the device before a cut.

use crate::dice::Dice;

/// In hundredths: 0 for nothing, 100 for all of it as if it had been flushed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Luck(u64);

impl Luck {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        Self([0, 0, 15, 50, 50, 85, 100][usize::try_from(dice.between(0..=6)).expect("is small")])
    }

    /// Whether one thing was.
    pub(crate) fn keeps(self, dice: &mut Dice) -> bool {
        dice.between(0..=99) < self.0
    }

    /// Whether all of it was, in its last version.
    pub(crate) fn is_whole(self) -> bool {
        self.0 == 100
    }
}
