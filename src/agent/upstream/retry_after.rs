//! When the upstream asks us to come back: `retry-after-ms`, `Retry-After` in seconds or as a date.

use std::time::Duration;

use jiff::fmt::{rfc2822, strtime};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest wait that is obeyed in full; after it we look again.
/// Revenium's longest known block is 1 h; twice that leaves room.
pub const AFTER_MAX: Duration = Duration::from_secs(2 * 3600);

/// The wait asked for, at most [`AFTER_MAX`]; `None` if none is, or none that can be read.
/// A date that has passed is a wait of zero: still an invitation to retry.
pub(super) fn retry_after(headers: &HeaderMap, wall_now_ms: u64) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &reqwest::header::HeaderValue| value.to_str().ok());
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.trim().parse::<f64>().ok())
        && let Some(wait) = capped(ms / 1000.0)
    {
        return Some(wait);
    }
    let text = text(RETRY_AFTER.as_str())?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return capped(seconds);
    }
    let at_ms = date_ms(text)?;
    let wait = Duration::from_millis(at_ms.saturating_sub(wall_now_ms));
    Some(wait.min(AFTER_MAX))
}

fn capped(seconds: f64) -> Option<Duration> {
    if !seconds.is_finite() || seconds < 0.0 {
        return None;
    }
    Some(Duration::from_secs_f64(seconds.min(AFTER_MAX.as_secs_f64())))
}

/// The three forms of an HTTP date (RFC 9110 §5.6.7), in milliseconds since 1970.
pub(super) fn date_ms(text: &str) -> Option<u64> {
    if let Ok(zoned) = rfc2822::parse(text) {
        return u64::try_from(zoned.timestamp().as_millisecond()).ok();
    }
    let obsolete = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    obsolete.iter().find_map(|format| {
        let broken_down = strtime::parse(format, text).ok()?;
        let at = jiff::tz::TimeZone::UTC.to_timestamp(broken_down.to_datetime().ok()?).ok()?;
        u64::try_from(at.as_millisecond()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37 UTC, the example of RFC 9110.
    const DATE_MS: u64 = 784_111_777_000;

    #[test]
    fn every_form_of_retry_after_is_read() {
        let seconds = Duration::from_secs_f64;
        type Headers = &'static [(&'static str, &'static str)];
        let rows: &[(Headers, Option<Duration>)] = &[
            (&[], None),
            (&[("retry-after", "0")], Some(seconds(0.0))),
            (&[("retry-after", " 2 ")], Some(seconds(2.0))),
            (&[("retry-after", "1.5")], Some(seconds(1.5))),
            (&[("retry-after", "3600")], Some(seconds(3600.0))),
            (&[("retry-after", "86400")], Some(AFTER_MAX)),
            (&[("retry-after", "1e300")], Some(AFTER_MAX)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "inf")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after-ms", "250"), ("retry-after", "9")], Some(seconds(0.25))),
            (&[("retry-after-ms", "x"), ("retry-after", "9")], Some(seconds(9.0))),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(seconds(7.0))),
            (&[("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT")], Some(seconds(7.0))),
            (&[("retry-after", "Sun Nov  6 08:49:37 1994")], Some(seconds(7.0))),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:29 GMT")], Some(seconds(0.0))),
            (&[("retry-after", "Fri, 06 Nov 2094 08:49:37 GMT")], None),
            (&[("retry-after", "Sat, 06 Nov 2094 08:49:37 GMT")], Some(AFTER_MAX)),
        ];
        for (headers, expected) in rows {
            let mut map = HeaderMap::new();
            for (name, value) in *headers {
                map.insert(*name, value.parse().expect("a header value"));
            }
            assert_eq!(retry_after(&map, DATE_MS - 7000), *expected, "{headers:?}");
        }
    }
}
