//! Times on the wire: ISO-8601 with a zone, checked without decoding, converted only if needed.

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::limits::EPOCH_MS_MIN;
use crate::{Reason, number, text};

/// What a raw value is as a time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As the wire wants it.
    Strict,
    /// A time in another notation; the raw text that says the same.
    Rewritten(String, Reason),
    /// No time.
    None,
}

/// Reads a raw value as a time.
pub(crate) fn read(raw: &str) -> Reading {
    if number::is_number(raw) {
        return from_epoch(raw);
    }
    let Some(text) = text::decode(raw) else { return Reading::None };
    if is_strict(text.as_bytes()) && text.len() + 2 == raw.len() {
        return Reading::Strict;
    }
    let text = text.trim();
    if number::is_spelled(text) {
        return from_epoch(text);
    }
    // Shorter than a date with hours and minutes: jiff would take midnight for it.
    if text.len() < "2026-11-23T07:44".len() {
        return Reading::None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return rewritten(time, Reason::Notation);
    }
    let zoned = format!("{text}Z");
    match text.parse::<DateTime>() {
        Ok(_) if is_strict(zoned.as_bytes()) => Reading::Rewritten(text::encode(&zoned), Reason::NoZone),
        Ok(_) => zoned.parse().map_or(Reading::None, |time| rewritten(time, Reason::NoZone)),
        Err(_) => Reading::None,
    }
}

/// Milliseconds since 1970 of a raw text that is strict.
pub(crate) fn to_ms(raw: &str) -> Option<i64> {
    text::inner(raw)?.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Milliseconds since 1970 as a raw text, such as `"2026-11-23T07:44:08.263Z"`.
pub fn from_ms(ms: i64) -> String {
    let ms = ms.clamp(0, Timestamp::MAX.as_millisecond());
    format!("\"{:.3}\"", Timestamp::from_millisecond(ms).unwrap_or_default())
}

fn rewritten(time: Timestamp, reason: Reason) -> Reading {
    let text = time.to_string();
    // A year that takes more than four digits is no time on the wire.
    if is_strict(text.as_bytes()) { Reading::Rewritten(text::encode(&text), reason) } else { Reading::None }
}

/// A number since 1970, in the unit that its size tells: seconds, or 10^3, 10^6 or 10^9 of them.
fn from_epoch(number: &str) -> Reading {
    let Some(number) = number::finite(number) else { return Reading::None };
    let per_ms = match number {
        ..1e11 => 1e-3,
        ..1e14 => 1.0,
        ..1e17 => 1e3,
        _ => 1e6,
    };
    let ms = (number / per_ms).round();
    #[allow(clippy::cast_precision_loss, reason = "both bounds are far below 2^53")]
    let known = EPOCH_MS_MIN as f64..Timestamp::MAX.as_millisecond() as f64;
    if !known.contains(&ms) {
        return Reading::None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "bounded above")]
    Reading::Rewritten(from_ms(ms as i64), Reason::Notation)
}

