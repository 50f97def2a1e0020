//! From a line's bytes to records, or to a refusal that does not lose them.
//!
//! A line is an event, or the facts of a call, of which `revenium-anthropic` makes one event and one
//! more for each pass that is billed beside it.
//!
//! An event goes to the profile it names, else to its connection's, else to `default`, and only
//! if that profile is configured: it is never billed to an account it wasn't sent for. What is
//! refused but is JSON becomes a dead letter in the lane it was meant for, as it came, if the
//! sender's pace allows; the sender is told in any case.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use revenium_event::limits::BODY_BYTES_MAX;
use revenium_event::line::holds_key;
use revenium_event::{
    Frozen, Identity, Kind, Minted, Refusal, RefusalCode, freeze, freeze_body, member, profile_is_valid,
};
use uuid::Uuid;

use super::observer::Seen;
use crate::keyring::Keyring;
use crate::queue::{DeadNote, Lane, NewRecord, ProducerId};
use crate::tenant::{self, NoTenant, Tenants};

/// Reason code of a dead letter that was refused at intake.
pub const DEAD_REASON_REFUSED_AT_INTAKE: u8 = 2;

/// The profile of events for which nobody named one.
pub const PROFILE_DEFAULT: &str = "default";

/// Lane of a refused event whose `profile` cannot be a profile's name. It cannot be configured
/// by accident, and so such an event is never sent anywhere before a person has edited it.
pub const PROFILE_UNUSABLE: &str = "_unusable";

/// Profiles that are not configured and that refused events are kept for by name, in one run: each makes
/// a lane for good, and names are the senders'. Further ones are kept as unusable; their events name them.
const STRANGERS_MAX: usize = 64;

/// Where events come in: whose they may be.
#[derive(Debug, Clone)]
pub struct Door {
    tenants: Arc<Tenants>,
    /// A profile is named by the fingerprint of its key, and not by its name.
    is_by_key: bool,
    /// Names that are nobody's and were met.
    strangers: Arc<Mutex<BTreeSet<String>>>,
}

/// What a line came to.
#[derive(Debug)]
pub struct Admission {
    /// Its event.
    pub event: Admitted,
    /// Passes of a call that are billed beside it. They are appended with it, and it speaks for them.
    pub parts: Vec<Admitted>,
}

/// An event that was taken.
#[derive(Debug)]
pub struct Admitted {
    /// What to append.
    pub record: NewRecord,
    /// What to count.
    pub seen: Seen,
    /// What the guards changed.
    pub warnings: Vec<revenium_event::Warning>,
}

/// An event that was not taken.
#[derive(Debug)]
pub struct Turned {
    /// Why.
    pub refusal: Refusal,
    /// The event as a dead letter, if it is JSON and not too large.
    pub letter: Option<Box<NewRecord>>,
}

impl Door {
    /// A door for these.
    pub fn new(tenants: Arc<Tenants>) -> Self {
        Self { tenants, is_by_key: false, strangers: Arc::default() }
    }

    /// A door for those of whom nothing is known but the key that they name.
    pub(super) fn by_key(tenants: Arc<Tenants>) -> Self {
        Self { is_by_key: true, ..Self::new(tenants) }
    }

    /// Where the key of the profile that is named so may be handed over, if that is wanted here.
    pub(super) fn keyring_for(&self, name: &str) -> Option<&Keyring> {
        self.tenants.keyring_for(name).filter(|_| !self.is_by_key)
    }

    fn profile(&self, name: &str) -> Result<Arc<str>, NoTenant> {
        let may_be_named = !self.is_by_key || name == PROFILE_DEFAULT || tenant::is_fingerprint(name);
        if may_be_named { self.tenants.of_name(name) } else { Err(NoTenant::Unknown) }
    }

