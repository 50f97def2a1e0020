//! Whose event it is: an API key, or its fingerprint, and the profile that has the key.
//!
//! A key that no profile has gets a profile of its own, named by the key's fingerprint, so that its
//! events are together and apart from all others. One list for all ways in, so that they agree.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use revenium_event::fingerprint::PREFIX as CLAIMABLE_PREFIX;
pub(crate) use revenium_event::fingerprint::{is_one as is_fingerprint, of as fingerprint};
use tokio::sync::watch;
use tracing::warn;

use crate::intake::PROFILE_DEFAULT;
use crate::keyring::Keyring;
use crate::secret::Secret;
use crate::web::are_equal;

/// Profiles that unknown keys have made, at most: each makes a lane for good, and keys are the
/// clients'. Events with further ones are not taken.
const STRANGERS_MAX: usize = 64;

/// A configured profile and its key as it is now.
pub type Named = (Arc<str>, watch::Receiver<Option<Secret>>);

/// Every profile with its key as it is now, and the profiles that unknown keys made.
pub struct Tenants {
    profiles: Vec<Named>,
    strangers: Mutex<BTreeSet<Arc<str>>>,
    /// Of an agent that clients may hand keys.
    keyring: Option<Arc<Keyring>>,
}

/// Why an event has no profile.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoTenant {
    /// There is no key, and there has to be one.
    Missing,
    /// No profile has this key or this name.
    Unknown,
    /// Too many unknown keys were met already.
    TooMany,
}

impl Tenants {
    /// `met` are the profiles that the log holds records of; those that an unknown key made count.
    pub fn new<S: AsRef<str>>(
        profiles: Vec<Named>,
        keyring: Option<Arc<Keyring>>,
        met: impl IntoIterator<Item = S>,
    ) -> Self {
        let met = met.into_iter();
        let strangers = met.filter(|name| name.as_ref().starts_with(CLAIMABLE_PREFIX));
        let strangers = strangers.map(|name| name.as_ref().into()).collect();
        Self { profiles, strangers: Mutex::new(strangers), keyring }
    }

    /// Profiles by their names alone: no key is any one's.
    pub fn by_name(names: impl IntoIterator<Item = Arc<str>>) -> Arc<Self> {
        let none = |name| (name, watch::channel(None).1);
        Arc::new(Self::new(names.into_iter().map(none).collect(), None, Vec::<&str>::new()))
    }

