//! How much is cut, and where chance begins.

use std::io::{self, Write};

use crate::dice;

const ROUNDS: u64 = 150;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
}

impl Plan {
    pub(crate) fn from_environment() -> Self {
        let plan = Self {
            seed: dice::seed("REVENIUM_POWER_SEED"),
            rounds: dice::number("REVENIUM_POWER_ROUNDS").unwrap_or(ROUNDS),
        };
        let Self { seed, rounds } = plan;
        let _ =
            writeln!(io::stderr(), "repeat with REVENIUM_POWER_SEED={seed} REVENIUM_POWER_ROUNDS={rounds}");
        plan
    }
}
