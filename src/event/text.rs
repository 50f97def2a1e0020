//! JSON text without decoding it: raw values, quotes included.
//!
//! Cutting walks over the raw characters, so what stays keeps its spelling: escapes stay escapes.

use std::borrow::Cow;

use crate::limits::DEPTH_MAX;

/// What stands between the quotes of a raw JSON text; None if the value is not text.
pub(crate) fn inner(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

/// The text itself; None if the value is not text, or has half a surrogate pair.
pub(crate) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    let inner = inner(raw)?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}

/// `text` as a raw JSON text.
pub(crate) fn encode(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

/// Whether the value says nothing: null, or text of white space.
pub(crate) fn is_blank(raw: &str) -> bool {
    raw == "null" || decode(raw).is_some_and(|text| text.trim().is_empty())
}

/// Whether the value is a list or an object.
pub(crate) fn is_structure(raw: &str) -> bool {
    raw.starts_with(['[', '{'])
}

/// A raw text that is longer than `chars_max` characters, cut; and how many characters came.
pub(crate) fn cut(raw: &str, chars_max: usize) -> Option<(String, usize)> {
    // A character takes at least one raw byte: most texts are short enough at a glance.
    let inner = inner(raw).filter(|inner| inner.len() > chars_max)?;
    let (mut chars, mut at, mut end) = (0, 0, inner.len());
    while at < inner.len() {
        if chars == chars_max {
            end = at;
        }
        at += char_bytes(&inner.as_bytes()[at..]);
        chars += 1;
    }
    (chars > chars_max).then(|| (format!("\"{}\"", &inner[..end]), chars))
}

/// How many raw bytes the first character takes: itself, or its escape, or a pair of escapes.
fn char_bytes(raw: &[u8]) -> usize {
    match raw {
        [b'\\', b'u', rest @ ..] if is_surrogate(rest, b"89abAB") => match &rest[4..] {
            [b'\\', b'u', low @ ..] if is_surrogate(low, b"cdefCDEF") => 12,
            _ => 6,
        },
        [b'\\', b'u', ..] => 6,
        [b'\\', ..] => 2,
        [lead, ..] => match lead.leading_ones() {
            0 => 1,
            ones => ones as usize,
        },
        [] => 0,
    }
}

/// Whether four hexadecimal digits are half a surrogate pair: `D`, then one of `second`.
fn is_surrogate(digits: &[u8], second: &[u8]) -> bool {
    digits.len() >= 4 && matches!(digits[0], b'd' | b'D') && second.contains(&digits[1])
}

/// Whether a raw value nests deeper than an event may, when it stands at the event's top.
pub(crate) fn is_too_deep(raw: &str) -> bool {
    1 + depth_of(raw) > DEPTH_MAX
}

/// How many lists and objects a raw value has within each other, itself counted.
pub fn depth_of(raw: &str) -> usize {
    if !is_structure(raw) {
        return 0;
    }
    let (mut depth, mut deepest) = (0, 0);
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => skip_text(&mut bytes),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Goes past the closing quote of the text that has just begun.
fn skip_text(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_characters_and_keeps_its_spelling() {
        let cases = [
            (r#""abc""#, 3, None),
            (r#""abcd""#, 3, Some((r#""abc""#, 4))),
            (r#""äöüß""#, 3, Some((r#""äöü""#, 4))),
            (r#""äöü""#, 3, None),
            (r#""a\n\"d""#, 3, Some((r#""a\n\"""#, 4))),
            (r#""\u00e4\u00f6""#, 1, Some((r#""\u00e4""#, 2))),
            (r#""\uD83D\uDE00\ud83d\ude00""#, 1, Some((r#""\uD83D\uDE00""#, 2))),
            (r#""\uD83Dx\uDE00""#, 1, Some((r#""\uD83D""#, 3))),
            (r#""\uD83D\uD83D""#, 1, Some((r#""\uD83D""#, 2))),
            (r#""😀😀""#, 1, Some((r#""😀""#, 2))),
            ("12345", 3, None),
        ];
        for (raw, chars_max, expected) in cases {
            let expected = expected.map(|(raw, chars)| (raw.to_owned(), chars));
            assert_eq!(cut(raw, chars_max), expected, "{raw}");
        }
    }

    #[test]
    fn blank_is_null_or_white_space() {
        for blank in ["null", r#""""#, r#"" ""#, r#""\t\n""#] {
            assert!(is_blank(blank), "{blank}");
        }
        for said in ["0", "false", "{}", r#""null""#, r#""\ud800""#] {
            assert!(!is_blank(said), "{said}");
        }
    }

    #[test]
    fn depth_is_counted_outside_of_text() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(&nested(DEPTH_MAX - 1)));
        assert!(is_too_deep(&nested(DEPTH_MAX)));
        assert!(!is_too_deep(&format!("[\"\\\"{}\"]", "[".repeat(DEPTH_MAX))));
    }
}
