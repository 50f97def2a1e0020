//! A line that hands an API key over, pure.
//!
//! `{"key":{"value":"…","url":"…"}}`. An agent that may be handed keys asks for one with `{"want":"key"}`. What
//! is said of such a line never has any part of it: whatever is wrong, the message is ours.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

use crate::Refusal;
use crate::object::{Object, utf8};

/// A key, and the base URL that it is for. Never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct KeyLine<'a> {
    /// The key.
    #[serde(borrow)]
    pub value: Cow<'a, str>,
    /// Where it is good; `None`: where the agent sends by default.
    #[serde(borrow, default)]
    pub url: Option<Cow<'a, str>>,
}

impl fmt::Debug for KeyLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'a> KeyLine<'a> {
    /// The key that `object` hands over; `None` if it is another line. An event may have a member of this
    /// name, but none that is an object.
    pub(crate) fn of(object: &Object<'a>) -> Option<Result<Self, Refusal>> {
        let member = &object.members[object.find("key")?];
        let is_alone = object.members.len() == 1;
        if !is_alone && !member.value.starts_with('{') {
            return None;
        }
        let read = match &member.value {
            Cow::Borrowed(text) if is_alone => serde_json::from_str(text).ok(),
            _ => None,
        };
        // The reader's own words may quote what it read.
        let wrong = "the line of a key is {\"key\":{\"value\":…,\"url\":…}} and has no other member";
        Some(read.ok_or_else(|| Refusal::field("key", wrong)))
    }
}

/// Whether `line` is an object that has one as its `key`: nobody may keep it, for it may hold one.
pub fn holds_key(line: &[u8]) -> bool {
    let object = utf8(line.trim_ascii()).and_then(Object::read);
    object.is_ok_and(|object| {
        object.members.iter().any(|member| member.is_named("key") && member.value.starts_with('{'))
    })
}
