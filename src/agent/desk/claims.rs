//! Unknown API keys that a person has claimed for a profile.
//!
//! Events that came with a key nobody configured wait under the profile `key-<fingerprint>`. A claim
//! says whose they are: from then on they are sent with that profile's URL, key, account and pace.
//! They keep their own lanes, since a record's identity is within its profile. Claims are a small
//! value in the log, durable before they are answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use revenium_event::profile_is_valid;
use revenium_store::Store;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Claimed, DURABLE_TIME_MAX, DeskError, FOLLOW_TIME_MAX};
use crate::tenant::CLAIMABLE_PREFIX;

/// Most claims: with names of 64 bytes each they fit a value of 4 KiB in the log. A fleet with more
/// unknown keys has profiles to configure.
pub const CLAIMS_MAX: usize = 30;

/// Under which name the log keeps them.
const STATE: &str = "claims";

/// Unknown keys' profiles, each with the profile that it is claimed for.
pub type ClaimMap = BTreeMap<Arc<str>, Arc<str>>;

/// Whether `profile` is one of an unknown key.
pub fn is_unknown_key(profile: &str) -> bool {
    profile.strip_prefix(CLAIMABLE_PREFIX).is_some_and(|fingerprint| !fingerprint.is_empty())
        && profile_is_valid(profile)
}

/// A claim to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// The unknown key's profile, `key-<fingerprint>`.
    pub profile: String,
    /// The profile that it is claimed for.
    pub claim_as: String,
    /// Even if it is claimed for another.
    pub force: bool,
}

/// All claims, and who follows them.
pub struct Claims {
    configured: Vec<Arc<str>>,
    current: watch::Sender<ClaimMap>,
}

impl Claims {
    /// What the log keeps. What cannot be read is no claim: its events stay paused.
    pub fn open(store: &Store, configured: Vec<Arc<str>>) -> Self {
        let kept = store.state(STATE).unwrap_or_default();
        let read: BTreeMap<String, String> = match serde_json::from_slice(&kept) {
            _ if kept.is_empty() => BTreeMap::new(),
            Ok(read) => read,
            Err(error) => {
                warn!(%error, "the claims of unknown keys cannot be read; claim them again");
                BTreeMap::new()
            }
        };
        for (profile, claimed_as) in read.iter().filter(|(_, name)| !contains(&configured, name)) {
            warn!(profile, claimed_as, "claimed for a profile that is not configured: its events wait");
        }
        let read = read.into_iter().map(|(profile, name)| (profile.into(), name.into())).collect();
        Self { configured, current: watch::Sender::new(read) }
    }

    /// The claims as they are now, and a change whenever one is made.
    pub fn follow(&self) -> watch::Receiver<ClaimMap> {
        self.current.subscribe()
    }

    /// Makes a claim; durable when this returns. Blocks; for one caller at a time.
    pub(super) fn claim(&self, store: &Store, request: &ClaimRequest) -> Result<Claimed, DeskError> {
        let ClaimRequest { profile, claim_as, force } = request;
        let mut claims = self.current.borrow().clone();
        let answer =
            |was_already| Claimed { profile: profile.clone(), claimed_as: claim_as.clone(), was_already };
        self.check(store, profile, claim_as)?;
        match claims.get(profile.as_str()) {
            Some(before) if **before == **claim_as => return Ok(answer(true)),
            Some(before) if !force => {
                let (profile, claimed_as) = (profile.clone(), before.to_string());
                return Err(DeskError::ClaimedOtherwise { profile, claimed_as });
            }
            None if claims.len() >= CLAIMS_MAX => return Err(DeskError::TooManyClaims(CLAIMS_MAX)),
            _ => {}
        }
        claims.insert(profile.as_str().into(), claim_as.as_str().into());
        store.put_state(STATE, &encode(&claims));
        if !store.wait_settled(DURABLE_TIME_MAX) {
            store.put_state(STATE, &encode(&self.current.borrow()));
            return Err(DeskError::NotDurable);
        }
        info!(profile, claimed_as = claim_as, "an unknown key was claimed");
        self.current.send_replace(claims);
        Ok(answer(false))
    }

    fn check(&self, store: &Store, profile: &str, claim_as: &str) -> Result<(), DeskError> {
        if !is_unknown_key(profile) {
            let message =
                format!("{profile:?} is no unknown key's profile; these are named key-<fingerprint>");
            return Err(DeskError::invalid("profile", message));
        }
        if contains(&self.configured, profile) {
            return Err(DeskError::invalid(
                "profile",
                format!("{profile} is configured, so it needs no claim"),
            ));
        }
        if !contains(&self.configured, claim_as) {
            let names = self.configured.join(", ");
            return Err(DeskError::invalid(
                "claim_as",
                format!("profile {claim_as} is not configured here; there is {names}"),
            ));
        }
        if !store.wait_followed(FOLLOW_TIME_MAX) {
            return Err(DeskError::NotReady);
        }
        if !store.lanes().iter().any(|lane| *lane.lane.profile == *profile) {
            let message = format!("no event came with {profile}; `profile list` shows those that did");
            return Err(DeskError::invalid("profile", message));
        }
        Ok(())
    }
}

fn contains(names: &[Arc<str>], name: &str) -> bool {
    names.iter().any(|known| **known == *name)
}

fn encode(claims: &ClaimMap) -> Vec<u8> {
    let texts: BTreeMap<&str, &str> = claims.iter().map(|(profile, name)| (&**profile, &**name)).collect();
    serde_json::to_vec(&texts).expect("names are always JSON")
}
