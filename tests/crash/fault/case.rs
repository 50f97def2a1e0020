//! What is done to the agent, and what it is called: `kill rename 3`, or `kill fsync 2, then openat 40, index lost`.

use std::collections::BTreeMap;
use std::fmt;

use super::place::Place;
use super::strace::Trace;
use crate::dice::Dice;

/// Calls that are struck. `write` is not: most are wake-ups and log lines, and the ballast, which is worth nothing.
pub(crate) const CALLS: [&str; 13] = [
    "pwrite64",
    "fdatasync",
    "fsync",
    "sync_file_range",
    "rename",
    "unlink",
    "unlinkat",
    "openat",
    "ftruncate",
    "mkdir",
    "sendto",
    "writev",
    "connect",
];
/// Of these, those that no disk answers: nothing is gained by failing them with a disk's errors.
const OF_SOCKETS: [&str; 3] = ["sendto", "writev", "connect"];

/// Files of the log that there are when a case begins. Calls that no thread is the first to make so many of are
/// reached by counting those of one file alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Of {
    Oldest,
    Written,
    Next,
    Watermark,
}

/// The N-th call of a kind, counted in each thread; of all files, or of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Strike {
    pub(crate) call: &'static str,
    pub(crate) at: u64,
    pub(crate) of: Option<Of>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Kill,
    /// The call is not made, and this is its error.
    Error(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) what: What,
    pub(crate) strike: Strike,
    /// A kill in the life after it.
    pub(crate) then: Option<Strike>,
    /// Whether the index is gone when the life begins.
    pub(crate) loses_index: bool,
    /// Where the map has it.
    pub(crate) expected: Place,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Kill => "kill",
            What::Error(name) => name,
        };
        write!(f, "{what} {}", self.strike)?;
        if let Some(strike) = self.then {
            write!(f, ", then {strike}")?;
        }
        if self.loses_index { f.write_str(", index lost") } else { Ok(()) }
    }
}

impl Case {
    /// The case with this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(", ");
        let (what, strike) = parts.next()?.split_once(' ')?;
        let what = match what {
            "kill" => What::Kill,
            "EIO" => What::Error("EIO"),
            "ENOSPC" => What::Error("ENOSPC"),
            _ => return None,
        };
        let mut case = Self {
            what,
            strike: Strike::parse(strike)?,
            then: None,
            loses_index: false,
            expected: Place::Other,
        };
        for part in parts {
            match part.strip_prefix("then ") {
                Some(strike) => case.then = Some(Strike::parse(strike)?),
                None if part == "index lost" => case.loses_index = true,
                None => return None,
            }
        }
        Some(case)
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, at, of } = self;
        write!(f, "{call} {at}")?;
        of.map_or(Ok(()), |of| write!(f, " of {}", of.name()))
    }
}

impl Strike {
    fn parse(text: &str) -> Option<Self> {
        let (call, at) = text.split_once(' ')?;
        let call = CALLS.into_iter().find(|known| *known == call)?;
        let (at, of) = at.split_once(" of ").map_or((at, None), |(at, of)| (at, Some(of)));
        let of = match of {
            Some(name) => Some(Of::ALL.into_iter().find(|of| of.name() == name)?),
            None => None,
        };
        Some(Self { call, at: at.parse().ok()?, of })
    }
}

impl Of {
    const ALL: [Self; 4] = [Self::Oldest, Self::Written, Self::Next, Self::Watermark];

    fn name(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Written => "written",
            Self::Next => "next",
            Self::Watermark => "watermark",
        }
    }

    /// How its name begins.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Oldest => "seg-0000000000000001-",
            Self::Written => "seg-0000000000000002-",
            Self::Next => "seg-0000000000000003-",
            Self::Watermark => "watermark",
        }
    }
}

/// Each call of the map, with each of `whats`; a kill often with one more in the recovery.
pub(crate) fn every(map: &[(bool, Trace)], whats: &[What], dice: &mut Dice) -> Vec<Case> {
    let mut all = Vec::new();
    let ofs = || [None].into_iter().chain(Of::ALL.map(Some));
    for what in whats {
        let calls = CALLS.iter().filter(|call| *what == What::Kill || !OF_SOCKETS.contains(call));
        for (call, of) in calls.flat_map(|call| ofs().map(move |of| (call, of))) {
            for (loses_index, trace) in map {
                for (at, expected) in (1..).zip(trace.firsts(call, of, *loses_index)) {
                    let strike = Strike { call, at, of };
                    all.push(Case { what: *what, strike, then: None, loses_index: *loses_index, expected });
                }
            }
        }
    }
    let strikes = all.iter().filter(|case| case.expected != Place::Other);
    let strikes: Vec<Strike> = strikes.map(|case| case.strike).collect();
    let last = strikes.len() as u64 - 1;
    for case in all.iter_mut().filter(|case| case.what == What::Kill) {
        let then = strikes[usize::try_from(dice.between(0..=last)).expect("is small")];
        case.then = dice.one_in(2).then_some(then);
    }
    all
}

/// As [`shuffled`], and of each place one in turn: most calls are of few places.
pub(crate) fn in_turn<'a>(cases: impl Iterator<Item = &'a Case>, dice: &mut Dice) -> Vec<Case> {
    let mut seen: BTreeMap<Place, u64> = BTreeMap::new();
    let turn = |case: Case| {
        let turn = seen.entry(case.expected).or_default();
        *turn += 1;
        (*turn, case)
    };
    let mut turns: Vec<(u64, Case)> = shuffled(cases, dice).into_iter().map(turn).collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, case)| case).collect()
}

/// In an order that chance gives.
pub(crate) fn shuffled<'a>(cases: impl Iterator<Item = &'a Case>, dice: &mut Dice) -> Vec<Case> {
    let mut drawn: Vec<(u64, Case)> = cases.map(|case| (dice.throw(), case.clone())).collect();
    drawn.sort_by_key(|(at, _)| *at);
    drawn.into_iter().map(|(_, case)| case).collect()
}
