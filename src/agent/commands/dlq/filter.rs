//! Which letters a command is about.

use clap::Args;

use crate::config::parse_duration;
use crate::desk::Filter;
use crate::exit::Failure;

/// Numbers in one request.
const SEQS_MAX: usize = 256;

/// Which letters; all of it together.
#[derive(Debug, Clone, Args)]
pub(super) struct FilterArgs {
    /// Their numbers
    #[arg(value_name = "SEQ")]
    pub(super) seqs: Vec<u64>,
    /// Of this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Of this kind: completion, image, audio, video, tool, generic, api-request or api-response
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Refused for this reason, such as refused-by-upstream or refused-at-intake
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Dead since: a time such as 2026-05-04T12:00:00Z, or for how long, such as 2h
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<u64>,
    /// Dead before
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<u64>,
}

impl FilterArgs {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            seqs: self.seqs.clone(),
            profile: self.profile.clone(),
            kind: self.kind.clone(),
            reason: self.reason.clone(),
            since_ms: self.since,
            until_ms: self.until,
        }
    }
}

/// A moment, in milliseconds since 1970.
fn moment(text: &str) -> Result<u64, String> {
    moment_at(text, jiff::Timestamp::now().as_millisecond())
}

fn moment_at(text: &str, now_ms: i64) -> Result<u64, String> {
    let ms = match parse_duration(text) {
        Ok(ago) => now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
        Err(_) => text
            .parse::<jiff::Timestamp>()
            .map_err(|_| "write a time such as 2026-05-04T12:00:00Z, or for how long, such as 2h".to_owned())?
            .as_millisecond(),
    };
    Ok(u64::try_from(ms).unwrap_or(0))
}

/// Asks for page after page of what `filter` is about. `ask` gets the filter of a request and the
/// number to go on after, and gives the next such number until there is none.
pub(super) fn pages(
    filter: &Filter,
    mut ask: impl FnMut(&Filter, u64) -> Result<Option<u64>, Failure>,
) -> Result<(), Failure> {
    let mut seqs = filter.seqs.clone();
    seqs.sort_unstable();
    seqs.dedup();
    let mut parts: Vec<Vec<u64>> = seqs.chunks(SEQS_MAX).map(<[u64]>::to_vec).collect();
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    for seqs in parts {
        let part = Filter { seqs, ..filter.clone() };
        let mut after = Some(0);
        while let Some(from) = after {
            after = ask(&part, from)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now_ms = 1_795_000_000_000;
        let table = [
            ("2h", Some(1_794_992_800_000)),
            ("1970-01-01T00:00:01Z", Some(1000)),
            ("1970-01-01T01:00:01+01:00", Some(1000)),
            ("90000000d", Some(0)),
            ("yesterday", None),
            ("2026-05-04", None),
            ("", None),
        ];
        for (text, ms) in table {
            assert_eq!(moment_at(text, now_ms).ok(), ms, "{text}");
        }
    }

    #[test]
    fn numbers_are_asked_for_in_parts_and_pages_to_their_end() {
        let filter = Filter { seqs: (1..=300).rev().collect(), ..Filter::default() };
        let mut asked = Vec::new();
        let mut next = [Some(7), None, None].into_iter();
        pages(&filter, |part, after| {
            asked.push((part.seqs[0], part.seqs.len(), after));
            Ok(next.next().expect("asked three times"))
        })
        .expect("no failure");
        assert_eq!(asked, [(1, 256, 0), (1, 256, 7), (257, 44, 0)]);
    }
}
