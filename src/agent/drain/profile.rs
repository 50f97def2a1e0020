//! A profile as the drain needs it: where it belongs, its key as it changes, and its pauses.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::clock::Now;
use super::pauses::Pauses;
use super::random::Random;
use crate::upstream::ApiKey;

/// A named upstream with a key.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name: that of its lanes.
    pub name: Arc<str>,
    /// The account whose pace it shares.
    pub account: Arc<str>,
    /// Its upstream's URL, for telling after a restart whether a pause still concerns it.
    pub upstream: String,
    /// Its key, `None` while there is none. A change is taken up at once.
    pub key: watch::Receiver<Option<ApiKey>>,
}

/// Groups profiles by the account whose pace they share.
pub fn by_account(profiles: Vec<Profile>) -> BTreeMap<Arc<str>, Vec<Profile>> {
    let mut accounts: BTreeMap<Arc<str>, Vec<Profile>> = BTreeMap::new();
    for profile in profiles {
        accounts.entry(profile.account.clone()).or_default().push(profile);
    }
    accounts
}

/// Requests on their way until the first is taken: as many records as make a pause.
const UNPROVEN_IN_FLIGHT_MAX: usize = 3;

/// One profile at work.
pub(super) struct ProfileState {
    pub(super) profile: Profile,
    pub(super) key: Option<ApiKey>,
    /// Counts the keys that were in use: an answer to another one tells nothing of this.
    pub(super) key_number: u32,
    /// Whether the upstream took a record with this key. Until then few go at a time, since a wrong
    /// key is refused as often as it is tried, and too many refusals block an account.
    pub(super) is_proven: bool,
    /// Requests on their way.
    pub(super) in_flight: usize,
    pub(super) pauses: Pauses,
}

impl ProfileState {
    pub(super) fn new(mut profile: Profile, main_route: u8, random: Random, now: Now) -> Self {
        let key = profile.key.borrow_and_update().clone();
        let pauses = Pauses::new(main_route, key.is_some(), random, now);
        Self { profile, key, key_number: 0, is_proven: false, in_flight: 0, pauses }
    }

    /// Whether one more request may go, as far as the key is concerned.
    pub(super) fn trusts_key(&self) -> bool {
        self.is_proven || self.in_flight < UNPROVEN_IN_FLIGHT_MAX
    }

    /// The name under which the queue keeps its pauses.
    fn state_name(&self) -> String {
        format!("drain.pauses.{}", self.profile.name)
    }

    fn way(&self) -> u32 {
        self.key.as_ref().map_or(0, |key| key.way_to(&self.profile.upstream))
    }

    pub(super) fn save(&self, queue: &impl crate::queue::Queue, now: Now) {
        queue.put_state(&self.state_name(), &self.pauses.save(self.way(), now));
    }

    /// True if there were pauses that another key or URL had met.
    pub(super) fn restore(&mut self, queue: &impl crate::queue::Queue, now: Now) -> bool {
        let saved = queue.state(&self.state_name());
        saved.is_some_and(|saved| self.pauses.restore(&saved, self.way(), now))
    }

    /// Takes up the key as it is now. True if it is another.
    pub(super) fn refresh_key(&mut self, now: Now) -> bool {
        let key = self.profile.key.borrow_and_update().clone();
        if key == self.key {
            return false;
        }
        self.key = key;
        self.key_number += 1;
        self.is_proven = false;
        self.pauses.key_changed(self.key.is_some(), now);
        true
    }
}
