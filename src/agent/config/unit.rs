//! Values as people write them: durations, sizes, file modes. Pure.
//!
//! Every error says what would be right. A value that looks like a key is never repeated.

use std::time::Duration;

/// Parses `"500ms"`, `"60s"`, `"5m"`, `"2h"` or `"1d"`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{} is not a duration such as \"60s\", \"5m\" or \"2h\"", quote(text));
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// The shortest text that [`duration`] reads back.
pub(super) fn show_duration(value: Duration) -> String {
    let ms = value.as_millis();
    for (unit, unit_ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms.is_multiple_of(unit_ms) && ms >= unit_ms {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") }
}

const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Parses a size such as `"10GiB"`, `"500MB"` or `"4096"`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{} is not a size such as 1048576, \"64MiB\" or \"10GiB\"", quote(text));
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_bytes = match unit {
        "" => 1,
        unit => BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
    };
    number.checked_mul(unit_bytes).ok_or_else(wrong)
}

/// The shortest text that [`bytes()`] reads back.
pub(super) fn show_bytes(value: u64) -> String {
    for (unit, unit_bytes) in BYTE_UNITS.iter().take(4) {
        if value.is_multiple_of(*unit_bytes) && value >= *unit_bytes {
            return format!("{}{unit}", value / unit_bytes);
        }
    }
    value.to_string()
}

/// Parses an octal file mode such as `"0660"`, at most `"0777"`.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && digits.len() >= 3 && !digits.starts_with('+'))
        .ok_or_else(|| format!("{} is not a file mode such as \"0660\"", quote(text)))
}

/// Number and unit, with room between them allowed.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// `text` in quotes for an error, unless it may be a secret; cut to what fits on a line.
pub(super) fn quote(text: &str) -> String {
    if looks_secret(text) {
        return "this value (hidden: it looks like a secret)".to_owned();
    }
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// Whether `text` holds what may be an API key, or a password in a URL.
pub(super) fn looks_secret(text: &str) -> bool {
    ["hak_", "rev_", "@"].iter().any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        let table = [
            ("0s", Some(Duration::ZERO)),
            ("500ms", Some(Duration::from_millis(500))),
            ("60s", Some(Duration::from_secs(60))),
            ("5m", Some(Duration::from_secs(300))),
            (" 2 h ", Some(Duration::from_secs(7200))),
            ("1d", Some(Duration::from_secs(86_400))),
            ("60", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5h", None),
            ("1h30m", None),
            ("5 minutes", None),
            ("99999999999999999999s", None),
            ("18446744073709551615s", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for ms in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 5_400_000, 86_400_000] {
            let value = Duration::from_millis(ms);
            assert_eq!(duration(&show_duration(value)), Ok(value));
        }
        for value in [0, 1, 1000, 1024, 1536, 1 << 20, 10 << 30, (10 << 30) + 1, 1 << 40, u64::MAX] {
            assert_eq!(bytes(&show_bytes(value)), Ok(value));
        }
        assert_eq!(show_bytes(10 << 30), "10GiB");
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
    }

    #[test]
    fn sizes_are_read_with_or_without_a_unit() {
        let table = [
            ("4096", Some(4096)),
            ("64MiB", Some(64 << 20)),
            ("10 GiB", Some(10 << 30)),
            ("500MB", Some(500_000_000)),
            ("10G", None),
            ("10gib", None),
            ("-1", None),
            ("1.5GiB", None),
            ("16777216TiB", None),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_mode_is_octal() {
        let table = [
            ("0660", Some(0o660)),
            ("660", Some(0o660)),
            ("0o600", Some(0o600)),
            ("0888", None),
            ("1777", None),
            ("6", None),
            ("+660", None),
            ("rw", None),
        ];
        for (text, expected) in table {
            assert_eq!(mode(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn an_error_never_repeats_a_key() {
        for text in ["rev_mk_0123456789abcdef", "xhak_1", "http://u:p@h"] {
            let error = duration(text).expect_err("is no duration");
            assert!(!error.contains(text), "{error}");
        }
        assert_eq!(
            duration("60").expect_err("has no unit"),
            "\"60\" is not a duration such as \"60s\", \"5m\" or \"2h\""
        );
    }
}
