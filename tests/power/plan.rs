//! How much is cut, and where chance begins.

use std::env;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

const ROUNDS: u64 = 150;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
}

impl Plan {
    pub(crate) fn from_environment() -> Self {
        let number = |name| {
            let text = env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
        };
        let clock = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            now.as_secs() ^ u64::from(now.subsec_nanos()) << 32
        };
        let plan = Self {
            seed: number("REVENIUM_POWER_SEED").unwrap_or_else(clock),
            rounds: number("REVENIUM_POWER_ROUNDS").unwrap_or(ROUNDS),
        };
        let Self { seed, rounds } = plan;
        let _ =
            writeln!(io::stderr(), "repeat with REVENIUM_POWER_SEED={seed} REVENIUM_POWER_ROUNDS={rounds}");
        plan
    }
}
