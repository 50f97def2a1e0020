//! Meeting all damage of a log at once, as the agent would meet it one by one.
//!
//! Damage in segments that nobody reads waits for the day on which they are claimed from or retired. Here it is
//! looked for, its bytes are kept, and what it took is counted as lost; the maintainer says again what the
//! damage took of the ends of records (`restate`). Of the log itself nothing is written over.

use std::fs::File;
use std::path::Path;

use crate::recover::{self, OpenError};
use crate::relocate;
use crate::restate;
use crate::segment::Pos;
use crate::shared::Shared;
use crate::survey::{Damage, Inspection, SurveyError, What};

/// A store's lock, for who must know that no agent has it open.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "the lock goes with it")] File);

impl Held {
    /// Takes the lock of the store in `dir`, and changes nothing.
    ///
    /// # Errors
    /// [`OpenError::Locked`] names who has it.
    pub fn of(dir: &Path) -> Result<Self, OpenError> {
        recover::hold(dir).map(Self)
    }
}

/// Looks at all of the log, and loses what cannot be read of it. The index has followed the log.
pub(crate) fn meet(shared: &Shared) -> Result<Inspection, SurveyError> {
    let found = Inspection::of_log(&shared.options.dir)?;
    for damage in &found.damage {
        lose(shared, damage);
    }
    Ok(found)
}

fn lose(shared: &Shared, damage: &Damage) {
    let (from, to) = damage.bytes;
    let at = Pos { ordinal: damage.segment, offset: from };
    match damage.what {
        What::Bodies | What::Directory => relocate::lose(shared, at),
        What::NoChunk => {
            if let Some(listed) = shared.listed(at.ordinal) {
                restate::met(shared, &listed.segment, from, to);
                relocate::lose_within(shared, at, to, |index| !index.is_rebuilding());
            }
        }
        // What was in a file that is gone is known when the store is open; a header says what others say too.
        What::Header | What::NoFile | What::Break | What::NoWatermark => {}
    }
}
