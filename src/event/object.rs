//! A JSON object as its members in order, changed by splicing.
//!
//! Keys and values are slices of the source and stay undecoded. Writing copies the source and
//! replaces only what was changed: a renamed member changes just its key, a cut member takes its
//! comma along, added members come last. An object that was not changed is written as it came.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::{DEPTH_MAX, MEMBERS_MAX};
use crate::{Refusal, text};

/// An object: its source and its members.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    source: &'a str,
    pub(crate) members: Vec<Member<'a>>,
    is_changed: bool,
}

/// One member. The key is raw, quotes included; so is the value.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: Cow<'a, str>,
    /// Whether it is left out when the object is written.
    pub(crate) is_cut: bool,
    /// The key to write, without quotes, if not the one it has.
    name: Option<&'static str>,
    /// Where it stands in the source; None if it was added.
    place: Option<Place>,
}

/// Offsets in the source. The key's end follows from its length.
#[derive(Debug, Clone, Copy)]
struct Place {
    key: usize,
    value: usize,
    end: usize,
}

impl<'a> Object<'a> {
    /// Reads the JSON object that `source` is, and nothing beside it.
    pub(crate) fn read(source: &'a str) -> Result<Object<'a>, Refusal> {
        if !source.starts_with('{') {
            return Err(Refusal::invalid(not_an_object(source)));
        }
        let mut reader = serde_json::Deserializer::from_str(source);
        let members =
            reader.deserialize_map(Members { source }).and_then(|members| reader.end().map(|()| members));
        let members = members.map_err(|error| Refusal::invalid(not_json(source, &error)))?;
        Ok(Object { source, members, is_changed: false })
    }

    /// The first member with this name that is not cut.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| !member.is_cut && member.is_named(name))
    }

    /// Leaves a member out.
    pub(crate) fn cut(&mut self, at: usize) {
        self.members[at].is_cut = true;
        self.is_changed = true;
    }

    /// Gives a member another value; a member that was cut is back.
    pub(crate) fn set(&mut self, at: usize, value: impl Into<Cow<'a, str>>) {
        self.members[at].value = value.into();
        self.members[at].is_cut = false;
        self.is_changed = true;
    }

    /// Gives a member another key.
    pub(crate) fn rename(&mut self, at: usize, name: &'static str) {
        self.members[at].name = Some(name);
        self.is_changed = true;
    }

    /// Adds a member at the end. `key` is raw, quotes included.
    pub(crate) fn push(&mut self, key: &'a str, value: impl Into<Cow<'a, str>>) -> usize {
        self.members.push(Member { key, value: value.into(), is_cut: false, name: None, place: None });
        self.is_changed = true;
        self.members.len() - 1
    }

    /// Adds a member with this key, given without quotes.
    pub(crate) fn push_named(&mut self, name: &'static str, value: impl Into<Cow<'a, str>>) -> usize {
        let at = self.push("", value);
        self.members[at].name = Some(name);
        at
    }

    /// Whether writing gives other bytes than the source, or may.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The object's text now.
    pub(crate) fn write(&self) -> String {
        if !self.is_changed {
            return self.source.to_owned();
        }
        let added_bytes: usize = self.members.iter().map(Member::added_bytes).sum();
        let mut out = Splice {
            source: self.source,
            from: 0,
            out: String::with_capacity(self.source.len() + added_bytes),
        };
        let mut before: Option<Place> = None;
        let mut has_members = false;
        let mut placed = self.members.iter().filter_map(|member| Some((member, member.place?))).peekable();
        while let Some((member, place)) = placed.next() {
            if !member.is_cut {
                member.write_changes(place, &mut out);
                has_members = true;
            } else if let Some(before) = before.filter(|_| has_members) {
                out.replace(before.end, "", place.end);
            } else {
                let to = placed.peek().map_or(place.end, |(_, next)| next.key);
                out.replace(place.key, "", to);
            }
            before = Some(place);
        }
        out.replace(before.map_or(1, |last| last.end), "", before.map_or(1, |last| last.end));
        for member in self.members.iter().filter(|member| member.place.is_none() && !member.is_cut) {
            out.out.push_str(if has_members { "," } else { "" });
            member.write_added(&mut out.out);
            has_members = true;
        }
        out.finish()
    }
}

