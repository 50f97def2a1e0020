//! A received body, read the way Revenium must read it: one JSON object.
//!
//! Values stay the text that was sent, so that a rule can look at a number's digits. Of members
//! given twice the last one counts, and that it happened is known.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object, in order.
#[derive(Debug)]
pub(super) struct Members<'a> {
    members: Vec<(String, &'a str)>,
    pub(super) has_duplicates: bool,
}

/// What a member's value is.
#[derive(Debug, PartialEq)]
pub(super) enum Shape<'a> {
    Null,
    Flag,
    /// The digits as sent.
    Number(&'a str),
    Text(String),
    List,
    Object(&'a str),
}

impl<'a> Members<'a> {
    /// `None` for anything but one JSON object: cut off, an array, `NaN`, bytes that aren't UTF-8.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let members = Members::deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(members)
    }

    /// The value of `name` as sent.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.members.iter().rev().find(|(member, _)| member == name).map(|(_, raw)| *raw)
    }

    /// The value of `name`; `None` too for a text with an impossible escape.
    pub(super) fn shape(&self, name: &str) -> Option<Shape<'a>> {
        shape(self.raw(name)?)
    }

    /// A text or number as text; `None` when absent, null or anything else.
    pub(super) fn scalar(&self, name: &str) -> Option<String> {
        match self.shape(name)? {
            Shape::Text(text) => Some(text),
            Shape::Number(digits) => Some(digits.to_owned()),
            _ => None,
        }
    }

    /// The members of the object under `name`.
    pub(super) fn object(&self, name: &str) -> Option<Members<'a>> {
        match self.shape(name)? {
            Shape::Object(raw) => Members::parse(raw.as_bytes()),
            _ => None,
        }
    }

    /// Whether every text and name can be decoded.
    pub(super) fn is_sound(&self) -> bool {
        self.members.iter().all(|(_, raw)| shape(raw).is_some())
    }
}

fn shape(raw: &str) -> Option<Shape<'_>> {
    Some(match raw.as_bytes().first()? {
        b'"' => Shape::Text(serde_json::from_str(raw).ok()?),
        b'{' => Shape::Object(raw),
        b'[' => Shape::List,
        b't' | b'f' => Shape::Flag,
        b'n' => Shape::Null,
        _ => Shape::Number(raw),
    })
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, &'de str)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, value.get()));
                }
                let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                let has_duplicates = names.windows(2).any(|pair| pair[0] == pair[1]);
                Ok(Members { members, has_duplicates })
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_json_object_is_a_body() {
        let bad: [&[u8]; 9] = [
            b"",
            b"{",
            b"[]",
            b"[{}]",
            b"{} {}",
            b"{\"a\":NaN}",
            b"\"text\"",
            b"{\"a\":01}",
            b"{\"a\":\"\xff\"}",
        ];
        for body in bad {
            assert!(Members::parse(body).is_none(), "{:?}", String::from_utf8_lossy(body));
        }
        assert!(Members::parse(b" {\"a\" : 1}\n").is_some());
    }

    #[test]
    fn values_keep_their_digits_and_the_last_of_two_counts() {
        let body =
            br#"{"n":1.2300000000000000000000000000000000000001,"t":"x","t":"\u00e9","o":{"id":7},"z":null}"#;
        let members = Members::parse(body).expect("an object");
        assert!(members.has_duplicates);
        assert_eq!(members.raw("n"), Some("1.2300000000000000000000000000000000000001"));
        assert_eq!(members.scalar("t").as_deref(), Some("\u{e9}"));
        assert_eq!(members.object("o").and_then(|o| o.scalar("id")).as_deref(), Some("7"));
        assert_eq!(members.shape("z"), Some(Shape::Null));
        assert_eq!(members.raw("absent"), None);
    }

    #[test]
    fn a_text_that_cannot_be_decoded_is_not_sound() {
        let members = Members::parse(br#"{"a":"\ud800"}"#).expect("the outer form is right");
        assert!(!members.is_sound());
    }
}
