//! Takes a few members out of a JSON object that passes by in pieces. Pure.
//!
//! Nothing is gathered but the values of the members that are asked for, up to a bound each, so a body of any
//! size costs the same memory. It does not judge: of what is no JSON it finds little, and breaks on nothing.

use memchr::memchr2;

/// Longest name that is told apart, in bytes: the longest that is asked for, with each letter written as an escape.
const NAME_BYTES_MAX: usize = 80;

/// Bytes of a value that are kept, at most.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// What was found of one member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Value {
    /// As it was written, up to the bound.
    bytes: Vec<u8>,
    /// All of it is there.
    is_whole: bool,
}

/// A reader of the members `names` of one object.
#[derive(Debug, Clone)]
pub(crate) struct Skim {
    names: &'static [&'static str],
    found: Vec<Option<Value>>,
    /// Which member's value passes by, at the first depth.
    taking: Option<usize>,
    depth: u32,
    string: Option<Text>,
    /// The last string, until something else than white space follows it.
    last: Text,
    /// The last key was `type`, and its value is still to come.
    is_type: bool,
    /// A key is next, or a value.
    wants_key: bool,
    has_image: bool,
    /// The object came to its end.
    is_whole: bool,
}

/// A string: its beginning, and whether that is all.
#[derive(Debug, Clone)]
struct Text {
    /// As it was written.
    bytes: [u8; NAME_BYTES_MAX],
    len: usize,
    is_key: bool,
    /// The next byte is an escape's.
    is_escaped: bool,
    has_escapes: bool,
}

impl Text {
    fn new(is_key: bool) -> Self {
        Self { bytes: [0; NAME_BYTES_MAX], len: 0, is_key, is_escaped: false, has_escapes: false }
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = NAME_BYTES_MAX.saturating_sub(self.len).min(bytes.len());
        if let Some(kept) = self.bytes.get_mut(self.len..self.len + room) {
            kept.copy_from_slice(&bytes[..room]);
        }
        self.len = self.len.saturating_add(bytes.len());
    }

    fn is(&self, name: &str) -> bool {
        let Some(written) = self.bytes.get(..self.len) else { return false };
        match self.has_escapes {
            false => written == name.as_bytes(),
            true => unescaped(written).is_some_and(|text| text == name),
        }
    }
}

/// What a string says, from between its quotes; `None` if it is no JSON.
fn unescaped(written: &[u8]) -> Option<String> {
    serde_json::from_str(&format!("\"{}\"", std::str::from_utf8(written).ok()?)).ok()
}

