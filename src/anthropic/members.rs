//! JSON objects as their members in order, with raw values: read without building a tree, written
//! without changing a digit.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Most members of an object that is looked into.
// As many as an event may have; the largest known object here, a call, has about twenty.
const MEMBERS_MAX: usize = revenium_event::limits::MEMBERS_MAX;

/// The members of an object. A `null` is as good as absent, except to [`Members::twice`].
#[derive(Debug, Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Reads the object that `raw` is; None if it is none, or not JSON.
    pub(crate) fn read(raw: &'a str) -> Option<Members<'a>> {
        let mut reader = serde_json::Deserializer::from_str(raw);
        let members = reader.deserialize_map(MembersVisitor).ok()?;
        reader.end().ok()?;
        Some(Members(members))
    }

    /// The raw value of a member. Of two, the last, as every JSON library of a client has it.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|&(_, raw)| raw).filter(|raw| *raw != "null")
    }

    /// The text of a member; None if it is not text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    /// The members of a member; None if it is no object.
    pub(crate) fn object(&self, name: &str) -> Option<Members<'a>> {
        self.get(name).and_then(Members::read)
    }

    /// Every member that says something, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().filter(|(_, raw)| *raw != "null").map(|(key, raw)| (&**key, *raw))
    }

    /// The object without some of its members; None if nothing is left.
    pub(crate) fn without(&self, is_out: impl Fn(&str) -> bool) -> Option<String> {
        let mut rest = Writer::default();
        self.iter().filter(|(key, _)| !is_out(key)).for_each(|(key, raw)| rest.put(key, raw));
        rest.finish()
    }

    /// The first of `names` that is given twice.
    pub(crate) fn twice<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.0.iter().filter(|(key, _)| key == name).count() > 1)
    }
}

struct MembersVisitor;

impl<'a> Visitor<'a> for MembersVisitor {
    type Value = Vec<(Cow<'a, str>, &'a str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<&RawValue>()? {
            if members.len() == MEMBERS_MAX {
                return Err(Error::custom("too many members"));
            }
            let value = map.next_value::<&RawValue>()?.get();
            // Half a surrogate pair is no name of anything that is known.
            members.push((name(key.get()), value));
        }
        Ok(members)
    }
}

/// The name that a raw key spells; the raw key itself if it is no valid text.
fn name(raw: &str) -> Cow<'_, str> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        _ => text(raw).map_or(Cow::Borrowed(raw), Cow::Owned),
    }
}

/// The text that a raw value is; None if it is no text.
pub(crate) fn text(raw: &str) -> Option<String> {
    raw.starts_with('"').then(|| serde_json::from_str(raw).ok()).flatten()
}

/// Whether a raw value says something: text of white space does not.
pub(crate) fn says(raw: &str) -> bool {
    text(raw).is_none_or(|text| !text.trim().is_empty())
}

/// The count that a raw value is: whole, written in digits only, at most 2^63-1.
pub(crate) fn whole(raw: &str) -> Option<u64> {
    let is_plain = raw.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| raw.parse().ok()).flatten().filter(|&count| count <= i64::MAX as u64)
}

/// A raw value to keep.
pub(crate) fn boxed(raw: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(raw.to_owned()).ok()
}

/// `text` as a raw value.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

/// An object in the making. Of two members with one name, the first counts.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    text: String,
    names: BTreeSet<String>,
}

impl Writer {
    /// Adds a member with a raw value.
    pub(crate) fn put(&mut self, name: &str, raw: &str) {
        if self.names.insert(name.to_owned()) {
            self.text.push(if self.text.is_empty() { '{' } else { ',' });
            self.text.extend([&*quoted(name), ":", raw]);
        }
    }

    /// Adds a member with a raw value, if there is one.
    pub(crate) fn put_some(&mut self, name: &str, raw: Option<&str>) {
        if let Some(raw) = raw {
            self.put(name, raw);
        }
    }

    /// Adds a member that is text.
    pub(crate) fn put_text(&mut self, name: &str, text: &str) {
        self.put(name, &quoted(text));
    }

    /// The object; None if nothing was added.
    pub(crate) fn finish(self) -> Option<String> {
        (!self.text.is_empty()).then(|| self.text + "}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_their_digits() {
        let members = Members::read("{ \"a\" : 1.50 , \"\\u0062\":[ 1 ], \"c\":null }").expect("an object");
        assert_eq!(members.iter().collect::<Vec<_>>(), [("a", "1.50"), ("b", "[ 1 ]")]);
        assert_eq!((members.get("b"), members.get("c")), (Some("[ 1 ]"), None));
    }

    #[test]
    fn the_last_of_two_counts_and_two_are_found() {
        let members = Members::read(r#"{"a":1,"a":2,"b":null,"b":null}"#).expect("an object");
        assert_eq!(members.get("a"), Some("2"));
        assert_eq!(
            (members.twice(&["c", "a"]), members.twice(&["b"]), members.twice(&["c"])),
            (Some("a"), Some("b"), None)
        );
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for raw in ["", "[]", "7", "null", "{", "{}{}", "{\"a\":}", "{'a':1}", "{\"a\":NaN}"] {
            assert!(Members::read(raw).is_none(), "{raw}");
        }
        let many: Vec<String> = (0..=MEMBERS_MAX).map(|n| format!("\"{n}\":0")).collect();
        assert!(Members::read(&format!("{{{}}}", many.join(","))).is_none());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut writer = Writer::default();
        writer.put("a\"b", "1.50");
        writer.put_some("none", None);
        writer.put_text("t", "ä\n");
        writer.put("t", "1");
        assert_eq!(writer.finish().as_deref(), Some("{\"a\\\"b\":1.50,\"t\":\"ä\\n\"}"));
        assert_eq!(Writer::default().finish(), None);
    }

    #[test]
    fn a_count_is_digits_that_fit_63_bits() {
        assert_eq!(whole("9223372036854775807"), Some(i64::MAX as u64));
        for raw in ["9223372036854775808", "-1", "1.0", "1e3", "\"1\"", "true", ""] {
            assert_eq!(whole(raw), None, "{raw}");
        }
    }
}