impl Member<'_> {
    /// Whether it came in the source under exactly this key.
    pub(crate) fn came_as(&self, name: &str) -> bool {
        self.place.is_some() && text::inner(self.key) == Some(name)
    }

    /// Whether this is its key, in whatever spelling. The key is the one that came.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        match text::inner(self.key) {
            Some(key) if key.contains('\\') => text::decode(self.key).is_some_and(|key| key == name),
            key => key == Some(name),
        }
    }

    /// An upper bound of what it takes beyond its place in the source.
    fn added_bytes(&self) -> usize {
        match (self.place, &self.value, self.name) {
            (Some(_), Cow::Borrowed(_), None) => 0,
            _ => self.key.len() + self.name.map_or(0, str::len) + self.value.len() + 4,
        }
    }

    fn write_changes(&self, place: Place, out: &mut Splice<'_>) {
        if let Some(name) = self.name {
            let end = place.key + self.key.len();
            out.replace(place.key + 1, name, end - 1);
        }
        let is_original = matches!(self.value, Cow::Borrowed(value) if place.holds(out.source, value));
        if !is_original {
            out.replace(place.value, &self.value, place.end);
        }
    }

    fn write_added(&self, out: &mut String) {
        match self.name {
            Some(name) => out.extend(["\"", name, "\":", &self.value]),
            None => out.extend([self.key, ":", &self.value]),
        }
    }
}

impl Place {
    /// Whether `value` is the slice of the source at this place.
    fn holds(self, source: &str, value: &str) -> bool {
        offset(source, value) == self.value && value.len() == self.end - self.value
    }
}

/// A copy of `source` in the making, copied up to `from`.
struct Splice<'s> {
    source: &'s str,
    from: usize,
    out: String,
}

impl Splice<'_> {
    /// Copies up to `start`, writes `text`, goes on at `end`.
    fn replace(&mut self, start: usize, text: &str, end: usize) {
        self.out.push_str(&self.source[self.from..start]);
        self.out.push_str(text);
        self.from = end;
    }

    fn finish(mut self) -> String {
        self.out.push_str(&self.source[self.from..]);
        self.out
    }
}

/// Where `slice` begins in `source`, if it is a slice of it; else some number.
fn offset(source: &str, slice: &str) -> usize {
    (slice.as_ptr() as usize).wrapping_sub(source.as_ptr() as usize)
}

struct Members<'a> {
    source: &'a str,
}

impl<'a> Visitor<'a> for Members<'a> {
    type Value = Vec<Member<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        // Members of real events take 20 bytes and more; a completion from an SDK has about 55.
        let mut members = Vec::with_capacity((self.source.len() / 16).clamp(4, 64));
        while let Some(key) = map.next_key::<&RawValue>()? {
            if members.len() == MEMBERS_MAX {
                return Err(Error::custom(format_args!("an object has more than {MEMBERS_MAX} members")));
            }
            let (key, value) = (key.get(), map.next_value::<&RawValue>()?.get());
            if text::is_too_deep(value) {
                return Err(Error::custom(format_args!("nesting deeper than {DEPTH_MAX} levels")));
            }
            let at = offset(self.source, value);
            let place = Some(Place { key: offset(self.source, key), value: at, end: at + value.len() });
            members.push(Member { key, value: Cow::Borrowed(value), is_cut: false, name: None, place });
        }
        Ok(members)
    }
}

/// Reads bytes as text.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        Refusal::invalid(format!("not UTF-8: the byte at offset {offset} does not belong to a character"))
    })
}

fn not_an_object(source: &str) -> &'static str {
    match source.as_bytes().first() {
        None => "nothing was sent; send one JSON object",
        Some(b'[') => "a list was sent; send one JSON object for each event",
        Some(_) => "not a JSON object; send one that begins with {",
    }
}

/// Says where the JSON goes wrong, without quoting it. NaN deserves a word: many encoders write it.
fn not_json(source: &str, error: &serde_json::Error) -> String {
    let line = source.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let found = line
        .get(error.column().saturating_sub(2)..)
        .unwrap_or_default()
        .trim_start_matches([' ', ':', ',', '[']);
    if ["NaN", "Infinity", "-Infinity"].iter().any(|word| found.starts_with(word)) {
        let column = error.column();
        return format!("not JSON: there is no NaN or Infinity (column {column}); leave the member out");
    }
    format!("not JSON: {error}")
}