/// `YYYY-MM-DDTHH:MM:SS`, up to nine digits of a second, and `Z` or an offset of at most 18 hours:
/// what every ISO-8601 parser takes, Java's among them.
fn is_strict(text: &[u8]) -> bool {
    let Some((date, rest)) = text.split_at_checked(19) else { return false };
    let pair = |at: usize| match (date[at], date[at + 1]) {
        (tens @ b'0'..=b'9', ones @ b'0'..=b'9') => Some((tens - b'0') * 10 + (ones - b'0')),
        _ => None,
    };
    let [Some(century), Some(year), Some(month), Some(day)] = [0, 2, 5, 8].map(pair) else { return false };
    let [Some(hour), Some(minute), Some(second)] = [11, 14, 17].map(pair) else { return false };
    let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    punctuation.into_iter().all(|(at, mark)| date[at] == mark)
        && (1..=12).contains(&month)
        && (1..=days(century, year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && is_zone(without_fraction(rest))
}

/// Days of a month of the Gregorian year `century * 100 + year`.
fn days(century: u8, year: u8, month: u8) -> u8 {
    let is_leap = if year == 0 { century.is_multiple_of(4) } else { year.is_multiple_of(4) };
    match month {
        2 => 28 + u8::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn without_fraction(rest: &[u8]) -> &[u8] {
    let Some(fraction) = rest.strip_prefix(b".") else { return rest };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if (1..=9).contains(&digits) { &fraction[digits..] } else { b"" }
}

fn is_zone(zone: &[u8]) -> bool {
    match *zone {
        [b'Z'] => true,
        [b'+' | b'-', h @ b'0'..=b'1', hh @ b'0'..=b'9', b':', m @ b'0'..=b'5', b'0'..=b'9'] => {
            let hours = (h - b'0') * 10 + (hh - b'0');
            hours < 18 || hours == 18 && m == b'0' && zone[5] == b'0'
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_wire_wants_is_left_alone() {
        let strict = [
            "2026-11-23T07:44:08Z",
            "2026-11-23T07:44:08.2Z",
            "2026-11-23T07:44:08.123456789+00:00",
            "2024-02-29T23:59:59-18:00",
            "2000-02-29T00:00:00+05:30",
        ];
        for text in strict {
            let raw = text::encode(text);
            assert_eq!(read(&raw), Reading::Strict, "{text}");
            assert!(to_ms(&raw).is_some(), "{text}");
        }
    }

    #[test]
    fn other_notations_are_rewritten_and_then_strict() {
        let cases = [
            ("\"2026-11-23 07:44:08Z\"", "2026-11-23T07:44:08Z", Reason::Notation),
            ("\"2026-11-23t07:44:08z\"", "2026-11-23T07:44:08Z", Reason::Notation),
            ("\" 2026-11-23T07:44:08Z\"", "2026-11-23T07:44:08Z", Reason::Notation),
            ("\"2026-11-23T07:44:08+0100\"", "2026-11-23T06:44:08Z", Reason::Notation),
            ("\"2026-11-23T07:44:08+01:00[Europe/Berlin]\"", "2026-11-23T06:44:08Z", Reason::Notation),
            ("\"2026-11-23T07:44:08+18:01\"", "2026-11-22T13:43:08Z", Reason::Notation),
            ("\"2026-11-23T07:44:08-19:00\"", "2026-11-24T02:44:08Z", Reason::Notation),
            ("\"2026-11-23T07:44:08.123456+23:59\"", "2026-11-22T07:45:08.123456Z", Reason::Notation),
            ("\"2026-11-23T07:44:60Z\"", "2026-11-23T07:44:59Z", Reason::Notation),
            ("\"2026-11-23T07\\u003a44:08Z\"", "2026-11-23T07:44:08Z", Reason::Notation),
            ("\"2026-11-23T07:44:08\"", "2026-11-23T07:44:08Z", Reason::NoZone),
            ("\"2026-11-23T07:44:08.120\"", "2026-11-23T07:44:08.120Z", Reason::NoZone),
            ("\"2026-11-23 07:44:08.12\"", "2026-11-23T07:44:08.12Z", Reason::NoZone),
            ("\"2026-11-23T07:44\"", "2026-11-23T07:44:00Z", Reason::NoZone),
            ("1795419848", "2026-11-23T07:44:08.000Z", Reason::Notation),
            ("1795419848.263", "2026-11-23T07:44:08.263Z", Reason::Notation),
            ("1795419848263", "2026-11-23T07:44:08.263Z", Reason::Notation),
            ("\"1795419848263\"", "2026-11-23T07:44:08.263Z", Reason::Notation),
            ("1795419848263999", "2026-11-23T07:44:08.264Z", Reason::Notation),
            ("1795419848263000000", "2026-11-23T07:44:08.263Z", Reason::Notation),
        ];
        for (raw, expected, reason) in cases {
            assert_eq!(read(raw), Reading::Rewritten(text::encode(expected), reason), "{raw}");
            assert!(is_strict(expected.as_bytes()), "{expected}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        let none = [
            "true",
            "{}",
            "\"\"",
            "\"yesterday\"",
            "\"2026-11-23\"",
            "\"07:44:08Z\"",
            "5",
            "-1795419848",
            "1e300",
            "\"2026-02-29T07:44:08Z\"",
            "\"2026-13-01T07:44:08Z\"",
            "\"2026-11-23T24:44:08Z\"",
            "\"2026-11-23T07:44:08[Europe/Berlin]\"",
            "\"2026-11-23T07:44:08.Z\"",
            "\"\\ud800\"",
            "999999999",
            "253402300800",
            "\"2026-11-23T07:44:08.1234567890Z\"",
        ];
        for raw in none {
            assert_eq!(read(raw), Reading::None, "{raw}");
        }
    }

    #[test]
    fn milliseconds_and_text_lead_to_each_other() {
        for ms in [0, 1_795_419_848_263, 253_402_207_200_000] {
            assert_eq!(to_ms(&from_ms(ms)), Some(ms));
        }
        assert_eq!(from_ms(-1), from_ms(0));
        assert!(is_strict(text::inner(&from_ms(i64::MAX)).expect("it is text").as_bytes()));
    }
}
