//! What is remembered of a folder's files from one look to the next. Pure, and bounded.
//!
//! A file that stays is tried again after a pause that doubles; one that is taken and cannot be
//! removed is not tried again; what was warned about is not warned about again.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::folder::{Found, Listing};

/// Files that are remembered: as many as are told of in one look.
const FILES_MAX: usize = 4096;

/// Strange names that were warned about; of further ones only their number is told.
const STRANGE_MAX: usize = 1024;

/// The pause before a file is tried again, the first and the longest: intake is to resume soon after
/// there is room.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct Memory {
    files: HashMap<String, Known>,
    strange: HashSet<String>,
    /// What stands in the way of the folder as a whole, as it was last warned about.
    trouble: Option<String>,
}

#[derive(Debug)]
struct Known {
    /// Another file under the same name is another file.
    id: (u64, u64),
    state: State,
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be tried again.
    Later { at: Instant, pause: Duration },
    /// Not what it should be.
    LeftAlone,
    /// Taken, and still there.
    Unremovable,
}

impl Memory {
    /// Forgets what is gone, and returns the files that are due.
    pub(super) fn due(&mut self, listing: &Listing, now: Instant) -> Vec<Found> {
        if listing.is_complete {
            let there: HashMap<&str, (u64, u64)> =
                listing.files.iter().map(|found| (found.name.as_str(), found.id)).collect();
            self.files.retain(|name, known| there.get(name.as_str()) == Some(&known.id));
            if listing.strange_count == 0 {
                self.strange.clear();
            }
        }
        let is_due = |found: &&Found| match self.known(found) {
            None => true,
            Some(Known { state: State::Later { at, .. }, .. }) => *at <= now,
            Some(_) => false,
        };
        listing.files.iter().filter(is_due).cloned().collect()
    }

    /// Whether there is room to remember that it cannot be removed: without it, it may not be taken. One
    /// that stayed before has its place.
    pub(super) fn may_take(&self, found: &Found) -> bool {
        self.has_room() || self.known(found).is_some()
    }

    fn has_room(&self) -> bool {
        self.files.len() < FILES_MAX
    }

    /// The file stays, for now; true if this is news.
    pub(super) fn later(&mut self, found: &Found, why: &str, now: Instant) -> bool {
        let last = self.known(found).and_then(|known| match known.state {
            State::Later { pause, .. } => Some(pause),
            _ => None,
        });
        let pause = last.map_or(AGAIN_AFTER, |pause| (pause * 2).min(AGAIN_AFTER_MAX));
        self.note(found, State::Later { at: now + pause, pause }, why)
    }

    /// The file stays, and is not to be opened again; true if this is news.
    pub(super) fn left_alone(&mut self, found: &Found, why: &str) -> bool {
        self.note(found, State::LeftAlone, why)
    }

    /// The file is taken and stays; true if this is news.
    pub(super) fn unremovable(&mut self, found: &Found, why: &str) -> bool {
        self.note(found, State::Unremovable, why)
    }

    /// The file is gone.
    pub(super) fn forget(&mut self, found: &Found) {
        self.files.remove(&found.name);
    }

    /// Whether a strange name is news.
    pub(super) fn is_new(&mut self, strange: &str) -> bool {
        self.strange.len() < STRANGE_MAX && self.strange.insert(strange.to_owned())
    }

    /// What stands in the way of the folder now, or nothing; true if this is a new one.
    pub(super) fn trouble(&mut self, trouble: Option<String>) -> bool {
        let is_new = trouble.is_some() && trouble != self.trouble;
        self.trouble = trouble;
        is_new
    }

    /// Whether a file waits to be taken in, rather than to be looked at by a person.
    pub(super) fn waits(&self, found: &Found) -> bool {
        !matches!(self.known(found), Some(Known { state: State::LeftAlone | State::Unremovable, .. }))
    }

    /// Why the first file of `listing` that stays does so.
    pub(super) fn first_reason(&self, listing: &Listing) -> Option<String> {
        let stays = |found: &Found| self.known(found).map(|known| format!("{}: {}", found.name, known.why));
        listing.files.iter().find_map(stays).or_else(|| self.trouble.clone())
    }

    fn known(&self, found: &Found) -> Option<&Known> {
        self.files.get(&found.name).filter(|known| known.id == found.id)
    }

    fn note(&mut self, found: &Found, state: State, why: &str) -> bool {
        let is_new = self.known(found).is_none_or(|known| known.why != why);
        if self.has_room() || self.files.contains_key(&found.name) {
            self.files.insert(found.name.clone(), Known { id: found.id, state, why: why.to_owned() });
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use revenium_event::{Producer, spool};

    use super::*;

    fn found(first: u64) -> Found {
        let producer = Producer::from_bytes([7; 16]);
        let name = spool::file_name(producer, first);
        Found { modified_s: 0, uid: 0, producer, first, name, bytes: 1, id: (1, first) }
    }

    fn listing(files: &[Found]) -> Listing {
        Listing { files: files.to_vec(), is_complete: true, ..Listing::default() }
    }

    #[test]
    fn a_file_that_stays_is_tried_again_after_pauses_that_double_and_are_told_once() {
        let (mut memory, start, file) = (Memory::default(), Instant::now(), found(1));
        let at = |seconds| start + Duration::from_secs(seconds);
        let all = listing(std::slice::from_ref(&file));
        assert!(memory.later(&file, "full", at(0)));
        assert_eq!((memory.due(&all, at(0)).len(), memory.due(&all, at(1)).len()), (0, 1));
        assert!(!memory.later(&file, "full", at(1)), "said already");
        assert_eq!((memory.due(&all, at(2)).len(), memory.due(&all, at(3)).len()), (0, 1));
        for _ in 0..20 {
            memory.later(&file, "full", at(10));
        }
        assert_eq!((memory.due(&all, at(24)).len(), memory.due(&all, at(25)).len()), (0, 1));
        assert!(memory.later(&file, "another reason", at(25)));
    }

    #[test]
    fn a_file_that_cannot_be_removed_is_not_due_until_another_has_its_name() {
        let (mut memory, file, now) = (Memory::default(), found(1), Instant::now());
        memory.unremovable(&file, "not permitted");
        assert!(memory.due(&listing(std::slice::from_ref(&file)), now).is_empty());
        assert!(!memory.waits(&file));
        let other = Found { id: (1, 99), ..file };
        assert_eq!(memory.due(&listing(std::slice::from_ref(&other)), now), [other]);
    }

    #[test]
    fn memory_is_bounded_and_then_nothing_more_is_taken() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for first in 0..FILES_MAX as u64 {
            assert!(memory.has_room());
            memory.left_alone(&found(first), "why");
        }
        assert!(!memory.may_take(&found(1 << 40)));
        assert!(memory.may_take(&found(7)), "what stayed may go");
        memory.later(&found(1 << 40), "why", now);
        assert_eq!(memory.files.len(), FILES_MAX);
        let strange = (0..10_000).filter(|i| memory.is_new(&i.to_string())).count();
        assert_eq!(strange, STRANGE_MAX);
        assert!(memory.due(&listing(&[]), now).is_empty());
        assert!(memory.has_room(), "what is gone is forgotten");
    }
}
