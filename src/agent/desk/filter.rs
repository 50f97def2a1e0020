//! Which dead letters are meant. Pure.

use revenium_event::Kind;
use serde::{Deserialize, Serialize};

use super::DeskError;
use crate::drain::Reason;
use crate::queue::DeadLetter;

/// Numbers in one request; a command asks for more page by page.
pub(super) const SEQS_MAX: usize = 256;

/// Letters that fit all that is said here; an empty filter fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// These numbers, 256 at most; empty: any.
    pub seqs: Vec<u64>,
    /// Of this profile.
    pub profile: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// For this reason.
    pub reason: Option<String>,
    /// Dead since, milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Dead before, milliseconds since 1970.
    pub until_ms: Option<u64>,
}

/// A filter that can be asked.
pub(super) struct Checked<'a> {
    filter: &'a Filter,
    route: Option<u8>,
    reason: Option<u8>,
}

impl Filter {
    /// Reads the names in it.
    pub(super) fn check(&self) -> Result<Checked<'_>, DeskError> {
        if self.seqs.len() > SEQS_MAX {
            let message = format!("{} numbers at once; at most {SEQS_MAX} are taken", self.seqs.len());
            return Err(DeskError::invalid("seqs", message));
        }
        let route = self.kind.as_deref().map(|name| {
            let kind = Kind::from_name(name).ok_or_else(|| {
                let names = Kind::ALL.map(Kind::name).join(", ");
                DeskError::invalid("kind", format!("{name} is no kind; there are {names}"))
            });
            kind.map(Kind::code)
        });
        let reason = self.reason.as_deref().map(|name| {
            let reason = Reason::ALL.into_iter().find(|reason| reason.name() == name).ok_or_else(|| {
                let names = Reason::ALL.map(Reason::name).join(", ");
                DeskError::invalid("reason", format!("{name} is no reason; there are {names}"))
            });
            reason.map(Reason::code)
        });
        Ok(Checked { filter: self, route: route.transpose()?, reason: reason.transpose()? })
    }
}

impl Checked<'_> {
    /// The numbers that are asked for, ascending; none if any may be meant.
    pub(super) fn seqs(&self) -> Option<Vec<u64>> {
        let mut seqs = self.filter.seqs.clone();
        seqs.sort_unstable();
        seqs.dedup();
        (!seqs.is_empty()).then_some(seqs)
    }

    /// Whether a letter is meant, its number apart.
    pub(super) fn fits(&self, letter: &DeadLetter) -> bool {
        let (lane, note) = (&letter.record.lane, &letter.note);
        let Filter { profile, since_ms, until_ms, .. } = self.filter;
        profile.as_deref().is_none_or(|profile| profile == &*lane.profile)
            && self.route.is_none_or(|route| route == lane.route)
            && self.reason.is_none_or(|reason| reason == note.reason)
            && since_ms.is_none_or(|since| note.at_ms >= since)
            && until_ms.is_none_or(|until| note.at_ms < until)
    }
}