#[cfg(test)]
mod tests {
    use super::Object;

    /// Cuts, renames and sets members by their names, and adds one for each remaining word.
    fn changed(
        source: &str,
        cut: &[&str],
        rename: &[(&str, &'static str)],
        set: &[(&str, &str)],
        add: &[&str],
    ) -> String {
        let mut object = Object::read(source).expect("the source is an object");
        for (name, value) in set {
            object.set(object.find(name).expect("it is there"), (*value).to_owned());
        }
        for &(name, new) in rename {
            object.rename(object.find(name).expect("it is there"), new);
        }
        for name in cut {
            object.cut(object.find(name).expect("it is there"));
        }
        for _ in add {
            object.push("\"new\"", "0");
        }
        object.write()
    }

    #[test]
    fn an_unchanged_object_is_written_as_it_came() {
        for source in ["{}", "{ }", "{ \"a\" : 1.50 ,\n\t\"b\":[ 1 ] }", r#"{"a":1,"a":2}"#] {
            assert_eq!(changed(source, &[], &[], &[], &[]), source);
        }
    }

    #[test]
    fn a_cut_member_takes_one_comma_along() {
        let source = "{ \"a\": 1 , \"b\": 2,\"c\" : 3 }";
        let cases: [(&[&str], &str); 7] = [
            (&["a"], "{ \"b\": 2,\"c\" : 3 }"),
            (&["b"], "{ \"a\": 1,\"c\" : 3 }"),
            (&["c"], "{ \"a\": 1 , \"b\": 2 }"),
            (&["a", "b"], "{ \"c\" : 3 }"),
            (&["b", "c"], "{ \"a\": 1 }"),
            (&["a", "c"], "{ \"b\": 2 }"),
            (&["a", "b", "c"], "{  }"),
        ];
        for (cut, expected) in cases {
            assert_eq!(changed(source, cut, &[], &[], &[]), expected, "{cut:?}");
        }
    }

    #[test]
    fn a_renamed_member_changes_just_its_key() {
        let written = changed("{ \"a\" : 1 , \"b\":2}", &[], &[("a", "alpha")], &[], &[]);
        assert_eq!(written, "{ \"alpha\" : 1 , \"b\":2}");
    }

    #[test]
    fn a_set_member_changes_just_its_value() {
        let written =
            changed("{ \"a\" : 1 , \"b\":2}", &[], &[("b", "beta")], &[("a", "10"), ("b", "20")], &[]);
        assert_eq!(written, "{ \"a\" : 10 , \"beta\":20}");
    }

    #[test]
    fn added_members_come_last() {
        assert_eq!(changed("{ }", &[], &[], &[], &["x"]), "{\"new\":0 }");
        assert_eq!(changed("{\"a\":1 }", &[], &[], &[], &["x"]), "{\"a\":1,\"new\":0 }");
        assert_eq!(changed("{\"a\":1 }", &["a"], &[], &[], &["x", "y"]), "{\"new\":0,\"new\":0 }");
    }

    #[test]
    fn what_is_no_object_is_refused_in_words() {
        let cases = [
            ("", "nothing was sent; send one JSON object"),
            ("[{}]", "a list was sent; send one JSON object for each event"),
            ("7", "not a JSON object; send one that begins with {"),
            ("{\"a\":1", "not JSON: EOF while parsing an object at line 1 column 6"),
            ("{\"a\":1}{}", "not JSON: trailing characters at line 1 column 8"),
            ("{\"a\":NaN}", "not JSON: there is no NaN or Infinity (column 6); leave the member out"),
            ("{\"a\": -Infinity}", "not JSON: there is no NaN or Infinity (column 8); leave the member out"),
            (
                "{\"a\":[1,Infinity]}",
                "not JSON: there is no NaN or Infinity (column 9); leave the member out",
            ),
        ];
        for (source, message) in cases {
            let refusal = Object::read(source).expect_err("it is no object");
            assert_eq!(refusal.message, message, "{source}");
        }
    }
}