    /// Makes records of a line: an event, or the facts of a call. `profile` is what the connection asked
    /// for, if it did.
    pub fn admit(
        &self,
        line: &[u8],
        identity: &Identity<'_>,
        profile: Option<&str>,
        minted: &Minted,
    ) -> Result<Admission, Turned> {
        let frozen = match events(line, identity, minted) {
            Ok(frozen) => frozen,
            Err(refusal) => return Err(self.refuse(line, identity, profile, minted, refusal)),
        };
        let (event, parts) = frozen;
        let wanted = event.profile.as_deref().or(profile).unwrap_or(PROFILE_DEFAULT);
        let known = match self.profile(wanted) {
            Ok(known) => known,
            Err(NoTenant::TooMany) => return Err(Turned { refusal: no_room(wanted), letter: None }),
            Err(_) => return Err(self.refuse(line, identity, profile, minted, self.unknown(wanted))),
        };
        // Whose key it is by now must not make other bytes of a resend: what was named counts.
        let named = wanted.to_owned();
        let made = |frozen: Frozen, identity| {
            let fingerprint = for_profile(frozen.fingerprint, &named);
            admitted(Frozen { fingerprint, ..frozen }, known.clone(), identity, minted)
        };
        // Their keys are made of the event's, and are all that they are known by: its number is its own.
        let parts = parts.into_iter().map(|part| part_of(made(part, &Identity::Body))).collect();
        Ok(Admission { event: made(event, identity), parts })
    }

    /// Makes a record of the body of a request to a route. Its lane is given, and may be of a profile that
    /// isn't configured: whoever calls has seen the key.
    pub fn admit_body(
        &self,
        lane: &Lane,
        kind: Kind,
        body: &[u8],
        identity: &Identity<'_>,
        minted: &Minted,
    ) -> Result<Admitted, Turned> {
        match freeze_body(kind, body, identity, minted) {
            Ok(frozen) => {
                let fingerprint = for_profile(frozen.fingerprint, &lane.profile);
                Ok(admitted(Frozen { fingerprint, ..frozen }, lane.profile.clone(), identity, minted))
            }
            Err(refusal) => Err(Self::refuse_body(lane, body, identity, minted, refusal)),
        }
    }

    /// Turns away a body for what `refusal` says of it, and keeps it in `lane` if it can be kept.
    pub fn refuse_body(
        lane: &Lane,
        body: &[u8],
        identity: &Identity<'_>,
        minted: &Minted,
        refusal: Refusal,
    ) -> Turned {
        if !may_be_kept(body, &refusal) {
            return Turned { refusal, letter: None };
        }
        let letter = letter(lane.clone(), body, identity, minted, &refusal);
        Turned { refusal, letter: Some(Box::new(letter)) }
    }

    /// Turns away what `refusal` says of it, and keeps it if it can be kept.
    pub fn refuse(
        &self,
        event: &[u8],
        identity: &Identity<'_>,
        profile: Option<&str>,
        minted: &Minted,
        refusal: Refusal,
    ) -> Turned {
        let mut turned = turn(event, identity, profile, minted, refusal);
        if let Some(letter) = &mut turned.letter {
            letter.lane.profile = self.kept_under(&letter.lane.profile);
        }
        turned
    }

    /// The profile that has this name or key, else the name if it is among the few strangers that may have a lane.
    fn kept_under(&self, name: &Arc<str>) -> Arc<str> {
        if let Ok(profile) = self.profile(name) {
            return profile;
        }
        if self.is_by_key {
            return PROFILE_UNUSABLE.into();
        }
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_one = strangers.contains(&**name)
            || (strangers.len() < STRANGERS_MAX && strangers.insert(name.to_string()));
        if is_one { name.clone() } else { PROFILE_UNUSABLE.into() }
    }

    fn unknown(&self, wanted: &str) -> Refusal {
        if self.is_by_key {
            let message = format!(
                "profile {wanted} is not to be named here: name it by the fingerprint of its key (key-...), or none for default"
            );
            return Refusal { code: RefusalCode::Invalid, field: Some(Cow::Borrowed("profile")), message };
        }
        // Names are listed up to a length that a person reads.
        let mut names = String::new();
        for name in self.tenants.configured() {
            if names.len() > 200 {
                names.push_str(", …");
                break;
            }
            names.push_str(if names.is_empty() { "" } else { ", " });
            names.push_str(name);
        }
        let message = format!("profile {wanted} is not configured here; there is {names}");
        Refusal { code: RefusalCode::Invalid, field: Some(Cow::Borrowed("profile")), message }
    }
}

fn no_room(wanted: &str) -> Refusal {
    let message = format!(
        "{wanted} is of one API key too many that no profile of this agent has; configure them, or claim their profiles"
    );
    Refusal { code: RefusalCode::Full, field: Some(Cow::Borrowed("profile")), message }
}