    /// The profile that has this key now. If `is_strict`, there is no other.
    pub(crate) fn of_key(&self, key: Option<&[u8]>, is_strict: bool) -> Result<Arc<str>, NoTenant> {
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return if is_strict { Err(NoTenant::Missing) } else { Ok(PROFILE_DEFAULT.into()) };
        };
        match self.with_key(|current| are_equal(key, current.reveal().as_bytes())) {
            Some(profile) => Ok(profile),
            None if is_strict => Err(NoTenant::Unknown),
            None => self.stranger(&fingerprint(key)),
        }
    }

    /// The profile that is called so; for the fingerprint of a key, the one that has the key now.
    pub(crate) fn of_name(&self, name: &str) -> Result<Arc<str>, NoTenant> {
        if let Some(profile) = self.configured().find(|known| ***known == *name) {
            return Ok(profile.clone());
        }
        if !is_fingerprint(name) {
            return Err(NoTenant::Unknown);
        }
        self.with_key_of(name).map_or_else(|| self.stranger(name), Ok)
    }

    /// The names of the configured profiles.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &Arc<str>> {
        self.profiles.iter().map(|(name, _)| name)
    }

    /// The keys that clients handed over, if this agent takes them; and none that a profile has.
    pub(crate) fn keyring_for(&self, name: &str) -> Option<&Keyring> {
        let is_known = !is_fingerprint(name) || self.with_key_of(name).is_some();
        self.keyring.as_deref().filter(|_| !is_known)
    }

    /// The configured profile whose key has this fingerprint.
    fn with_key_of(&self, name: &str) -> Option<Arc<str>> {
        self.with_key(|current| fingerprint(current.reveal().as_bytes()) == name)
    }

    fn with_key(&self, is_it: impl Fn(&Secret) -> bool) -> Option<Arc<str>> {
        let has_it = |(_, current): &&Named| current.borrow().as_ref().is_some_and(&is_it);
        self.profiles.iter().find(has_it).map(|(profile, _)| profile.clone())
    }

    fn stranger(&self, name: &str) -> Result<Arc<str>, NoTenant> {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(profile) = strangers.get(name) {
            return Ok(profile.clone());
        }
        if strangers.len() >= STRANGERS_MAX {
            return Err(NoTenant::TooMany);
        }
        let profile: Arc<str> = name.into();
        strangers.insert(profile.clone());
        // Where clients hand keys over, this one's is on its way.
        if self.keyring.is_none() {
            warn!(
                profile = name,
                "events came with an API key that no profile has; they are kept until `revenium-agent profile claim`"
            );
        }
        Ok(profile)
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants")
            .field("profiles", &self.configured().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants() -> (Tenants, watch::Sender<Option<Secret>>) {
        let (sender, team) = watch::channel(Some(Secret::new("hak_team")));
        let none = watch::channel(None).1;
        let profiles = vec![("default".into(), none), ("team".into(), team)];
        (Tenants::new(profiles, None, ["key-met", "x"]), sender)
    }

    fn name(tenants: &Tenants, key: &str) -> Result<String, NoTenant> {
        tenants.of_key(Some(key.as_bytes()), false).map(|profile| profile.to_string())
    }

    #[test]
    fn a_key_is_its_profiles_for_as_long_as_the_profile_has_it() {
        let (tenants, team) = tenants();
        assert_eq!(name(&tenants, "hak_team").as_deref(), Ok("team"));
        team.send_replace(Some(Secret::new("hak_new")));
        assert_eq!(name(&tenants, "hak_new").as_deref(), Ok("team"));
        assert_ne!(name(&tenants, "hak_team").as_deref(), Ok("team"));
    }

    #[test]
    fn an_unknown_key_has_a_profile_of_its_own_that_does_not_show_it() {
        let (tenants, _team) = tenants();
        assert_eq!(name(&tenants, "hak_0123456789abcdef").as_deref(), Ok("key-234547e21fa25f12"));
        assert_ne!(name(&tenants, "hak_0123456789abcdeg").as_deref(), Ok("key-234547e21fa25f12"));
        assert!(revenium_event::profile_is_valid("key-234547e21fa25f12"));
    }

    #[test]
    fn a_fingerprint_is_of_the_profile_that_has_the_key_and_else_of_its_own() {
        let (tenants, team) = tenants();
        let named = |name: &str| tenants.of_name(name).map(|profile| profile.to_string());
        let of_team = fingerprint(b"hak_team");
        assert_eq!(named(&of_team).as_deref(), Ok("team"));
        team.send_replace(Some(Secret::new("hak_new")));
        assert_eq!(named(&of_team).as_ref(), Ok(&of_team));
        assert_eq!(name(&tenants, "hak_team").as_ref(), Ok(&of_team), "as by the relay");
        assert_eq!(named("team").as_deref(), Ok("team"));
        for unknown in
            ["other", "key-", "key-234547e21fa25f1", "key-234547E21FA25F12", "key-234547e21fa25f123"]
        {
            assert_eq!(named(unknown), Err(NoTenant::Unknown), "{unknown}");
        }
    }

    #[test]
    fn without_a_key_it_is_the_defaults_unless_there_has_to_be_one() {
        let (tenants, _team) = tenants();
        for key in [None, Some(&b""[..])] {
            assert_eq!(tenants.of_key(key, false), Ok("default".into()));
            assert_eq!(tenants.of_key(key, true), Err(NoTenant::Missing));
        }
        assert_eq!(tenants.of_key(Some(b"hak_other"), true), Err(NoTenant::Unknown));
        assert_eq!(tenants.of_key(Some(b"hak_team"), true), Ok("team".into()));
    }

    #[test]
    fn unknown_keys_make_a_bounded_number_of_profiles_restarts_included() {
        let (tenants, _team) = tenants();
        for i in 1..STRANGERS_MAX {
            assert!(name(&tenants, &format!("hak_{i}")).is_ok(), "{i}");
        }
        assert_eq!(name(&tenants, "hak_one_more"), Err(NoTenant::TooMany), "one of them the log had");
        assert!(name(&tenants, "hak_1").is_ok(), "it has its profile already");
    }
}
