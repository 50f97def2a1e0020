//! Whose event it is: an API key and the profile that has it.
//!
//! A key that no profile has gets a profile of its own, named by the key's fingerprint, so that its
//! events are together and apart from all others. The fingerprint is a hash (UUIDv5, which is SHA-1) of
//! the key, and keys are random: it does not lead back to it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use crate::intake::PROFILE_DEFAULT;
use crate::secret::Secret;
use crate::web::are_equal;

/// How the names of profiles begin that an unknown key made.
pub const CLAIMABLE_PREFIX: &str = "key-";

/// Profiles that unknown keys have made, at most: each makes a lane for good, and keys are the
/// clients'. Events with further ones are not taken.
const STRANGERS_MAX: usize = 64;

/// Namespace of fingerprints: UUIDv5(DNS, "key.revenium-agent"). Frozen: they name profiles in the log.
const KEYS: Uuid = Uuid::from_u128(0x2600_2cad_875a_596a_b3f0_73d9_462f_dd55);

/// Every profile with its key as it is now, and the profiles that unknown keys made.
pub struct Tenants {
    profiles: Vec<(Arc<str>, watch::Receiver<Option<Secret>>)>,
    default: Arc<str>,
    is_strict: bool,
    strangers: Mutex<BTreeSet<Arc<str>>>,
}

/// Why an event has no profile.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTenant {
    /// There is no key, and the relay is strict.
    Missing,
    /// No profile has this key, and the relay is strict.
    Unknown,
    /// Too many unknown keys were met already.
    TooMany,
}

/// A profile, and whether this request is the first that an unknown key made it for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tenant {
    pub(super) profile: Arc<str>,
    pub(super) is_new: bool,
}

impl Tenants {
    /// `met` are the profiles that the log holds records of; those that an unknown key made count.
    pub fn new<S: AsRef<str>>(
        profiles: Vec<(Arc<str>, watch::Receiver<Option<Secret>>)>,
        is_strict: bool,
        met: impl IntoIterator<Item = S>,
    ) -> Self {
        let met = met.into_iter();
        let strangers = met.filter(|name| name.as_ref().starts_with(CLAIMABLE_PREFIX));
        let strangers = strangers.map(|name| name.as_ref().into()).collect();
        Self { profiles, default: PROFILE_DEFAULT.into(), is_strict, strangers: Mutex::new(strangers) }
    }

    /// The profile that has this key now.
    pub(super) fn of_key(&self, key: Option<&[u8]>) -> Result<Tenant, NoTenant> {
        let known = |profile: &Arc<str>| Tenant { profile: profile.clone(), is_new: false };
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return if self.is_strict { Err(NoTenant::Missing) } else { Ok(known(&self.default)) };
        };
        let has_key = |current: &Option<Secret>| {
            current.as_ref().is_some_and(|current| are_equal(key, current.reveal().as_bytes()))
        };
        if let Some((profile, _)) = self.profiles.iter().find(|(_, current)| has_key(&current.borrow())) {
            return Ok(known(profile));
        }
        if self.is_strict {
            return Err(NoTenant::Unknown);
        }
        self.stranger(&fingerprint(key))
    }

    fn stranger(&self, name: &str) -> Result<Tenant, NoTenant> {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(profile) = strangers.get(name) {
            return Ok(Tenant { profile: profile.clone(), is_new: false });
        }
        if strangers.len() >= STRANGERS_MAX {
            return Err(NoTenant::TooMany);
        }
        let profile: Arc<str> = name.into();
        strangers.insert(profile.clone());
        Ok(Tenant { profile, is_new: true })
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.profiles.iter().map(|(name, _)| name);
        f.debug_struct("Tenants").field("profiles", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// The name of the profile of a key that nobody has.
fn fingerprint(key: &[u8]) -> String {
    let hash = Uuid::new_v5(&KEYS, key).simple().to_string();
    // 64 bits: two of 64 keys share one with a chance of 1 in 10^16.
    format!("{CLAIMABLE_PREFIX}{}", &hash[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(is_strict: bool) -> (Tenants, watch::Sender<Option<Secret>>) {
        let (sender, team) = watch::channel(Some(Secret::new("hak_team")));
        let none = watch::channel(None).1;
        (
            Tenants::new(vec![("default".into(), none), ("team".into(), team)], is_strict, ["key-met", "x"]),
            sender,
        )
    }

    fn name(tenants: &Tenants, key: &str) -> Result<String, NoTenant> {
        tenants.of_key(Some(key.as_bytes())).map(|tenant| tenant.profile.to_string())
    }

    #[test]
    fn a_key_is_its_profiles_for_as_long_as_the_profile_has_it() {
        let (tenants, team) = tenants(false);
        assert_eq!(name(&tenants, "hak_team").as_deref(), Ok("team"));
        team.send_replace(Some(Secret::new("hak_new")));
        assert_eq!(name(&tenants, "hak_new").as_deref(), Ok("team"));
        assert_ne!(name(&tenants, "hak_team").as_deref(), Ok("team"));
    }

    #[test]
    fn an_unknown_key_has_a_profile_of_its_own_that_does_not_show_it() {
        let (tenants, _team) = tenants(false);
        let first = tenants.of_key(Some(b"hak_0123456789abcdef")).expect("has one");
        assert!(first.is_new);
        assert_eq!(&*first.profile, "key-234547e21fa25f12");
        assert_eq!(tenants.of_key(Some(b"hak_0123456789abcdef")).map(|again| again.is_new), Ok(false));
        assert_ne!(name(&tenants, "hak_0123456789abcdeg").expect("has one"), *first.profile);
        assert!(revenium_event::profile_is_valid(&first.profile));
    }

    #[test]
    fn without_a_key_it_is_the_defaults_unless_the_relay_is_strict() {
        for key in [None, Some(&b""[..])] {
            assert_eq!(tenants(false).0.of_key(key).map(|tenant| tenant.profile), Ok("default".into()));
            assert_eq!(tenants(true).0.of_key(key), Err(NoTenant::Missing));
        }
        assert_eq!(name(&tenants(true).0, "hak_other"), Err(NoTenant::Unknown));
        assert_eq!(name(&tenants(true).0, "hak_team").as_deref(), Ok("team"));
    }

    #[test]
    fn unknown_keys_make_a_bounded_number_of_profiles_restarts_included() {
        let (tenants, _team) = tenants(false);
        for i in 1..STRANGERS_MAX {
            assert!(name(&tenants, &format!("hak_{i}")).is_ok(), "{i}");
        }
        assert_eq!(name(&tenants, "hak_one_more"), Err(NoTenant::TooMany), "one of them the log had");
        assert!(name(&tenants, "hak_1").is_ok(), "it has its profile already");
    }
}
