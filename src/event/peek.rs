//! One member of an object, whatever else is in it.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text;

/// The raw value of the member `name`. None if there is none, or `null`, or more than one, or `object` is not one JSON object.
///
/// For an event that was refused, or is about to be: other members may be too many or too deep, and have names that
/// are no text, such as half a surrogate pair.
pub fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a str> {
    let mut reader = serde_json::Deserializer::from_slice(object);
    let found = reader.deserialize_map(Named(name)).ok()?;
    reader.end().ok()?;
    found
}

struct Named<'n>(&'n str);

impl<'de> Visitor<'de> for Named<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut count) = (None, 0);
        while let Some(key) = map.next_key::<&RawValue>()? {
            if text::decode(key.get()).as_deref() == Some(self.0) {
                found = Some(map.next_value::<&RawValue>()?.get());
                count += 1;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found.filter(|raw| count == 1 && *raw != "null"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_beside_whatever_there_is() {
        let many: String = (0..10_000).map(|n| format!("\"{n}\":0,")).collect();
        let event = format!("{{{many}\"\\ud800\":\"\\udead\",\"far\":1e999,\"\\u0061\": \"x\" }}");
        assert_eq!(member(event.as_bytes(), "a"), Some("\"x\""));
        assert_eq!(member(event.as_bytes(), "b"), None);
    }

    #[test]
    fn what_is_said_twice_is_not_said_and_what_is_no_object_says_nothing() {
        for object in
            [r#"{"a":1,"a":1}"#, r#"{"a":null}"#, r#"[{"a":1}]"#, r#"{"a":1}x"#, r#"{"a":1"#, "", "7"]
        {
            assert_eq!(member(object.as_bytes(), "a"), None, "{object}");
        }
    }
}