impl Skim {
    pub(crate) fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            found: vec![None; names.len()],
            taking: None,
            depth: 0,
            string: None,
            last: Text::new(false),
            is_type: false,
            wants_key: false,
            has_image: false,
            is_whole: false,
        }
    }

    /// The next piece.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((taken, rest)) = self.step(bytes) {
            if let Some(value) = self.taking.and_then(|at| self.found[at].as_mut())
                && !value.is_whole
            {
                let room = (VALUE_BYTES_MAX + 1).saturating_sub(value.bytes.len()).min(taken.len());
                value.bytes.extend_from_slice(&taken[..room]);
            }
            bytes = rest;
        }
    }

    /// The value of a member as it was written, if all of it came and is not too long.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        let at = self.names.iter().position(|of| *of == name)?;
        let value = self.found[at].as_ref().filter(|value| value.is_whole)?;
        if value.bytes.len() > VALUE_BYTES_MAX {
            return None;
        }
        Some(std::str::from_utf8(&value.bytes).ok()?.trim())
    }

    /// The value of a member that is text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// What was found, as an object of its own; what of the body was cut off is missing its end.
    pub(crate) fn object(&self) -> String {
        let members = self.names.iter().filter_map(|name| Some(format!("\"{name}\":{}", self.raw(name)?)));
        let end = if self.is_whole { "}" } else { "" };
        format!("{{{}{end}", members.collect::<Vec<_>>().join(","))
    }

    /// Whether a member is a list with something in it, however long.
    pub(crate) fn has_items(&self, name: &str) -> bool {
        let at = self.names.iter().position(|of| *of == name);
        let value = at.and_then(|at| self.found[at].as_ref());
        let list = value.and_then(|value| value.bytes.trim_ascii().strip_prefix(b"["));
        list.is_some_and(|items| items.trim_ascii_start().first().is_some_and(|first| *first != b']'))
    }

    /// Whether an object anywhere says `"type": "image"`.
    pub(crate) fn has_image(&self) -> bool {
        self.has_image
    }

    /// Takes what stands together: part of a string, or up to and with the next byte that means something.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        if bytes.is_empty() {
            return None;
        }
        let Some(text) = &mut self.string else { return Some(self.outside(bytes)) };
        if std::mem::take(&mut text.is_escaped) {
            text.take(&bytes[..1]);
            return Some(bytes.split_at(1));
        }
        let Some(end) = memchr2(b'"', b'\\', bytes) else {
            text.take(bytes);
            return Some((bytes, &[]));
        };
        text.take(&bytes[..end]);
        if bytes[end] == b'\\' {
            text.is_escaped = true;
            text.has_escapes = true;
            text.take(b"\\");
        } else {
            self.ended();
        }
        Some(bytes.split_at(end + 1))
    }

    fn outside<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let end = bytes.iter().position(|b| matches!(b, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':'));
        let Some(end) = end else { return (bytes, &[]) };
        let (before, rest) = bytes.split_at(end);
        if end > 0 {
            return (before, rest);
        }
        match bytes[0] {
            b'"' => self.string = Some(Text::new(self.wants_key)),
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                self.wants_key = bytes[0] == b'{';
                self.is_whole = false;
                self.is_type = false;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.wants_key = false;
                if self.depth == 0 {
                    self.member_ended();
                    self.is_whole = bytes[0] == b'}';
                }
            }
            b',' => {
                if self.depth == 1 {
                    self.member_ended();
                }
                self.is_type = false;
                // Within a list there are no keys: a string there is followed by no colon.
                self.wants_key = true;
            }
            _ => self.colon(),
        }
        // The colon before a value is not of it; neither is what ends it, which `member_ended` saw to.
        if bytes[0] == b':' && self.depth == 1 { (&[], &bytes[1..]) } else { bytes.split_at(1) }
    }

    /// A string ended.
    fn ended(&mut self) {
        let Some(text) = self.string.take() else { return };
        self.has_image |= self.is_type && text.is("image");
        self.is_type = false;
        self.last = text;
    }

    fn colon(&mut self) {
        if !self.last.is_key {
            return;
        }
        self.wants_key = false;
        self.is_type = self.last.is("type");
        if self.depth == 1 && self.taking.is_none() {
            self.taking = self.names.iter().position(|name| self.last.is(name));
            if let Some(at) = self.taking {
                // Of a member that comes twice the last counts, as in most readers.
                self.found[at] = Some(Value::default());
            }
        }
    }

    fn member_ended(&mut self) {
        if let Some(value) = self.taking.take().and_then(|at| self.found[at].as_mut()) {
            value.is_whole = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["model", "usage", "tools", "stream"];

    fn skim(pieces: &[&[u8]]) -> Skim {
        let mut skim = Skim::new(NAMES);
        pieces.iter().for_each(|piece| skim.push(piece));
        skim
    }

    #[test]
    fn members_of_the_first_depth_are_found_wherever_the_bytes_are_split() {
        let body = br#" {"x":{"model":"no","a":[1,{"usage":2}]}, "model" : "claude \"3" ,
            "messages":[{"content":[{"type" : "image","source":{"data":"AAAA"}},"model",":"]}],
            "usage":{"input_tokens": 12,"a":[1,"]}"]},"tools":[ {"name":"x"}],"stream":true}"#;
        for at in 0..body.len() {
            let skim = skim(&[&body[..at], &body[at..]]);
            assert_eq!(skim.text("model").as_deref(), Some(r#"claude "3"#), "split at {at}");
            assert_eq!(skim.raw("usage"), Some(r#"{"input_tokens": 12,"a":[1,"]}"]}"#), "split at {at}");
            assert_eq!(skim.raw("stream"), Some("true"), "split at {at}");
            assert!(skim.has_items("tools") && skim.has_image(), "split at {at}");
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(skim(&bytes).raw("usage"), Some(r#"{"input_tokens": 12,"a":[1,"]}"]}"#));
    }

    #[test]
    fn a_name_with_escapes_is_the_name_that_it_spells() {
        let body = br#"{"\u0075\u0073\u0061\u0067\u0065":{"input_tokens":1},"mod\u0065l":"m","messages":[{"t\u0079pe":"im\u0061ge"}]}"#;
        for at in 0..body.len() {
            let skim = skim(&[&body[..at], &body[at..]]);
            assert_eq!(skim.raw("usage"), Some(r#"{"input_tokens":1}"#), "split at {at}");
            assert_eq!(skim.text("model").as_deref(), Some("m"), "split at {at}");
            assert!(skim.has_image(), "split at {at}");
        }
        let longest = "output_config".bytes().map(|byte| format!("\\u{byte:04x}")).collect::<String>();
        assert!(longest.len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for body in [
            &b""[..],
            b"null",
            br#"[{"model":"x"}]"#,
            br#"{"model":"x"#,
            br#"{"a":"\"model\":\"x\""}"#,
            br#"{"mod\u0065":"x","\ud83d":1,"mod\x":2}"#,
            br#"}}}{{{]]][[[:::,,,"""\"#,
            b"\xff\xfe{\"model\":\"x",
        ] {
            let skim = skim(&[body]);
            assert_eq!((skim.raw("model"), skim.has_image()), (None, false), "{body:?}");
        }
        let table = [("[]", false), (" [ ] ", false), ("[1]", true), ("null", false), ("{\"a\":1}", false)];
        for (tools, has_items) in table {
            let body = format!("{{\"tools\":{tools}}}");
            assert_eq!(skim(&[body.as_bytes()]).has_items("tools"), has_items, "{tools}");
        }
        assert!(!skim(&[br#"{"type":"text","text":"\"type\":\"image\""}"#]).has_image());
    }

    #[test]
    fn a_value_of_any_length_costs_no_more_than_the_bound() {
        let mut skim = Skim::new(NAMES);
        skim.push(b"{\"tools\":[\"");
        for _ in 0..1_000 {
            skim.push(&[b'x'; 1_000]);
        }
        skim.push(b"\"],\"model\":\"m\"}");
        assert_eq!((skim.raw("tools"), skim.has_items("tools")), (None, true));
        assert_eq!(skim.text("model").as_deref(), Some("m"));
        assert!(skim.found.iter().flatten().map(|value| value.bytes.capacity()).sum::<usize>() < 256 << 10);
    }
}
