//! `where`: what became of the event with some id.
//!
//! Asks the log for what it still holds, and the receipts for what was delivered and is the log's no more; both are
//! read from outside, so it works whether or not an agent runs. Of one that runs it asks only why something waits.

mod told;

use std::io;
use std::path::Path;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use memchr::memmem;
use revenium_event::{Kind, transaction_id};
use revenium_store::{Fate, OpenError, SurveyError, Tracing, trace};

use super::{LogPlace, print, status_of};
use crate::cli::ConfigArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::receipts::{self, Found, Id};
use told::{Told, Whereabouts};

/// Records that are told of, the newest. More have one id only if whoever made it did not make it unique.
const TOLD_MAX: usize = 100;

/// `where`
#[derive(Debug, Clone, Args)]
pub struct WhereArgs {
    /// The id of the provider's answer (`transactionId`), an Idempotency-Key, or the id that Revenium gave
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,
    /// As one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Looks, and tells.
pub fn run(args: &WhereArgs) -> Result<Exit, Failure> {
    let place = LogPlace::of(&args.config)?;
    let id = Id::new(&args.id);
    let sought = Sought::new(id);
    // The log first: what leaves it meanwhile was delivered, and has its receipt by then.
    let tracing = trace(&place.log, TOLD_MAX, |key, route, body| sought.is_meant(key, route, body));
    let dir = place.data_dir.join(receipts::DIR);
    let found = receipts::search(&dir, id, TOLD_MAX);
    let (tracing, found) = either(tracing, found, &dir)?;
    let mut whereabouts = Whereabouts {
        id: args.id.clone(),
        has_more: tracing.has_more || found.has_more,
        damaged: tracing.damaged,
        receipts_since_ms: found.since_ms,
        data_dir: place.data_dir.display().to_string(),
        records: tracing.found.into_iter().map(Told::of_log).collect(),
    };
    whereabouts.add(found.receipts);
    if whereabouts.records.iter().any(|told| told.fate == Fate::Waiting) {
        let status = status_of(&place.data_dir).ok();
        whereabouts.say_why(status.as_ref());
    }
    print(&if args.json { whereabouts.json()? + "\n" } else { whereabouts.screen() })?;
    Ok(if whereabouts.is_delivered() { Exit::Ok } else { Exit::Failure })
}

/// What one of them knows is told although the other cannot be read.
fn either(
    tracing: Result<Tracing, SurveyError>,
    found: io::Result<Found>,
    dir: &Path,
) -> Result<(Tracing, Found), Failure> {
    let cannot = format!("the receipts in {} cannot be read", dir.display());
    match (tracing, found) {
        (Ok(tracing), Ok(found)) => Ok((tracing, found)),
        (Ok(tracing), Err(error)) if !tracing.found.is_empty() => {
            eprintln!("{cannot}: {error}; the log alone was searched");
            Ok((tracing, Found::default()))
        }
        (Ok(_), Err(error)) => Err(error).or_exit(Exit::Usage, cannot),
        (Err(error), Ok(found)) if !found.receipts.is_empty() => {
            eprintln!("{}; the receipts alone were", unsearchable(&error));
            Ok((Tracing::default(), found))
        }
        (Err(error), _) => Err(unsearchable(&error)),
    }
}

fn unsearchable(error: &SurveyError) -> Failure {
    let is_denied = |source: &std::io::Error| source.kind() == std::io::ErrorKind::PermissionDenied;
    let next = match error {
        SurveyError::NoLog(_) => "; another data directory is named with --data-dir or --config",
        SurveyError::Open(OpenError::Io { source, .. }) if is_denied(source) => {
            "; ask as the agent's own user or root"
        }
        _ => "",
    };
    Failure::new(Exit::Usage, format_args!("the log cannot be searched: {}{next}", crate::chain(error)))
}

/// What is looked for in the log.
struct Sought<'a> {
    id: Id<'a>,
    /// Is in every body that can have the id; none if it may be written otherwise there.
    needle: Option<memmem::Finder<'a>>,
}

impl<'a> Sought<'a> {
    fn new(id: Id<'a>) -> Self {
        // These nobody writes as an escape.
        let is_plain = id.text().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
        Self { id, needle: is_plain.then(|| memmem::Finder::new(id.text())) }
    }

    fn is_meant(&self, key: &str, route: u8, body: &[u8]) -> bool {
        if self.id.is_of("", key) {
            return true;
        }
        let may_be = self.needle.as_ref().is_none_or(|needle| needle.find(body).is_some());
        may_be && transaction(route, body).is_some_and(|transaction| self.id.is_of(&transaction, key))
    }
}

/// The `transactionId` of a body; of a call that was refused before it was an event, the one it would have.
fn transaction(route: u8, body: &[u8]) -> Option<String> {
    if revenium_anthropic::is_call(body) {
        return revenium_anthropic::call_id(body);
    }
    transaction_id(body, Kind::from_code(route)?)
}

#[cfg(test)]
mod tests;
