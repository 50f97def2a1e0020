//! The names of an object's members, as bytes: half of a surrogate pair is JSON, and no text. Values may be anything that is
//! JSON, such as a number that is out of anyone's range.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

/// None if it is no object.
pub fn of(object: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    let members: BTreeMap<Name, Box<RawValue>> = serde_json::from_slice(object).ok()?;
    Some(members.into_keys().map(|Name(name)| name).collect())
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name(Vec<u8>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Name, E> {
                Ok(Name(name.to_vec()))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                Ok(Name(name.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
