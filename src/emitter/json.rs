//! JSON, written straight into a buffer: members, texts, numbers. No tree, no second copy.

use std::io::Write;

/// A value that a member of an event may have. Implemented for text, whole numbers, `f64`, `bool`,
/// [`Json`], [`Subscriber`](crate::Subscriber), and for an `Option` of these, where `None` is `null`.
///
/// An `f64` that is not finite has no notation in JSON; it is written as text (`"NaN"`), so that the
/// agent refuses the event by the member's name instead of billing it without an amount.
pub trait FieldValue: sealed::Value {}

pub(crate) mod sealed {
    /// Appends itself as JSON.
    pub trait Value {
        fn write(&self, out: &mut Vec<u8>);
    }
}

use sealed::Value;

/// A value that is JSON already. It is written as it is: numbers keep their digits.
///
/// ```
/// use revenium_emitter::{Event, Json};
///
/// let cost = Json::new("0.10")?;
/// let event = Event::completion("claude-sonnet-4").field("inputTokenCost", cost);
/// # Ok::<(), revenium_emitter::EventError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Takes `text` if it is one JSON value on one line.
    pub fn new(text: &'a str) -> Result<Self, crate::EventError> {
        check(text.as_bytes())?;
        Ok(Self(text))
    }
}

/// Whether `bytes` are one JSON value on one line.
pub(crate) fn check(bytes: &[u8]) -> Result<(), crate::EventError> {
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err(crate::EventError::MoreThanOneLine);
    }
    serde_json::from_slice::<&serde_json::value::RawValue>(bytes)
        .map(|_| ())
        .map_err(|error| crate::EventError::NotJson { column: error.column() })
}

/// Appends `,"name":value`.
pub(crate) fn member(out: &mut Vec<u8>, name: &str, value: &(impl Value + ?Sized)) {
    out.push(b',');
    text(out, name);
    out.push(b':');
    value.write(out);
}

/// Appends a text with its quotes.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => print(out, format_args!("\\u{byte:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Writes the digits of `number` so that they end where `into` does; returns how many there are.
pub(crate) fn digits(mut number: u64, into: &mut [u8; 20]) -> usize {
    let mut at = into.len();
    loop {
        at -= 1;
        // A remainder of ten is a digit.
        into[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            return into.len() - at;
        }
    }
}

fn print(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // A Vec takes any write.
    let _ = out.write_fmt(what);
}

impl<T: Value + ?Sized> FieldValue for T {}

impl Value for str {
    fn write(&self, out: &mut Vec<u8>) {
        text(out, self);
    }
}

impl Value for String {
    fn write(&self, out: &mut Vec<u8>) {
        text(out, self);
    }
}

impl<T: Value + ?Sized> Value for &T {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

impl<T: Value> Value for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

impl Value for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Value for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut room = [0; 20];
        let count = digits(*self, &mut room);
        out.extend_from_slice(&room[room.len() - count..]);
    }
}

impl Value for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        if *self < 0 {
            out.push(b'-');
        }
        self.unsigned_abs().write(out);
    }
}

macro_rules! as_wider {
    ($($narrow:ty as $wide:ty),*) => {$(
        impl Value for $narrow {
            fn write(&self, out: &mut Vec<u8>) {
                <$wide>::from(*self).write(out);
            }
        }
    )*};
}

as_wider!(u8 as u64, u16 as u64, u32 as u64, i8 as i64, i16 as i64, i32 as i64);

impl Value for usize {
    fn write(&self, out: &mut Vec<u8>) {
        // 64 bits at most on every machine there is.
        u64::try_from(*self).unwrap_or(u64::MAX).write(out);
    }
}

impl Value for f64 {
    fn write(&self, out: &mut Vec<u8>) {
        if self.is_finite() {
            // Its shortest digits that read back as it, with an exponent where zeros would be many.
            print(out, format_args!("{self:?}"));
        } else {
            print(out, format_args!("\"{self:?}\""));
        }
    }
}

impl Value for Json<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: impl FieldValue) -> String {
        let mut out = Vec::new();
        value.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_as_what_it_was() {
        for value in
            ["", "plain", "\"quoted\" \\ back", "line\nbreak\ttab\r", "\u{0}\u{1f}\u{7f}", "naïve 漢字 🦀"]
        {
            assert_eq!(serde_json::from_str::<String>(&written(value)).unwrap(), value);
        }
        for value in [0, 7, 10, 1_000_000, u64::MAX] {
            assert_eq!(written(value), value.to_string());
        }
        for value in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(written(value), value.to_string());
        }
        for value in [0.1, -2.5e-7, 1e21, f64::MAX, f64::MIN_POSITIVE] {
            assert_eq!(written(value).parse::<f64>().unwrap(), value);
            check(written(value).as_bytes()).unwrap();
        }
        assert_eq!(written(f64::NAN), "\"NaN\"");
        assert_eq!(written(Some(true)), "true");
        assert_eq!(written(None::<u64>), "null");
        assert_eq!(written(Json::new("1.50").unwrap()), "1.50", "digits are kept");
    }

    #[test]
    fn json_that_is_none_is_not_taken() {
        for text in ["", "{", "1,2", "{\"a\":1}x", "NaN", "{\"a\":\n1}"] {
            assert!(Json::new(text).is_err(), "{text}");
        }
        assert!(check(b"\"\xff\"").is_err(), "not UTF-8");
    }
}