/// The event of a line, and what is billed beside it. Only facts of a call make more than one.
fn events(line: &[u8], identity: &Identity<'_>, minted: &Minted) -> Result<(Frozen, Vec<Frozen>), Refusal> {
    if !revenium_anthropic::is_call(line) {
        return Ok((freeze(line, identity, minted)?, Vec::new()));
    }
    let mut events = revenium_anthropic::freeze(line, identity, minted)?.into_iter();
    let event = events.next().expect("a call has its own event");
    Ok((event, events.collect()))
}

fn admitted(frozen: Frozen, profile: Arc<str>, identity: &Identity<'_>, minted: &Minted) -> Admitted {
    let seen = Seen { kind: frozen.kind, tokens: frozen.tokens };
    let record = NewRecord {
        lane: Lane { profile, route: frozen.kind.code() },
        key: frozen.idempotency_key.into(),
        number: number(identity),
        key_is_identity: frozen.key_is_identity,
        fingerprint: frozen.fingerprint,
        received_at_ms: minted.now_ms,
        body: frozen.body.into(),
        dead: None,
        replaces: None,
        is_part: false,
    };
    Admitted { record, seen, warnings: frozen.warnings }
}

/// What came with the event before it, and is a resend or a conflict if that one is.
fn part_of(admitted: Admitted) -> Admitted {
    Admitted { record: NewRecord { is_part: true, ..admitted.record }, ..admitted }
}

/// The fingerprint of an event for this profile. The profile of a connection is not in the
/// event's bytes, but the same bytes for another account are not a resend. Frozen: it is compared
/// with fingerprints in the log.
fn for_profile(fingerprint: u64, profile: &str) -> u64 {
    // FNV-1a, continued from the event's own hash.
    profile.bytes().fold(fingerprint, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn number(identity: &Identity<'_>) -> Option<(ProducerId, u64)> {
    match identity {
        Identity::Numbered { producer, n } => Some((ProducerId(*producer.as_bytes()), *n)),
        _ => None,
    }
}

fn turn(
    event: &[u8],
    identity: &Identity<'_>,
    profile: Option<&str>,
    minted: &Minted,
    refusal: Refusal,
) -> Turned {
    if !may_be_kept(event, &refusal) {
        return Turned { refusal, letter: None };
    }
    let text = |raw: &str| serde_json::from_str::<String>(raw).ok();
    let profile = match member(event, "profile").map(text) {
        None => profile.unwrap_or(PROFILE_DEFAULT).into(),
        Some(Some(name)) if profile_is_valid(&name) => name.into(),
        Some(_) => PROFILE_UNUSABLE.into(),
    };
    let kind = member(event, "kind")
        .and_then(text)
        .and_then(|name| Kind::from_name(&name))
        .unwrap_or(Kind::Completion);
    let lane = Lane { profile, route: kind.code() };
    let letter = letter(lane, event, identity, minted, &refusal);
    Turned { refusal, letter: Some(Box::new(letter)) }
}

/// Only what is JSON can be mended by a person, and only what is not too large fits. What came of it may be
/// too large although it is not. A key is never kept with what people look at.
fn may_be_kept(event: &[u8], refusal: &Refusal) -> bool {
    !holds_key(event)
        && (refusal.code != RefusalCode::TooLarge || event.len() <= BODY_BYTES_MAX)
        && serde_json::from_slice::<serde::de::IgnoredAny>(event).is_ok()
}

fn letter(
    lane: Lane,
    event: &[u8],
    identity: &Identity<'_>,
    minted: &Minted,
    refusal: &Refusal,
) -> NewRecord {
    // A resend is known by its number, if it has one. The key is not the event's: a person may
    // change the event before it is sent, and then it must not meet the old one's answer.
    NewRecord {
        lane,
        key: uuid::Builder::from_random_bytes(minted.random).into_uuid().to_string().into(),
        number: number(identity),
        key_is_identity: false,
        fingerprint: Uuid::new_v5(&Uuid::NAMESPACE_OID, event).as_u64_pair().0,
        received_at_ms: minted.now_ms,
        body: Bytes::copy_from_slice(event),
        dead: Some(DeadNote {
            reason: DEAD_REASON_REFUSED_AT_INTAKE,
            status: 0,
            words: words(refusal),
            at_ms: minted.now_ms,
        }),
        replaces: None,
        is_part: false,
    }
}

fn words(refusal: &Refusal) -> String {
    match &refusal.field {
        Some(field) => format!("{field}: {}", refusal.message),
        None => refusal.message.clone(),
    }
}

#[cfg(test)]
mod tests;
