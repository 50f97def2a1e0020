//! JSON numbers as they are written. Nothing here turns one into another.

/// Why a raw value is no count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotWhole {
    /// Not a number at all.
    Type,
    /// Below zero.
    Negative,
    /// Written with a fraction or an exponent.
    Fraction,
    /// Larger than 2^63-1.
    TooLarge,
}

/// Largest count: Revenium's server keeps them in signed 64-bit integers.
pub(crate) const COUNT_MAX: u64 = i64::MAX as u64;

/// Whether a raw value is a number. Raw values are valid JSON, so its first byte tells.
pub(crate) fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// A count from 0 to [`COUNT_MAX`], exactly.
pub(crate) fn whole(raw: &str) -> Result<u64, NotWhole> {
    if !is_number(raw) {
        return Err(NotWhole::Type);
    }
    if raw.starts_with('-') {
        return Err(NotWhole::Negative);
    }
    if !raw.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotWhole::Fraction);
    }
    raw.parse().ok().filter(|&count| count <= COUNT_MAX).ok_or(NotWhole::TooLarge)
}

/// The number's size as a double, to compare with a bound; None if that would be infinite.
pub(crate) fn finite(raw: &str) -> Option<f64> {
    is_number(raw).then(|| raw.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

/// Whether `text`, found between quotes, is a number as JSON writes it.
pub(crate) fn is_spelled(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let magnitude = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (magnitude, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

/// A duration in milliseconds without its fraction; None if it is negative or too large.
pub(crate) fn truncated(raw: &str) -> Option<u64> {
    // 2^53: a double beyond it has no exact whole number, and no duration is 285,000 years.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let number = finite(raw).filter(|number| (0.0..=EXACT_MAX).contains(number))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
    Some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_whole_not_negative_and_fits_63_bits() {
        let forty_digits = "1234567890".repeat(4);
        let cases = [
            ("0", Ok(0)),
            ("9223372036854775807", Ok(COUNT_MAX)),
            ("9223372036854775808", Err(NotWhole::TooLarge)),
            (&forty_digits, Err(NotWhole::TooLarge)),
            ("-1", Err(NotWhole::Negative)),
            ("-0", Err(NotWhole::Negative)),
            ("1.0", Err(NotWhole::Fraction)),
            ("1e3", Err(NotWhole::Fraction)),
            ("true", Err(NotWhole::Type)),
            ("\"1\"", Err(NotWhole::Type)),
        ];
        for (raw, expected) in cases {
            assert_eq!(whole(raw), expected, "{raw}");
        }
    }

    #[test]
    fn text_is_a_number_only_as_json_writes_it() {
        for number in ["0", "-0", "10", "0.10", "1e5", "-1.5E-07", "1E+2"] {
            assert!(is_spelled(number), "{number}");
            assert!(serde_json::from_str::<f64>(number).is_ok(), "{number}");
        }
        for text in ["", "-", "01", ".5", "5.", "1e", "+1", "NaN", "Infinity", "1 ", "0x1", "1_0", "1e5.5"] {
            assert!(!is_spelled(text), "{text}");
            assert!(text == "1 " || serde_json::from_str::<f64>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_a_double_holds_is_finite() {
        assert_eq!(finite("1e308"), Some(1e308));
        assert_eq!(finite("1e309"), None);
        assert_eq!(finite("-1e999999"), None);
        assert_eq!(finite("null"), None);
    }

    #[test]
    fn a_duration_loses_its_fraction_only() {
        let cases =
            [("143.999", Some(143)), ("1.5e3", Some(1500)), ("-0.5", None), ("1e300", None), ("0", Some(0))];
        for (raw, expected) in cases {
            assert_eq!(truncated(raw), expected, "{raw}");
        }
    }
}
