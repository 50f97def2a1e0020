//! What a store whose power may go tells, line by line, to who outlives it.
//!
//! It says what it is about to do before, and what it was promised after. A line is one write to a
//! pipe: it is there whole or not at all.

use std::fmt;
use std::io::{self, Write};

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Waiting,
    Dead,
    /// Ended, or never stored.
    Gone,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// The store has this record, whole, under this number of its own.
    Holds(u64, u64, State),
    /// That was all it has.
    HoldsNoMore,
    /// A record is handed over.
    Hands(u64),
    /// A record is handed over that takes a dead letter's place.
    HandsFor(u64, u64),
    /// It is durable, under a number if that was told.
    Stored(u64, Option<u64>),
    /// A record is about to be in another state.
    Ends(u64, State),
    /// All such changes so far are durable.
    Settled,
    /// What must not be.
    Wrong(String),
}

impl Said {
    pub(crate) fn say(&self) {
        let line = format!("> {self}\n");
        // If nobody listens, nobody is left to be told.
        io::stderr().write_all(line.as_bytes()).expect("a parent listens");
    }

    /// What a line says; `None` if it is no such line, such as one of a panic's.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix("> ")?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split(' ');
        let mut number = || words.next()?.parse().ok();
        Some(match word {
            "holds" => Self::Holds(number()?, number()?, state(words.next()?)?),
            "holds-no-more" => Self::HoldsNoMore,
            "hands" => Self::Hands(number()?),
            "hands-for" => Self::HandsFor(number()?, number()?),
            "stored" => Self::Stored(number()?, number()),
            "ends" => Self::Ends(number()?, state(words.next()?)?),
            "settled" => Self::Settled,
            "wrong" => Self::Wrong(rest.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(n, seq, state) => write!(f, "holds {n} {seq} {state:?}"),
            Self::HoldsNoMore => f.write_str("holds-no-more"),
            Self::Hands(n) => write!(f, "hands {n}"),
            Self::HandsFor(n, old) => write!(f, "hands-for {n} {old}"),
            Self::Stored(n, Some(seq)) => write!(f, "stored {n} {seq}"),
            Self::Stored(n, None) => write!(f, "stored {n}"),
            Self::Ends(n, state) => write!(f, "ends {n} {state:?}"),
            Self::Settled => f.write_str("settled"),
            Self::Wrong(what) => write!(f, "wrong {}", what.replace('\n', " ")),
        }
    }
}

fn state(word: &str) -> Option<State> {
    [State::Waiting, State::Dead, State::Gone].into_iter().find(|state| format!("{state:?}") == word)
}
