//! A JSON object as its members in order, each a slice of the source.
//!
//! Nothing is decoded and no number is parsed.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Refusal;
use crate::limits::MEMBERS_MAX;

/// One member of an object: raw key (with its quotes) and raw value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawMember<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
}

/// Reads the members of the JSON object that `source` is.
pub(crate) fn members(source: &str) -> Result<Vec<RawMember<'_>>, Refusal> {
    let mut reader = serde_json::Deserializer::from_str(source);
    let members = reader.deserialize_map(Members).and_then(|members| reader.end().map(|()| members));
    members.map_err(|error| Refusal::invalid(format!("not a JSON object: {error}")))
}

/// Reads bytes as text.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        Refusal::invalid(format!("not UTF-8: the byte at offset {offset} does not belong to any character"))
    })
}

/// `source` without its member number `at`.
pub(crate) fn cut(source: &str, members: &[RawMember<'_>], at: usize) -> String {
    let offset = |slice: &str| slice.as_ptr() as usize - source.as_ptr() as usize;
    let end = |member: &RawMember<'_>| offset(member.value) + member.value.len();
    let (from, to) = match (at.checked_sub(1), members.get(at + 1)) {
        (Some(before), _) => (end(&members[before]), end(&members[at])),
        (None, Some(next)) => (offset(members[at].key), offset(next.key)),
        (None, None) => (offset(members[at].key), end(&members[at])),
    };
    [&source[..from], &source[to..]].concat()
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<RawMember<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(64);
        while let Some(key) = map.next_key::<&RawValue>()? {
            if members.len() == MEMBERS_MAX {
                return Err(serde::de::Error::custom(format_args!("more than {MEMBERS_MAX} members")));
            }
            let value = map.next_value::<&RawValue>()?;
            members.push(RawMember { key: key.get(), value: value.get() });
        }
        Ok(members)
    }
}
