//! The dialects of Revenium's SDKs, brought to wire form.
//!
//! Spelling (`snake_case`, other words for a field) is settled while reading. Here: the members of
//! `usage_metadata` are merged, an explicit member of the event wins; deprecated ids become names;
//! flat `subscriber_*` members and the credential alias become the nested subscriber.

use std::borrow::Cow;

use crate::draft::{Draft, spelled};
use crate::field::Field;
use crate::limits::MEMBERS_MAX;
use crate::object::Object;
use crate::{Kind, Reason, Refusal, What, text};

/// Brings the event to wire form.
pub(crate) fn settle(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    if matches!(draft.kind, Kind::Completion | Kind::Image | Kind::Audio | Kind::Video) {
        merge_metadata(draft)?;
        draft.cut(Field::CapturePrompts);
        nest_subscriber(draft);
        place_alias(draft);
    }
    rename_deprecated(draft, Field::OrganizationId, Field::OrganizationName);
    rename_deprecated(draft, Field::ProductId, Field::ProductName);
    Ok(())
}

/// Cuts `usageMetadata` out and adds its members, blank ones apart. Of two spellings inside it,
/// `snake_case` wins, as in Revenium's SDK.
fn merge_metadata(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    let Some(Cow::Borrowed(source)) = draft.take(Field::UsageMetadata) else { return Ok(()) };
    if !source.starts_with('{') {
        if source != "null" {
            draft.warn(Field::UsageMetadata.name(), What::Dropped(Reason::Type));
        }
        return Ok(());
    }
    let named = |mut refusal: Refusal| {
        refusal.field = Some(Cow::Borrowed("usageMetadata"));
        refusal
    };
    let metadata = Object::read(source).map_err(named)?;
    let mut merged: [&str; Field::COUNT] = [""; Field::COUNT];
    for member in metadata.members {
        let Cow::Borrowed(value) = member.value else { continue };
        if text::is_blank(value) {
            continue;
        }
        let Some(field) = spelled(member.key).and_then(|field| field.meant(draft.kind)) else {
            add_unknown(draft, member.key, value);
            continue;
        };
        if matches!(
            field,
            Field::Kind | Field::Profile | Field::N | Field::Hello | Field::Call | Field::UsageMetadata
        ) {
            draft.warn(field.name(), What::Dropped(Reason::NoPlace));
            continue;
        }
        let earlier = std::mem::replace(&mut merged[field as usize], member.key);
        if earlier == member.key {
            let message = format!("{} is given twice in usageMetadata; send it once", field.name());
            return Err(Refusal::field(field.name(), message));
        }
        let is_snake = text::inner(member.key) != Some(field.name());
        match draft.said(field) {
            None => draft.set(field, value),
            Some(said) if said == value => {}
            Some(_) => {
                draft.warn(field.name(), What::Dropped(Reason::Overridden));
                if !earlier.is_empty() && is_snake {
                    draft.set(field, value);
                }
            }
        }
    }
    if draft.object.members.len() > MEMBERS_MAX {
        let message = format!("the event and its usageMetadata have more than {MEMBERS_MAX} members");
        return Err(Refusal::field("usageMetadata", message));
    }
    Ok(())
}

/// Adds a member that is not in the table, unless the event itself has one of that name.
fn add_unknown<'a>(draft: &mut Draft<'a>, key: &'a str, value: &'a str) {
    if !draft.object.members.iter().any(|member| member.key == key && !member.is_cut) {
        draft.object.push(key, value);
    }
}

/// An id that Revenium no longer takes becomes the name, unless the name is given too.
fn rename_deprecated(draft: &mut Draft<'_>, old: Field, new: Field) {
    let Some(at) = draft.place(old).filter(|&at| &*draft.object.members[at].value != "null") else { return };
    if draft.said(old).is_none() {
        draft.cut(old);
    } else if draft.said(new).is_some() {
        draft.cut(old);
        draft.warn(old.name(), What::Dropped(Reason::Overridden));
    } else {
        draft.cut(new);
        draft.object.rename(at, new.name());
        draft.put(new, at);
        draft.warn(new.name(), What::Renamed { from: old.name() });
    }
}

/// Flat members and where they go. Only if there is no nested subscriber.
fn nest_subscriber(draft: &mut Draft<'_>) {
    const FLAT: [Field; 4] = [
        Field::SubscriberId,
        Field::SubscriberEmail,
        Field::SubscriberCredentialName,
        Field::SubscriberCredential,
    ];
    let flat = FLAT.map(|field| {
        let at = draft.place(field)?;
        // The media routes have these two as fields of their own.
        let is_own = matches!(field, Field::SubscriberId | Field::SubscriberEmail)
            && draft.kind != Kind::Completion
            && draft.object.members[at].came_as(field.name());
        if is_own { None } else { draft.take(field) }
    });
    let mut values = [None, None, None, None];
    for ((slot, value), field) in values.iter_mut().zip(flat).zip(FLAT) {
        let Some(value) = value.filter(|value| !text::is_blank(value)) else { continue };
        let reason = if text::is_structure(&value) {
            Reason::Structure
        } else if draft.said(Field::Subscriber).is_some_and(|raw| !is_empty(raw)) {
            Reason::Overridden
        } else {
            *slot = Some(value);
            continue;
        };
        draft.warn(field.name(), What::Dropped(reason));
    }
    let [id, email, name, value] = &values;
    let credential = object(&[("name", name.as_deref()), ("value", value.as_deref())]);
    let subscriber =
        object(&[("id", id.as_deref()), ("email", email.as_deref()), ("credential", credential.as_deref())]);
    if let Some(subscriber) = subscriber {
        draft.set(Field::Subscriber, subscriber);
    }
}

/// Puts a credential's alias where Revenium looks for it: but never on a subscriber that has an id,
/// an email or a credential, because a credential's name is looked up before these.
fn place_alias(draft: &mut Draft<'_>) {
    let Some(alias) = draft.said(Field::CredentialAlias) else { return };
    let credential = if text::is_structure(alias) { None } else { object(&[("name", Some(alias))]) };
    let subscriber = match (credential, draft.said(Field::Subscriber)) {
        (Some(credential), None) => object(&[("credential", Some(&credential))]),
        (Some(credential), Some(subscriber)) => with_credential(subscriber, credential),
        (None, _) => None,
    };
    if let Some(subscriber) = subscriber {
        draft.set(Field::Subscriber, subscriber);
    } else {
        draft.warn(Field::CredentialAlias.name(), What::Dropped(Reason::NoPlace));
    }
    draft.cut(Field::CredentialAlias);
}

fn with_credential(subscriber: &str, credential: String) -> Option<String> {
    let mut subscriber = Object::read(subscriber).ok()?;
    let says = |name| subscriber.find(name).is_some_and(|at| !text::is_blank(&subscriber.members[at].value));
    if ["id", "email", "credential"].into_iter().any(says) {
        return None;
    }
    match subscriber.find("credential") {
        Some(at) => subscriber.set(at, credential),
        None => drop(subscriber.push("\"credential\"", credential)),
    }
    Some(subscriber.write())
}

fn is_empty(object: &str) -> bool {
    object.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('}'))
}

/// An object of the members that have a value; None if none has.
fn object(members: &[(&str, Option<&str>)]) -> Option<String> {
    let mut written = String::new();
    for (name, value) in members {
        if let Some(value) = value {
            written.push_str(if written.is_empty() { "{" } else { "," });
            written.extend(["\"", name, "\":", value]);
        }
    }
    (!written.is_empty()).then(|| written + "}")
}
